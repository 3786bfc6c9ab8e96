import {
  type Clock,
  type HeaderList,
  type Interceptor,
  ownHeaders,
  ProxyError,
  type ResponseSink,
  respond,
  verdictCache,
} from '../index.ts'
import { fixedKeys, type Keys, KeysUnavailable, localKeys, remoteKeys } from './jwt-keys.ts'
import { JWT_DEFAULTS, type Jwk, type JwtOptions, resolveJwtOptions } from './jwt-options.ts'
import { claimText, tokenOf } from './jwt-token.ts'
import { loadJose } from './load-jose.ts'

export { JWT_DEFAULTS, type Jwk, type JwtOptions }

type Claims = Readonly<Record<string, unknown>>

/** What is remembered of a good token: the headers for the backend. */
type Verdict = Readonly<HeaderList>

const MACHINE: Pick<Clock, 'now' | 'epoch'> = { now: () => performance.now(), epoch: () => Date.now() }

/**
 * Lets requests pass that carry a good JSON Web Token (RFC 7519), and tells the backend what the token says. Without one, the response
 * is 401 with `WWW-Authenticate: Bearer` (RFC 6750 section 3). Tokens are verified with the package jose, which the application
 * installs. A good token is remembered, so that its next requests cost no verification. If the keys cannot be loaded, the response is
 * 503 (`ERR_PROXY_AUTH_UNAVAILABLE`). Upgrades are checked like other requests.
 * @throws TypeError for wrong options; Error if jose is not installed.
 */
export function jwt(options: JwtOptions, clock: Pick<Clock, 'now' | 'epoch'> = MACHINE): Interceptor {
  const { source, issuer, audience, claimsToHeaders, cacheMs, onRefused, realm, ...settings } =
    resolveJwtOptions(options)
  const own = ownHeadersOf(claimsToHeaders)
  const jose = loadJose()
  const cache = verdictCache<Verdict>(settings.maxCached)
  const keys =
    'url' in source
      ? remoteKeys(jose, source.url, settings, clock.now, () => cache.clear())
      : fixedKeys('keys' in source ? localKeys(jose, source.keys) : source.secret)
  const checks = {
    algorithms: [...settings.algorithms],
    requiredClaims: [...settings.requiredClaims],
    clockTolerance: settings.clockToleranceSeconds,
    ...(issuer !== false && { issuer: typeof issuer === 'string' ? issuer : [...issuer] }),
    ...(audience !== false && { audience: typeof audience === 'string' ? audience : [...audience] }),
  }

  /** The claims of a good token, and the keys that have shown it. Rejects with an error of jose's for another one. */
  async function verify(token: string): Promise<{ claims: Claims; by: Keys }> {
    const known = await keys.get()
    try {
      return { claims: await verifyWith(known, token), by: known }
    } catch (error) {
      const renewed = codeOf(error) === 'ERR_JWKS_NO_MATCHING_KEY' ? await keys.renew() : null
      if (renewed === null) throw error
      return { claims: await verifyWith(renewed, token), by: renewed }
    }
  }

  async function verifyWith(known: Keys, token: string): Promise<Claims> {
    const current = { ...checks, currentDate: new Date(clock.epoch()) }
    // The types of jose have no overload for both.
    const claimsBy = async (key: Keys): Promise<Claims> =>
      (await (typeof key === 'function' ? jose.jwtVerify(token, key, current) : jose.jwtVerify(token, key, current)))
        .payload
    try {
      return await claimsBy(known)
    } catch (error) {
      if (codeOf(error) !== 'ERR_JWKS_MULTIPLE_MATCHING_KEYS') throw error
      // The token does not say which key it is: one of these.
      let last = error
      for await (const key of error as AsyncIterable<Uint8Array>) {
        try {
          return await claimsBy(key)
        } catch (failed) {
          if (codeOf(failed) !== 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') throw failed
          last = failed
        }
      }
      throw last
    }
  }

  async function judge(token: string): Promise<Verdict> {
    const { claims, by } = await verify(token)
    const verdict: HeaderList = []
    for (const [claim, name] of Object.entries(claimsToHeaders)) {
      const value = Object.hasOwn(claims, claim) ? claimText(claims[claim]) : undefined
      if (value !== undefined) verdict.push(name, value)
    }
    const { exp } = claims
    const endsAt = typeof exp === 'number' ? exp * 1000 : Number.POSITIVE_INFINITY
    // Keys that were withdrawn meanwhile vouch for this request, and for no later one.
    if (cacheMs > 0 && keys.isLatest(by)) cache.set(token, verdict, Math.min(endsAt, clock.epoch() + cacheMs))
    return verdict
  }

  function refuse(sink: ResponseSink, status: 400 | 401, more = ''): void {
    const text = status === 400 ? '400 Bad Request\n' : '401 Unauthorized\n'
    const headers = ['WWW-Authenticate', `Bearer realm="${realm}"${more}`, ...PLAIN]
    respond(sink, { status, headers, body: text })
  }

  return {
    name: 'jwt',
    wrap(next) {
      const pass = (verdict: Verdict, ...[exchange, request, body, sink]: Parameters<typeof next>): void =>
        next(exchange, { ...request, headers: own.replace(request.headers, verdict) }, own.clean(body), sink)

      async function ask(token: string, ...args: Parameters<typeof next>): Promise<void> {
        const [exchange, , , sink] = args
        let verdict: Verdict
        try {
          verdict = await judge(token)
        } catch (error) {
          if (error instanceof KeysUnavailable) {
            return sink.onError(new ProxyError('ERR_PROXY_AUTH_UNAVAILABLE', `jwt: ${error.message}`, { cause: error }))
          }
          if (!isOfToken(error)) throw error
          await onRefused?.(error, exchange)
          // Only whoever has the key could have made an expired token: it is safe to say.
          const why = codeOf(error) === 'ERR_JWT_EXPIRED' ? ', error_description="the token has expired"' : ''
          return refuse(sink, 401, `, error="invalid_token"${why}`)
        }
        pass(verdict, ...args)
      }

      return (exchange, request, body, sink) => {
        const token = tokenOf(exchange.headers, settings.header, settings.cookie)
        if (token === undefined) return refuse(sink, 401)
        if (token === null) return refuse(sink, 400, ', error="invalid_request"')
        const verdict = cacheMs > 0 && keys.current() !== null ? cache.get(token, clock.epoch()) : undefined
        if (verdict !== undefined) return pass(verdict, exchange, request, body, sink)
        return ask(token, exchange, request, body, sink)
      }
    },
  }
}

const PLAIN = ['Content-Type', 'text/plain; charset=utf-8', 'Cache-Control', 'no-store']

function ownHeadersOf(claimsToHeaders: Readonly<Record<string, string>>): ReturnType<typeof ownHeaders> {
  try {
    return ownHeaders(Object.values(claimsToHeaders))
  } catch (cause) {
    throw new TypeError(`jwt: claimsToHeaders: ${(cause as Error).message}`, { cause })
  }
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code)
}

/** Whether the token is to blame, and not the keys or the options. */
function isOfToken(error: unknown): error is Error {
  return /^ERR_(?:JWT_|JWS_|JOSE_|JWKS_NO_|JWKS_MULTIPLE_)/.test(codeOf(error))
}
