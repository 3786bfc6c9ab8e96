import type { Interceptor } from '../contracts/interceptor.ts'
import type { BodySource } from '../contracts/pool.ts'
import { fieldValue, fieldValues, isName, removeFields } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { below, pathOf } from '../model/path.ts'
import { describesContent } from './content-headers.ts'
import { checkWhole, isObject, optionError, withDefaults } from './option-checks.ts'
import { askedHost, clientPaths, isOwnAddress, type PrefixChange, protocolOf } from './own-address.ts'
import { callReplaceable } from './replaceable.ts'

/** Options of {@link followRedirects}. */
export interface FollowRedirectsOptions {
  /** The most redirects that are followed for one request, 1 to 100; the client gets the next one. Default 5. */
  max?: number | undefined
  /**
   * The prefix that the route removes from paths or adds to them, as in {@link RewriteLocationOptions.prefix}. It is needed to find out
   * whether the target of a redirect has the same route.
   */
  prefix?: string | PrefixChange | undefined
  /**
   * Other servers to which redirects are followed: the name of a group for each origin, such as `{ 'https://files.internal:8443': 'files' }`.
   * The URLs of the group's backends have no path. The server gets neither cookies nor `Authorization`. Danger: a backend can have any
   * path of it fetched.
   */
  origins?: Readonly<Record<string, string>> | undefined
}

/** The defaults of {@link FollowRedirectsOptions}. */
export const FOLLOW_REDIRECTS_DEFAULTS = Object.freeze({ max: 5 })

/** A request to send: the client's, or one after a redirect. */
interface Step {
  readonly request: RequestHead
  readonly body: BodySource | null
  /** It goes to one of the `origins`. */
  readonly isElsewhere: boolean
}

const NAME = 'follow-redirects'
const MOST_REDIRECTS = 100
const REDIRECTS = new Set([301, 302, 303, 307, 308])
/** Headers that are for the first server only. */
const PERSONAL = new Set(['authorization', 'cookie', 'host'])

/**
 * Follows redirects of a backend in place of the client: 301, 302, 303, 307 and 308 whose target is the backend itself, by its address,
 * by the `Host` that it was sent, or by a path. The next request goes to the same group. As in browsers, 303, and 301 and 302 after POST,
 * make a GET of it (RFC 9110 section 15.4); otherwise the method stays, and the body is sent again.
 *
 * The client gets a redirect that is not followed: to another host or protocol, unless it is one of `origins`; to a path with another
 * route, whose interceptors may have to see it first; one that sets cookies, because the client needs them for the next request;
 * one for which a body would have to be sent again that is not kept (`limits.replayBytes`); and the one after `max`.
 * @throws TypeError if an option is wrong.
 */
