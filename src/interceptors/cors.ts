import type { Interceptor } from '../contracts/interceptor.ts'
import type { ResponseSink } from '../contracts/pool.ts'
import { headerView } from '../headers/view.ts'
import { hasListToken, isToken } from '../http1/fields.ts'
import { ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'
import { checkWhole, memberError, optionError, stringList, withDefaults } from './option-checks.ts'
import { originMatcher } from './origins.ts'
import { forbid, respond } from './respond.ts'
import { wrapSink } from './wrap-sink.ts'

/** Options of {@link cors}. */
export interface CorsOptions {
  /**
   * Origins whose pages may read responses: `*` for all, or a list of exact origins as browsers send them (`https://app.example`),
   * of patterns for subdomains (`https://*.app.example`), and `null` (local files, sandboxed frames: any site can make one).
   */
  origins: '*' | readonly string[]
  /** Methods that pages may use, besides GET, HEAD and POST of forms. Default GET, HEAD, POST, PUT, PATCH, DELETE. */
  methods?: readonly string[] | undefined
  /** Request headers that pages may set, besides those of forms. `*`: whatever they ask for. Default none. */
  headers?: '*' | readonly string[] | undefined
  /** Response headers that pages may read, besides the basic ones. Default none. */
  exposedHeaders?: readonly string[] | undefined
  /** Pages may use cookies and other credentials of the user. Not with `*` or `null` in `origins`. Default `false`. */
  credentials?: boolean | undefined
  /** How long browsers may remember the response to a preflight, s. Default 600; most browsers have a limit of their own. */
  maxAgeSeconds?: number | undefined
}

/** The defaults of {@link CorsOptions}. */
export const CORS_DEFAULTS = Object.freeze({
  methods: Object.freeze(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']),
  headers: Object.freeze([]) as readonly string[],
  exposedHeaders: Object.freeze([]) as readonly string[],
  credentials: false,
  maxAgeSeconds: 600,
})

const NAME = 'cors'

/**
 * Cross-origin resource sharing (the CORS protocol of the Fetch standard), for browsers. Preflights are responded to with 204, without
 * a backend. All CORS headers of backends are replaced by these rules. Responses for error codes of the backends' side have the
 * headers too.
 *
 * It does not stop requests, but pages that want to read responses. One exception: a WebSocket handshake from a page of another
 * origin that is not in the list is refused with 403, since no browser checks the response to it (cross-site WebSocket hijacking).
 * @throws TypeError for wrong options.
 */
export function cors(options: CorsOptions): Interceptor {
  const { origins, methods, headers, exposedHeaders, credentials, maxAgeSeconds } = withDefaults(
    NAME,
    options,
    CORS_DEFAULTS,
    ['origins'],
  )
  checkWhole(NAME, 'maxAgeSeconds', maxAgeSeconds, { least: 0, example: CORS_DEFAULTS.maxAgeSeconds })
  if (typeof credentials !== 'boolean') throw optionError(NAME, 'credentials', credentials, 'true or false')
  const isListed = originMatcher(NAME, 'origins', origins, credentials)
  const allowsAny = origins === '*'
  const allowedMethods = tokens('methods', methods, credentials, "['GET', 'PUT']").join(', ')
  const allowedHeaders = headers === '*' ? null : tokens('headers', headers, credentials, "['Content-Type']").join(', ')
  const exposed = tokens('exposedHeaders', exposedHeaders, credentials, "['X-Total']")

  /** The headers that let a page of this origin read a response. */
  function grants(origin: string | undefined): readonly (readonly [name: string, value: string])[] {
    // Also without an origin: a cache may use the response for a request that has one.
    if (allowsAny) return ANY_ORIGIN
    if (origin === undefined || !isListed(origin)) return []
    const granted: [string, string][] = [['Access-Control-Allow-Origin', origin]]
    if (credentials) granted.push(['Access-Control-Allow-Credentials', 'true'])
    return granted
  }

  function respondToPreflight(exchange: ExchangeView, sink: ResponseSink): void {
    const granted = grants(exchange.header('origin'))
    const list: HeaderList = granted.flat()
    if (granted.length > 0) {
      if (allowedMethods !== '') list.push('Access-Control-Allow-Methods', allowedMethods)
      const asked = exchange.header('access-control-request-headers')
      const names = allowedHeaders ?? asked ?? ''
      if (names !== '') list.push('Access-Control-Allow-Headers', names)
      list.push('Access-Control-Max-Age', String(maxAgeSeconds))
    }
    const varied = [
      ...(allowsAny ? [] : ['Origin']),
      ...(allowedHeaders === null ? ['Access-Control-Request-Headers'] : []),
    ]
    if (varied.length > 0) list.push('Vary', varied.join(', '))
    respond(sink, { status: 204, headers: list })
  }

  /** Replaces the CORS headers of a response. */
  function share(response: HeaderView, origin: string | undefined): void {
    const theirs = [...response.entries()].map(([name]) => name).filter((name) => CORS_HEADER.test(name))
    for (const name of theirs) response.delete(name)
    const granted = grants(origin)
    for (const [name, value] of granted) response.set(name, value)
    if (granted.length > 0 && exposed.length > 0) response.set('Access-Control-Expose-Headers', exposed.join(', '))
    if (!allowsAny) vary(response)
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      const origin = exchange.header('origin')
      if (exchange.upgrade !== null) {
        if (origin === undefined || isListed(origin) || isOwn(origin, exchange.host))
          return next(exchange, request, body, sink)
        return forbid(sink)
      }
      const isPreflight =
        exchange.method === 'OPTIONS' && exchange.header('access-control-request-method') !== undefined
      if (isPreflight && origin !== undefined) return respondToPreflight(exchange, sink)
      const shared = wrapSink(sink, {
        onHead(head, flow) {
          share(headerView(head.headers), origin)
          sink.onHead(head, flow)
        },
        onError(error) {
          const list: HeaderList = Object.entries(error.headers).flat()
          const headers = headerView(list)
          share(headers, origin)
          const { code, message, cause, backend, attempt, phase, blamesBackend } = error
          const facts = {
            cause,
            backend,
            attempt,
            phase,
            blamesBackend,
            headers: Object.fromEntries(headers.entries()),
          }
          sink.onError(new ProxyError(code, message, facts))
        },
      })
      next(exchange, request, body, shared)
    },
  }
}

const ANY_ORIGIN = [['Access-Control-Allow-Origin', '*']] as const
const CORS_HEADER = /^access-control-(?!request-)/i

/** Tells caches that the response depends on the origin. */
function vary(response: HeaderView): void {
  const values = response.getAll('vary')
  const isTold = values.some((value) => hasListToken(value, 'origin') || hasListToken(value, '*'))
  if (!isTold) response.set('Vary', [...values, 'Origin'].join(', '))
}

/** Whether a page of `origin` was served by the host that it now asks. The scheme is not compared: TLS may end in front of us. */
function isOwn(origin: string, host: string): boolean {
  const url = URL.parse(origin)
  return (
    url !== null &&
    url.host !== '' &&
    (url.host === host.toLowerCase() || url.host === URL.parse(`${url.protocol}//${host}`)?.host)
  )
}

/** A list of names. @throws TypeError for anything else, and for `*` with credentials. */
function tokens(option: string, value: unknown, credentials: boolean, example: string): readonly string[] {
  const list = stringList(NAME, option, value, example)
  for (const token of list) {
    if (!isToken(token)) throw memberError(NAME, option, token, `a name, in a list such as ${example}`)
    if (token === '*' && credentials)
      throw memberError(NAME, option, token, 'names: with credentials it is no wildcard for browsers')
  }
  return list
}
