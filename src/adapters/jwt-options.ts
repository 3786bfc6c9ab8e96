import { createPublicKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto'
import type { ExchangeView } from '../index.ts'

/** A public key as JSON (RFC 7517). */
export type Jwk = Readonly<Record<string, unknown>>

/** Options of `jwt()`. One of `jwksUrl`, `keys` and `secret` is needed. */
export interface JwtOptions {
  /** The `iss` of tokens, or a list of them. `false` accepts tokens of anybody who has the key. */
  issuer: string | readonly string[] | false
  /** The `aud` of tokens, or a list of which they must have one. `false` accepts tokens that were issued for other services. */
  audience: string | readonly string[] | false
  /** URL of a JSON Web Key Set, `https://` or `http://`. It is loaded when the first token comes, and again as the keys get old. */
  jwksUrl?: string | URL | undefined
  /** Public keys: PEM (a key or a certificate), or JSON (RFC 7517); or a JSON Web Key Set. */
  keys?: readonly (string | Jwk)[] | { readonly keys: readonly Jwk[] } | undefined
  /** The secret of HS256, HS384 or HS512: at least 32, 48 or 64 bytes. Text is used as UTF-8. */
  secret?: string | Uint8Array | undefined
  /**
   * Algorithms of tokens. Default: with `secret` HS256; else RS256 to RS512, PS256 to PS512, ES256 to ES512 and EdDSA, as the key
   * allows. Those of secrets and those of public keys cannot be mixed, and `none` is never accepted.
   */
  algorithms?: readonly string[] | undefined
  /** Header that carries the token: in `Authorization` after `Bearer`, in any other the token alone. Default `Authorization`. */
  header?: string | undefined
  /** Name of a cookie that carries the token if the header does not. Default: none. */
  cookie?: string | undefined
  /**
   * Claims to tell the backend, and the header for each: `{ sub: 'X-User' }`. What clients send by these names is always removed.
   * Characters other than printable ASCII, and `%`, are percent-encoded; the members of a list are joined by commas (a comma in a
   * member is encoded). Anything else is JSON. Default: none.
   */
  claimsToHeaders?: Readonly<Record<string, string>> | undefined
  /** Claims that a token must have, besides those that are checked. Default `['exp']`. */
  requiredClaims?: readonly string[] | undefined
  /** How much the clocks may differ when `exp` and `nbf` are checked, s. Default 0. */
  clockToleranceSeconds?: number | undefined
  /** The `realm` of `WWW-Authenticate`. Default `api`. */
  realm?: string | undefined
  /** How long to remember that a token is good, ms; never beyond its `exp`. Default 300,000. 0: each request is verified. */
  cacheMs?: number | undefined
  /** How many tokens to remember. Default 10,000. */
  maxCached?: number | undefined
  /**
   * After this time a JSON Web Key Set is loaded again, in the background; after twice the time requests wait for it. So a key that is
   * withdrawn is refused, with all tokens that it has signed, within twice the time. ms, default 300,000.
   */
  jwksMaxAgeMs?: number | undefined
  /** How long keys may be used beyond `jwksMaxAgeMs` if they cannot be loaded again, ms. Default 3,600,000. */
  jwksMaxStaleMs?: number | undefined
  /** Time limit for loading keys, ms. Default 3000. */
  jwksTimeoutMs?: number | undefined
  /** Called with the reason for which a token was refused, for a log. Clients are not told. */
  onRefused?: ((reason: Error, exchange: ExchangeView) => void | Promise<void>) | undefined
}

/** The defaults of {@link JwtOptions}. */
export const JWT_DEFAULTS = Object.freeze({
  header: 'Authorization',
  requiredClaims: Object.freeze(['exp']) as readonly string[],
  clockToleranceSeconds: 0,
  realm: 'api',
  cacheMs: 300_000,
  maxCached: 10_000,
  jwksMaxAgeMs: 300_000,
  jwksMaxStaleMs: 3_600_000,
  jwksTimeoutMs: 3000,
})

/** Algorithms of public keys. */
const PUBLIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
/** Algorithms of secrets, and how many bytes a secret must have (RFC 7518 section 3.2). */
const SECRET: ReadonlyMap<string, number> = new Map([
  ['HS256', 32],
  ['HS384', 48],
  ['HS512', 64],
])
const MIN_RSA_BITS = 2048

type Simple = Exclude<keyof JwtOptions, 'jwksUrl' | 'keys' | 'secret' | 'cookie' | 'onRefused'>

/** Checked options, with defaults. */
export interface ResolvedJwtOptions extends Required<{ [Key in Simple]: Exclude<JwtOptions[Key], undefined> }> {
  readonly source: { readonly url: URL } | { readonly keys: readonly Jwk[] } | { readonly secret: Uint8Array }
  readonly cookie: string | null
  readonly onRefused: JwtOptions['onRefused']
}

/** @throws TypeError for wrong options. */
export function resolveJwtOptions(options: JwtOptions): ResolvedJwtOptions {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`jwt: the options are ${shown(options)}; give an object`)
  const unknown = Object.keys(options).filter((key) => !NAMES.includes(key))
  if (unknown.length > 0)
    throw new TypeError(`jwt: there is no option ${unknown.join(', ')}; allowed: ${NAMES.join(', ')}`)
  const source = sourceOf(options)
  const given = <Key extends keyof typeof JWT_DEFAULTS>(key: Key) => options[key] ?? JWT_DEFAULTS[key]
  const resolved = {
    source,
    issuer: claimOf('issuer', options.issuer, 'https://issuer.example'),
    audience: claimOf('audience', options.audience, 'https://api.example'),
    algorithms: algorithmsOf(options.algorithms, source),
    header: token('header', given('header'), 'Authorization'),
    cookie: options.cookie === undefined ? null : token('cookie', options.cookie, 'session'),
    claimsToHeaders: headersOf(options.claimsToHeaders ?? {}),
    requiredClaims: strings('requiredClaims', given('requiredClaims'), "['exp', 'sub']"),
    clockToleranceSeconds: whole('clockToleranceSeconds', given('clockToleranceSeconds'), 0),
    realm: given('realm'),
    cacheMs: whole('cacheMs', given('cacheMs'), 0),
    maxCached: whole('maxCached', given('maxCached'), 1),
    jwksMaxAgeMs: whole('jwksMaxAgeMs', given('jwksMaxAgeMs'), 1),
    jwksMaxStaleMs: whole('jwksMaxStaleMs', given('jwksMaxStaleMs'), 0),
    jwksTimeoutMs: whole('jwksTimeoutMs', given('jwksTimeoutMs'), 1),
    onRefused: options.onRefused,
  }
  const { realm, onRefused } = resolved
  if (typeof realm !== 'string' || !/^[\x20\x21\x23-\x5b\x5d-\x7e]*$/.test(realm)) {
    throw new TypeError(`jwt: realm is ${shown(realm)}; give printable ASCII without " and \\, such as 'api'`)
  }
  if (onRefused !== undefined && typeof onRefused !== 'function') {
    throw new TypeError(`jwt: onRefused is ${shown(onRefused)}; give a function of (reason, exchange)`)
  }
  return resolved
}

