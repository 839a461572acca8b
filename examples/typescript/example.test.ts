// Enrols, refreshes and syncs against a real server:
//   FIELDSYNC_URL=http://127.0.0.1:8022 FIELDSYNC_CODE=$(fieldsync admin code an) npm test
// The member must be of a crew; a note is added to its first task, if it has one.
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createConnectTransport } from '@connectrpc/connect-node'

import { Device } from './device.js'
import { IdentityService } from './gen/fieldsync/v1/identity_pb.js'
import { SyncService } from './gen/fieldsync/v1/sync_pb.js'

const url = process.env['FIELDSYNC_URL'] ?? 'http://127.0.0.1:8022'
const code = process.env['FIELDSYNC_CODE'] ?? ''

test('enrol, refresh and sync', async () => {
  const device = await Device.make(url, (options) => createConnectTransport({ httpVersion: '1.1', ...options }))
  await device.enrol(code, 'TypeScript example')
  assert.equal(device.installEpoch, 1)
  await device.refresh()

  const transport = device.transport()
  const who = await createClient(IdentityService, transport).whoAmI({})
  assert.equal(who.deviceId, device.id)

  // The first call brings all of the crew's tasks; the cursor it answers with is where the next one goes on.
  const sync = createClient(SyncService, transport)
  const first = await sync.sync({ installEpoch: device.installEpoch })
  const taskId = first.tasks[0]?.task?.id ?? ''
  if (taskId === '') return

  // Mutations are numbered from 1 without gaps, and kept until their verdict is there.
  const note = { number: 1n, taskId, intent: { case: 'addNote', value: { text: 'Ghi chú từ TypeScript' } } } as const
  const second = await sync.sync({ installEpoch: device.installEpoch, mutations: [note], cursor: first.cursor })
  assert.equal(second.verdicts.length, 1)
  // The answer might have been lost: the same again has no second effect and gets the same verdict.
  const again = await sync.sync({ installEpoch: device.installEpoch, mutations: [note] })
  assert.deepEqual(again.verdicts, second.verdicts)

  // Without a token, nothing.
  await assert.rejects(createClient(SyncService, createConnectTransport({ httpVersion: '1.1', baseUrl: url })).sync({}), (error) =>
    ConnectError.from(error).code === Code.Unauthenticated)
})
