import type { Interceptor } from '../contracts/interceptor.ts'
import type { BodySource } from '../contracts/pool.ts'
import { fieldValue, fieldValues, removeFields } from '../http1/fields.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { below, pathOf } from '../model/path.ts'
import { checkKeys, optionError } from './check-options.ts'
import { describesContent } from './content-headers.ts'
import { askedHost, clientPaths, isOwnAddress, type PrefixChange, protocolOf } from './own-address.ts'
import { callReplaceable } from './replaceable.ts'

/** Options of {@link followRedirects}. */
export interface FollowRedirectsOptions {
  /** The most redirects that are followed for one request, 1 to 100; the client gets the next one. Default 5. */
  max?: number
  /**
   * The prefix that the route removes from paths or adds to them, as in {@link RewriteLocationOptions.prefix}. It is needed to find out
   * whether the target of a redirect has the same route.
   */
  prefix?: string | PrefixChange
}

/** The defaults of {@link FollowRedirectsOptions}. */
export const FOLLOW_REDIRECTS_DEFAULTS = Object.freeze({ max: 5 })

/** A request to send after a redirect. */
interface NextRequest {
  readonly request: RequestHead
  readonly body: BodySource | null
}

const NAME = 'follow-redirects'
const MOST_REDIRECTS = 100
const REDIRECTS = new Set([301, 302, 303, 307, 308])

/**
 * Follows redirects of a backend in place of the client: 301, 302, 303, 307 and 308 whose target is the backend itself, by its address,
 * by the `Host` that it was sent, or by a path. The next request goes to the same group. As in browsers, 303, and 301 and 302 after POST,
 * make a GET of it (RFC 9110 section 15.4); otherwise the method stays, and the body is sent again.
 *
 * The client gets a redirect that is not followed: to another host or protocol; to a path for which another route is
 * there, whose interceptors may have to see it first; one that sets cookies, because the client needs them for the next request;
 * one for which a body would have to be sent again that is not kept (`limits.replayBytes`); and the one after `max`.
 * @throws TypeError if an option is wrong.
 */
export function followRedirects(options: FollowRedirectsOptions = {}): Interceptor {
  checkKeys(NAME, options, ['max', 'prefix'])
  const { max = FOLLOW_REDIRECTS_DEFAULTS.max } = options
  if (!Number.isInteger(max) || max < 1 || max > MOST_REDIRECTS)
    throw optionError(NAME, 'max', max, `an integer from 1 to ${MOST_REDIRECTS}, such as 5`)
  const clientPath = clientPaths(NAME, options.prefix)
  const backendPath = clientPaths(NAME, undefined)

  /** What to send next, or `null` if the redirect goes to the client. */
  const redirected = (
    exchange: ExchangeView,
    request: RequestHead,
    body: BodySource | null,
    { status, headers }: ResponseHead,
  ): NextRequest | null => {
    const { backend } = exchange
    if (backend === null || !REDIRECTS.has(status) || fieldValue(headers, 'set-cookie') !== undefined) return null
    const [location, ...others] = fieldValues(headers, 'location')
    if (location === undefined || others.length > 0) return null
    const asked = askedHost(request)
    const sent = `${protocolOf(backend)}//${backend.host}${below(backend.basePath, request.path, exchange.target)}`
    // The bytes of a header are characters here, and URLs are text in UTF-8.
    const url = URL.parse(Buffer.from(location, 'latin1').toString(), sent)
    if (url === null || url.username !== '' || url.password !== '' || !isOwnAddress(url, backend, asked)) return null
    if (url.protocol !== protocolOf(backend) && url.protocol !== `${exchange.protocol}:`) return null

    const isGet = turnsIntoGet(status, request.method)
    const method = isGet ? 'GET' : request.method
    const target = url.pathname + url.search
    const path = backendPath(target, backend)
    const shown = clientPath(target, backend)
    if (path === null || shown === null || !exchange.takesSameRoute(method, shown)) return null
    // The path of the backend's URL alone: it is sent with a slash at its end, or without, as the client has asked. A redirect from
    // one to the other would lead to itself.
    if (backend.basePath !== '' && pathOf(path) === '/') return null
    if (!isGet) return body?.isReplayable === false ? null : { request: { ...request, path }, body }
    const kept = [...request.headers]
    removeFields(kept, describesContent)
    return { request: { ...request, method, path, headers: kept }, body: null }
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      const send = ({ request, body }: NextRequest, left: number): void =>
        callReplaceable(next, [exchange, request, body, sink], (head) => {
          const again = left === 0 ? null : redirected(exchange, request, body, head)
          return again === null ? null : () => send(again, left - 1)
        })
      send({ request, body }, max)
    },
  }
}

/** Whether the next request is a GET without a body, as the Fetch standard has it (section 4.4). */
function turnsIntoGet(status: number, method: string): boolean {
  if (status === 303) return method !== 'GET' && method !== 'HEAD'
  return (status === 301 || status === 302) && method === 'POST'
}