const NAMES = [
  'issuer',
  'audience',
  'jwksUrl',
  'keys',
  'secret',
  'algorithms',
  'cookie',
  'claimsToHeaders',
  'onRefused',
  ...Object.keys(JWT_DEFAULTS),
]

function sourceOf({ jwksUrl, keys, secret }: JwtOptions): ResolvedJwtOptions['source'] {
  const given = Object.entries({ jwksUrl, keys, secret }).filter(([, value]) => value !== undefined)
  if (given.length !== 1) {
    const found = given.length === 0 ? 'none' : given.map(([name]) => name).join(' and ')
    throw new TypeError(`jwt: give exactly one of jwksUrl, keys and secret; there is ${found}`)
  }
  if (jwksUrl !== undefined) return { url: urlOf(jwksUrl) }
  if (keys !== undefined) return { keys: keysOf(keys) }
  const bytes = typeof secret === 'string' ? new TextEncoder().encode(secret) : secret
  if (!(bytes instanceof Uint8Array)) throw new TypeError('jwt: secret is neither text nor bytes')
  return { secret: Uint8Array.from(bytes) }
}

function urlOf(value: string | URL): URL {
  const url = URL.parse(String(value))
  if (url !== null && /^https?:$/.test(url.protocol)) return url
  throw new TypeError(`jwt: jwksUrl is ${shown(String(value))}; give a URL such as https://issuer.example/jwks.json`)
}

