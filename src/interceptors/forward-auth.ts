import type { IncomingMessage } from 'node:http'
import type { Interceptor } from '../contracts/interceptor.ts'
import type { ResponseSink } from '../contracts/pool.ts'
import { classify, FORWARDING } from '../headers/facts.ts'
import { headerView } from '../headers/view.ts'
import { contentLength, fieldValue, fieldValues, hasListToken } from '../http1/fields.ts'
import type { BackendTls } from '../model/backend.ts'
import { ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { resolveDotSegments } from '../model/path.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { describeError } from '../runtime/describe-error.ts'
import { AuthService, isSuccess } from './auth-service.ts'
import { checkWhole, headerNames, memberError, optionError, withDefaults, within } from './option-checks.ts'
import { ownHeaders } from './own-headers.ts'
import { BodySender } from './send-body.ts'
import { verdictCache } from './verdict-cache.ts'
import { wrapSink } from './wrap-sink.ts'

/** Options of {@link forwardAuth}. */
export interface ForwardAuthOptions {
  /** The service: `http://`, `https://` or `http+unix:///path/to.sock:/path`, with its path and query. */
  url: string | URL
  /**
   * Headers of the service's 2xx response that the backend gets (`Remote-User`). Those that the client sends by these names are always
   * removed. Default none.
   */
  requestHeaders?: readonly string[] | undefined
  /** Headers of the service's 2xx response that the client gets. `Set-Cookie` is added to those of the backend. Default none. */
  responseHeaders?: readonly string[] | undefined
  /** Headers of the client that the service gets. Default Accept, Authorization, Cookie, User-Agent, X-Requested-With. */
  clientHeaders?: readonly string[] | undefined
  /** Time limit for the service, ms. Default 1000. `timeouts.intercept` bounds it too. */
  timeoutMs?: number | undefined
  /**
   * How long to remember that the service has let a request pass, ms. Default 0: every request is asked for. Not remembered: refusals,
   * responses with `Cache-Control: no-store`, and those with a `Set-Cookie` for the client.
   */
  cacheMs?: number | undefined
  /**
   * What must be equal for a remembered verdict to be used. `request` (default): all that the service is told. `credentials`:
   * `clientHeaders` alone, for a service that looks at neither method nor host, path or address.
   */
  cacheBy?: 'request' | 'credentials' | undefined
  /** How many verdicts to remember. Default 10,000. */
  maxCached?: number | undefined
  /** How to verify the certificate of an `https:` service. */
  tls?: BackendTls | undefined
}

/** The defaults of {@link ForwardAuthOptions}. */
export const FORWARD_AUTH_DEFAULTS = Object.freeze({
  requestHeaders: Object.freeze([]) as readonly string[],
  responseHeaders: Object.freeze([]) as readonly string[],
  clientHeaders: Object.freeze([
    'Accept',
    'Authorization',
    'Cookie',
    'User-Agent',
    'X-Requested-With',
  ]) as readonly string[],
  timeoutMs: 1000,
  cacheMs: 0,
  cacheBy: 'request',
  maxCached: 10_000,
})

const NAME = 'forward-auth'

/** What the service has said of a request that passes. */
interface Verdict {
  readonly toBackend: HeaderList
  readonly toClient: HeaderList
}

/**
 * Asks a service whether a request may pass, as nginx's `auth_request` and Traefik's `forwardAuth` do: GET without a body, with the
 * client's method, path, host, scheme and address in `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto` and `-For`. 2xx lets it pass.
 * 3xx and 4xx are sent to the client with their headers and body. If the service is down, late, or responds with 5xx, the request is
 * refused: 503, `ERR_PROXY_AUTH_UNAVAILABLE`. Upgrades are asked for like other requests.
 * @throws TypeError for wrong options.
 */
export function forwardAuth(options: ForwardAuthOptions, clock: Clock = systemClock): Interceptor {
  const { url, tls, requestHeaders, responseHeaders, clientHeaders, timeoutMs, cacheMs, cacheBy, maxCached } =
    withDefaults(NAME, options, FORWARD_AUTH_DEFAULTS, ['url', 'tls'])
  checkWhole(NAME, 'timeoutMs', timeoutMs, { least: 1, example: FORWARD_AUTH_DEFAULTS.timeoutMs })
  checkWhole(NAME, 'cacheMs', cacheMs, { least: 0, example: 5000 })
  if (cacheBy !== 'request' && cacheBy !== 'credentials')
    throw optionError(NAME, 'cacheBy', cacheBy, "'request' or 'credentials'")
  checkWhole(NAME, 'maxCached', maxCached, { least: 1, example: FORWARD_AUTH_DEFAULTS.maxCached })
  const toBackend = headerNames(NAME, 'requestHeaders', requestHeaders, "['Remote-User']")
  const toClient = headerNames(NAME, 'responseHeaders', responseHeaders, "['Set-Cookie']")
  const toService = headerNames(NAME, 'clientHeaders', clientHeaders, "['Cookie']")
  const forged = toService.find((name) => /^host$/i.test(name) || classify(name, FORWARDING) !== 0)
  if (forged !== undefined)
    throw memberError(NAME, 'clientHeaders', forged, 'another header: clients may forge this one')
  const own = ownHeaders(toBackend)
  const cache = verdictCache<Verdict>(maxCached)
  const service = within(`${NAME}: url`, () => new AuthService(String(url), tls, timeoutMs, clock))

  /** Headers of the client that the service gets. */
  function credentialsOf(exchange: ExchangeView): HeaderList {
    const list: HeaderList = []
    for (const name of toService) {
      for (const value of fieldValues(exchange.headers, name.toLowerCase())) list.push(name, value)
    }
    return list
  }

  function verdictOf({ rawHeaders }: IncomingMessage): Verdict {
    return { toBackend: listed(rawHeaders, toBackend), toClient: listed(rawHeaders, toClient) }
  }

  return {
    name: NAME,
    wrap(next) {
      const pass = (verdict: Verdict, ...[exchange, request, body, sink]: Parameters<typeof next>): void =>
        next(
          exchange,
          { ...request, headers: own.replace(request.headers, verdict.toBackend) },
          own.clean(body),
          verdict.toClient.length === 0 ? sink : withHeaders(sink, verdict.toClient),
        )

      async function ask(told: HeaderList, key: string, ...args: Parameters<typeof next>): Promise<void> {
        const [exchange, , , sink] = args
        let response: IncomingMessage
        try {
          response = await service.ask(told, exchange.signal)
        } catch (cause) {
          return sink.onError(unavailable(service, cause))
        }
        if (!isSuccess(response)) return refuse(response, service, exchange, sink)
        const verdict = verdictOf(response)
        if (cacheMs > 0 && mayBeKept(response, verdict)) cache.set(key, verdict, clock.now() + cacheMs)
        pass(verdict, ...args)
      }

      return (exchange, request, body, sink) => {
        const credentials = credentialsOf(exchange)
        const told = [...originOf(exchange, request), ...credentials]
        // No header has a line break.
        const key = cacheMs === 0 ? '' : (cacheBy === 'request' ? told : credentials).join('\n')
        const verdict = cacheMs === 0 ? undefined : cache.get(key, clock.now())
        if (verdict !== undefined) return pass(verdict, exchange, request, body, sink)
        return ask(told, key, exchange, request, body, sink)
      }
    },
  }
}

/** The client's request, for the service. What the proxy has not verified is not in it. */
function originOf(exchange: ExchangeView, { headers }: RequestHead): HeaderList {
  const { method, path, host, protocol, clientAddress } = exchange
  // If no route looks at paths they come as received, and backends resolve dots in them.
  const list = ['X-Forwarded-Method', method, 'X-Forwarded-Uri', resolved(path)]
  const told = [
    ['X-Forwarded-Host', fieldValue(headers, 'x-forwarded-host') ?? host],
    ['X-Forwarded-Proto', fieldValue(headers, 'x-forwarded-proto') ?? protocol],
    ['X-Forwarded-For', fieldValue(headers, 'x-forwarded-for') ?? clientAddress],
  ] as const
  for (const [name, value] of told) if (value !== '') list.push(name, value)
  return list
}

function resolved(path: string): string {
  const query = path.indexOf('?')
  return query < 0 ? resolveDotSegments(path) : resolveDotSegments(path.slice(0, query)) + path.slice(query)
}

/** The headers with these names. */
function listed(headers: Readonly<HeaderList>, names: readonly string[]): HeaderList {
  return names.flatMap((name) => fieldValues(headers, name.toLowerCase()).flatMap((value) => [name, value]))
}

function mayBeKept({ rawHeaders }: IncomingMessage, { toClient }: Verdict): boolean {
  const control = fieldValues(rawHeaders, 'cache-control')
  return fieldValue(toClient, 'set-cookie') === undefined && !control.some((value) => hasListToken(value, 'no-store'))
}

/** Adds the headers to the response of the backend. */
function withHeaders(sink: ResponseSink, added: HeaderList): ResponseSink {
  const add = (head: ResponseHead): ResponseHead => {
    const headers = headerView(head.headers)
    for (let i = 0; i < added.length; i += 2)
      if (!/^set-cookie$/i.test(added[i] as string)) headers.delete(added[i] as string)
    head.headers.push(...added)
    return head
  }
  return wrapSink(sink, {
    onHead: (head, flow) => sink.onHead(add(head), flow),
    onUpgrade: (head, stream, rest) => sink.onUpgrade(add(head), stream, rest),
  })
}

/** Sends the refusal of the service to the client. */
async function refuse(
  response: IncomingMessage,
  service: AuthService,
  exchange: ExchangeView,
  sink: ResponseSink,
): Promise<void> {
  const { statusCode = 0, statusMessage = '', rawHeaders } = response
  const bodyBytes = contentLength(fieldValue(rawHeaders, 'content-length') ?? '')
  const sender = new BodySender()
  sink.onHead({ status: statusCode, reason: statusMessage, headers: [...rawHeaders], bodyBytes }, sender)
  if (exchange.method === 'HEAD') {
    response.destroy()
    return sink.onEnd(null)
  }
  const pieces = response[Symbol.asyncIterator]()
  try {
    const reader = { read: () => pieces.next(), cancel: () => void response.destroy() }
    await sender.send(reader, sink, exchange.signal)
  } catch (cause) {
    sink.onError(unavailable(service, cause))
  }
}

function unavailable({ name }: AuthService, cause: unknown): ProxyError {
  const message = `${NAME}: no verdict from ${name}: ${describeError(cause)}`
  return new ProxyError('ERR_PROXY_AUTH_UNAVAILABLE', message, { cause })
}
