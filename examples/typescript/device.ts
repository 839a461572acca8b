// A device as docs/protocol.md has it: a P-256 key that never leaves it (WebCrypto, not extractable; in a browser, keep the CryptoKeyPair in
// IndexedDB), enrolled once with a one-time code, and access tokens that it renews by signing.
import { Code, ConnectError, createClient, type Interceptor, type Transport } from '@connectrpc/connect'

import { ErrorInfoSchema } from './gen/fieldsync/v1/common_pb.js'
import { IdentityService } from './gen/fieldsync/v1/identity_pb.js'

const curve = { name: 'ECDSA', namedCurve: 'P-256' } as const

export type Options = { baseUrl: string; interceptors?: Interceptor[] }

export class Device {
  id = ''
  installEpoch = 0
  private token = ''
  private expires = 0 // milliseconds since 1970
  private clockAhead = 0 // by how much the server's clock is ahead of ours, in milliseconds

  private constructor(
    private readonly keys: CryptoKeyPair,
    private readonly connect: (options: Options) => Transport,
    private readonly baseUrl: string,
  ) {}

  // The transport is the platform's: createConnectTransport of @connectrpc/connect-node or of @connectrpc/connect-web.
  static async make(baseUrl: string, connect: (options: Options) => Transport): Promise<Device> {
    return new Device(await crypto.subtle.generateKey(curve, false, ['sign', 'verify']), connect, baseUrl)
  }

  // enrol binds the key to the member that the code was issued for. Store the key before, and id and installEpoch after.
  async enrol(code: string, deviceName: string): Promise<void> {
    const jwk = await crypto.subtle.exportKey('jwk', this.keys.publicKey)
    const canonical = JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y }) // RFC 7638: in this order, without blanks.
    const thumbprint = base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(canonical)))
    const publicKey = new Uint8Array(await crypto.subtle.exportKey('spki', this.keys.publicKey))
    const answer = await this.provingTime(async () =>
      this.identity().enrol({ code, publicKey, deviceName, proof: await this.proof(thumbprint, 'fieldsync:enrol') }))
    this.id = answer.deviceId
    this.installEpoch = answer.installEpoch
    this.take(answer.accessToken, answer.expiresAt?.seconds)
  }

  // refresh gets another token. Nothing that the device keeps changes by it, so a lost answer costs one more call and nothing else.
  async refresh(): Promise<void> {
    const answer = await this.provingTime(async () =>
      this.identity().refresh({ deviceId: this.id, proof: await this.proof(this.id, 'fieldsync:refresh') }))
    this.take(answer.accessToken, answer.expiresAt?.seconds)
  }

  // transport adds the token to every call, renews it a minute before its end, and once more where the server does not take it.
  transport(): Transport {
    const bearer: Interceptor = (next) => async (request) => {
      if (Date.now() + this.clockAhead > this.expires - 60_000) await this.refresh()
      request.header.set('Authorization', `Bearer ${this.token}`)
      try {
        return await next(request)
      } catch (error) {
        if (ConnectError.from(error).code !== Code.Unauthenticated || request.stream) throw error
        await this.refresh()
        request.header.set('Authorization', `Bearer ${this.token}`)
        return next(request)
      }
    }
    return this.connect({ baseUrl: this.baseUrl, interceptors: [bearer] })
  }

  private identity() {
    return createClient(IdentityService, this.connect({ baseUrl: this.baseUrl }))
  }

  private take(token: string, expires: bigint | undefined): void {
    this.token = token
    this.expires = Number(expires ?? 0n) * 1000
  }

  // provingTime signs again with the server's time where the device's clock is off.
  private async provingTime<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      const [info] = ConnectError.from(error).findDetails(ErrorInfoSchema)
      if (info?.code !== 'proof_time' || !info.serverTime) throw error
      this.clockAhead = Number(info.serverTime.seconds) * 1000 - Date.now()
      return call()
    }
  }

  // proof is a compact JWS (RFC 7515) with ES256, which is what WebCrypto's ECDSA gives as it is.
  private async proof(issuer: string, audience: string): Promise<string> {
    const part = (value: unknown) => base64url(new TextEncoder().encode(JSON.stringify(value)))
    const text = part({ alg: 'ES256', typ: 'JWT' }) + '.' + part({
      iss: issuer, aud: audience, iat: Math.floor((Date.now() + this.clockAhead) / 1000), jti: crypto.randomUUID(),
    })
    const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, this.keys.privateKey, new TextEncoder().encode(text))
    return text + '.' + base64url(signature)
  }
}

function base64url(bytes: ArrayBuffer | Uint8Array): string {
  return btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}