export function followRedirects(options: FollowRedirectsOptions = {}): Interceptor {
  const { max, prefix, origins } = withDefaults(NAME, options, FOLLOW_REDIRECTS_DEFAULTS, ['prefix', 'origins'])
  checkWhole(NAME, 'max', max, { least: 1, most: MOST_REDIRECTS, example: FOLLOW_REDIRECTS_DEFAULTS.max })
  const clientPath = clientPaths(NAME, prefix)
  const backendPath = clientPaths(NAME, undefined)
  const groups = groupsOf(origins)

  /** The path to send to the same group, or `null` if the redirect must not be followed. */
  const ownPath = (exchange: ExchangeView, backend: Backend, method: string, url: URL, isElsewhere: boolean) => {
    const target = url.pathname + url.search
    const path = backendPath(target, backend)
    const shown = clientPath(target, backend)
    if (path === null || shown === null || !(isElsewhere || exchange.takesSameRoute(method, shown))) return null
    // The path of the backend's URL alone: it is sent with a slash at its end, or without, as the client has asked. A redirect from
    // one to the other would lead to itself.
    return backend.basePath !== '' && pathOf(path) === '/' ? null : path
  }

  /** What to send next, or `null` if the redirect goes to the client. */
  const redirected = (exchange: ExchangeView, step: Step, { status, headers }: ResponseHead): Step | null => {
    const { request, body } = step
    const { backend } = exchange
    if (backend === null || !REDIRECTS.has(status) || fieldValue(headers, 'set-cookie') !== undefined) return null
    const [location, ...others] = fieldValues(headers, 'location')
    if (location === undefined || others.length > 0) return null
    const url = resolve(location, exchange, backend, request)
    if (url === null || url.username !== '' || url.password !== '') return null

    const isGet = turnsIntoGet(status, request.method)
    if (!isGet && body?.isReplayable === false) return null
    const method = isGet ? 'GET' : request.method
    const kept = [...request.headers]
    if (isGet) removeFields(kept, describesContent)
    const next = { ...request, method, headers: kept }
    const nextBody = isGet ? null : body
    if (isOwn(url, exchange, backend, request)) {
      const path = ownPath(exchange, backend, method, url, step.isElsewhere)
      return path === null ? null : { request: { ...next, path }, body: nextBody, isElsewhere: step.isElsewhere }
    }
    const group = groups.get(url.origin)
    if (group === undefined) return null
    removeFields(kept, (name) => PERSONAL.has(name))
    kept.unshift('Host', url.host)
    return { request: { ...next, path: url.pathname + url.search, group }, body: nextBody, isElsewhere: true }
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) => {
      const send = (step: Step, left: number): void =>
        callReplaceable(next, [exchange, step.request, step.body, sink], (head) => {
          const again = left === 0 ? null : redirected(exchange, step, head)
          if (again !== null) {
            // The group cannot be changed while the earlier call runs.
            const isCut = again.request.group !== step.request.group
            return { isCut, start: () => send(again, left - 1) }
          }
          if (left < max) makeAbsolute(head.headers, exchange, step)
          return null
        })
      send({ request, body, isElsewhere: false }, max)
    },
  }
}

/** The target of a redirect; `null` if it is malformed. */
function resolve(location: string, exchange: ExchangeView, backend: Backend, request: RequestHead): URL | null {
  const sent = `${protocolOf(backend)}//${backend.host}${below(backend.basePath, request.path, exchange.target)}`
  // The bytes of a header are characters here, and URLs are text in UTF-8.
  return URL.parse(Buffer.from(location, 'latin1').toString(), sent)
}

function isOwn(url: URL, { protocol }: ExchangeView, backend: Backend, request: RequestHead): boolean {
  const isReachable = url.protocol === protocolOf(backend) || url.protocol === `${protocol}:`
  return isReachable && isOwnAddress(url, backend, askedHost(request))
}

/** Resolves a `Location` of the server itself: it may be relative to the path of the last request, which the client does not know. */
function makeAbsolute(headers: HeaderList, exchange: ExchangeView, { request, isElsewhere }: Step): void {
  const { backend } = exchange
  if (backend === null) return
  for (let i = 0; i < headers.length; i += 2) {
    const location = headers[i + 1] as string
    if (!isName(headers[i] as string, 'location')) continue
    const url = resolve(location, exchange, backend, request)
    if (url === null || !isOwn(url, exchange, backend, request)) continue
    headers[i + 1] = isElsewhere ? `${url.protocol}//${askedHost(request)}${pathFrom(url)}` : pathFrom(url)
  }
}

function pathFrom({ pathname, search, hash }: URL): string {
  return pathname + search + hash
}

/** Whether the next request is a GET without a body, as the Fetch standard has it (section 4.4). */
function turnsIntoGet(status: number, method: string): boolean {
  if (status === 303) return method !== 'GET' && method !== 'HEAD'
  return (status === 301 || status === 302) && method === 'POST'
}

/** Groups by origin. @throws TypeError if the option is wrong. */
function groupsOf(origins: unknown = {}): ReadonlyMap<string, string> {
  if (!isObject(origins)) throw optionError(NAME, 'origins', origins, 'a table of groups by origin')
  for (const [origin, group] of Object.entries(origins)) {
    if (!/^https?:/.test(origin) || URL.parse(origin)?.origin !== origin)
      throw optionError(NAME, 'a key of origins', origin, 'an origin, such as "https://files.internal:8443"')
    if (typeof group !== 'string' || group === '')
      throw optionError(NAME, `origins[${JSON.stringify(origin)}]`, group, 'the name of a group')
  }
  return new Map(Object.entries(origins) as [string, string][])
}