function keysOf(value: NonNullable<JwtOptions['keys']>): readonly Jwk[] {
  const list: unknown = Array.isArray(value) ? value : (value as { keys?: unknown } | null)?.keys
  if (!Array.isArray(list) || list.length === 0) {
    throw new TypeError('jwt: keys is not a list of public keys with at least one; give PEM or JSON Web Keys')
  }
  return list.map((key: unknown, index) => {
    try {
      return keyOf(key)
    } catch (cause) {
      throw new TypeError(`jwt: keys[${index}]: ${cause instanceof Error ? cause.message : cause}`, { cause })
    }
  })
}

/** @throws Error if it is not a public key that a token can be verified with. */
function keyOf(key: unknown): Jwk {
  if (typeof key === 'string') {
    if (key.includes('PRIVATE KEY')) throw new TypeError('it is a private key; give the public one')
    const object = createPublicKey(key)
    checkStrength(object)
    return { ...object.export({ format: 'jwk' }) }
  }
  if (typeof key !== 'object' || key === null) throw new TypeError(`it is ${shown(key)}; give PEM or a JSON Web Key`)
  const { kty, d, k } = key as Jwk
  if (kty === 'oct' || k !== undefined) throw new TypeError('it is a secret; use the option secret')
  if (d !== undefined) throw new TypeError('it is a private key; give the public one')
  checkStrength(createPublicKey({ key, format: 'jwk' } as JsonWebKeyInput))
  return structuredClone(key) as Jwk
}

function checkStrength({ asymmetricKeyDetails }: KeyObject): void {
  const bits = asymmetricKeyDetails?.modulusLength
  if (bits !== undefined && bits < MIN_RSA_BITS)
    throw new TypeError(`an RSA key of ${bits} bits is too short; use ${MIN_RSA_BITS}`)
}

function algorithmsOf(given: unknown, source: ResolvedJwtOptions['source']): readonly string[] {
  const allowed = 'secret' in source ? [...SECRET.keys()] : PUBLIC
  const list =
    given === undefined ? ('secret' in source ? ['HS256'] : PUBLIC) : strings('algorithms', given, `['${allowed[0]}']`)
  const wrong = list.filter((name) => !allowed.includes(name))
  if (list.length === 0 || wrong.length > 0) {
    const kind = 'secret' in source ? 'a secret' : 'public keys'
    throw new TypeError(
      `jwt: algorithms has ${wrong.join(', ') || 'no member'}; with ${kind} use ${allowed.join(', ')}`,
    )
  }
  if ('secret' in source) {
    for (const name of list) {
      const least = SECRET.get(name) ?? 0
      const { length } = source.secret
      if (length < least) throw new TypeError(`jwt: secret has ${length} bytes; ${name} needs ${least} at least`)
    }
  }
  return list
}

function claimOf(option: string, value: unknown, example: string): string | readonly string[] | false {
  if (value === false || (typeof value === 'string' && value !== '')) return value
  if (value !== undefined && typeof value !== 'string') {
    const list = strings(option, value, `'${example}'`)
    if (list.length > 0) return list
  }
  throw new TypeError(`jwt: ${option} is ${shown(value)}; give it, such as '${example}', or false to accept any`)
}

function headersOf(value: unknown): Readonly<Record<string, string>> {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value)
  if (isRecord && Object.values(value).every((name) => typeof name === 'string')) return { ...value }
  throw new TypeError(
    `jwt: claimsToHeaders is ${shown(value)}; give the header for each claim, such as { sub: 'X-User' }`,
  )
}

function strings(option: string, value: unknown, example: string): readonly string[] {
  if (Array.isArray(value) && value.every((member) => typeof member === 'string')) return [...value]
  throw new TypeError(`jwt: ${option} is ${shown(value)}; give a list of strings, such as ${example}`)
}

function whole(option: string, value: unknown, least: number): number {
  if (Number.isSafeInteger(value) && (value as number) >= least) return value as number
  throw new TypeError(`jwt: ${option} is ${shown(value)}; give a whole number from ${least} on`)
}

/** A token of RFC 9110 section 5.6.2, as the names of headers and cookies are. */
function token(option: string, value: unknown, example: string): string {
  if (typeof value === 'string' && /^[\w!#$%&'*+.^`|~-]+$/.test(value)) return value
  throw new TypeError(`jwt: ${option} is ${shown(value)}; give a name, such as '${example}'`)
}

function shown(value: unknown): string {
  return value === undefined ? 'missing' : (JSON.stringify(value) ?? typeof value)
}
