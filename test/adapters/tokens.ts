import * as jose from 'jose'
import type { Clock } from '../../src/index.ts'

export const ISSUER = 'https://issuer.example'
export const AUDIENCE = 'https://api.example'

/** What a good token of the tests says. */
export const CHECKS = { issuer: ISSUER, audience: AUDIENCE }

/** A pair of keys, and what they sign. */
export interface Signer {
  readonly alg: string
  readonly privateKey: jose.CryptoKey
  readonly publicKey: jose.CryptoKey
  /** With `kid`, `alg` and `use`. */
  readonly jwk: jose.JWK
  readonly kid: string
}

export async function signer(alg: string, kid = alg): Promise<Signer> {
  const { privateKey, publicKey } = await jose.generateKeyPair(alg, { extractable: true })
  const jwk = { ...(await jose.exportJWK(publicKey)), kid, alg, use: 'sig' }
  return { alg, privateKey, publicKey, jwk, kid }
}

/** A token that is good for 60 s. @param claims replace those of a good one; `undefined` removes one. */
export function tokenOf(
  by: Signer,
  clock: Pick<Clock, 'epoch'>,
  claims: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
): Promise<string> {
  const now = Math.floor(clock.epoch() / 1000)
  const payload = { iss: ISSUER, aud: AUDIENCE, sub: 'alice', exp: now + 60, ...claims }
  return new jose.SignJWT(JSON.parse(JSON.stringify(payload)))
    .setProtectedHeader({ alg: by.alg, kid: by.kid, ...header })
    .sign(by.privateKey, { crit: { exp2: true } })
}

/** A token of three parts, with any header, payload and signature. */
export function forged(header: unknown, payload: unknown, signature = ''): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part(header)}.${part(payload)}.${signature}`
}
