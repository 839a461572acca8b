// story.js DISCOVERY-URL JURISDICTION API-KEY: finds the server by its discovery, lists and defines services, hands a request in
// twice, and reads it back by id, by token and by a list. Prints what the client understood, a JSON value a line.
const Open311 = require('open311')

const [discovery, jurisdiction, apiKey] = process.argv.slice(2)
const city = new Open311({ discovery, jurisdiction, apiKey })

// The client is older than promises.
const call = (method, ...args) =>
  new Promise((resolve, reject) =>
    city[method](...args, (err, data) => (err ? reject(new Error(`${method}: ${err} ${data}`)) : resolve(data))))

async function story() {
  const say = (value) => console.log(JSON.stringify(value))
  await call('serviceDiscovery', { cache: true })
  say({ endpoint: city.endpoint, format: city.format })
  const services = await call('serviceList')
  say(services.map((service) => service.service_code))
  say(await call('serviceDefinition', services[0].service_code))
  const report = {
    service_code: services[0].service_code, lat: 10.7797, long: 106.706, description: 'Cây me ngã ngang đường',
    attributes: { external_id: 'A-1' },
  }
  const [posted] = await call('submitRequest', report)
  const [again] = await call('submitRequest', report)
  say([posted.service_request_id, again.service_request_id])
  const key = { api_key: apiKey }
  say(await call('serviceRequests', encodeURIComponent(posted.service_request_id), key))
  say(await call('serviceRequests', { ...key, status: 'open', service_code: report.service_code }))
  const refused = await call('serviceRequests', { api_key: 'wrong' }).catch((err) => err.message)
  say(refused)
}

story().catch((err) => {
  console.error(err)
  process.exit(1)
})
