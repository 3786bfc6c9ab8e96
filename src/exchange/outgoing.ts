import type { OutgoingRequest } from '../contracts/transform.ts'
import { headerView } from '../headers/view.ts'
import { fieldValue } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import { hookError, ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { RequestHead } from '../model/message.ts'
import { below, isPath } from '../model/path.ts'
import type { Resolution } from '../routing/resolve.ts'
import { isMethod } from '../routing/target.ts'
import { assertSync } from '../runtime/callbacks.ts'
import type { Exchange } from './exchange.ts'
import type { Route } from './snapshot.ts'

/** Step 2: the request head for the route. The host of an absolute-form target replaces `Host` (RFC 9112 section 3.2.2). */
export function routedHead(
  exchange: Exchange,
  route: Route,
  { path, host }: Resolution<Route>,
): RequestHead | ProxyError {
  const { method, request, upgrade } = exchange
  const { list } = request
  if (host !== null) setHosts(list, request.host, host)
  if (route.transforms.length > 0) return transformed(exchange, route, path)
  return { method, path, authority: host ?? request.host, headers: list, upgrade }
}

function transformed(exchange: Exchange, { transforms }: Route, given: string): RequestHead | ProxyError {
  // The path must not be able to leave a prefix that a transform adds (such as by `..`).
  const { path, fault } = exchange.snapshot.router.confine(given)
  if (fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
  const { method, upgrade } = exchange
  const headers = exchange.request.list
  const request: OutgoingRequest = { method, path, headers: headerView(headers) }
  for (const transform of transforms) {
    try {
      assertSync(transform.request?.(request, exchange))
      if (!isPath(request.path)) throw new TypeError(`${JSON.stringify(request.path)} is not a path`)
      if (request.method !== method && (upgrade !== null || !isSendable(request.method)))
        throw new TypeError(`${JSON.stringify(request.method)} is not a method that can be sent instead of ${method}`)
    } catch (error) {
      return hookError(`transform ${transform.name}`, error)
    }
  }
  return { method: request.method, path: request.path, authority: request.headers.get('host') ?? '', headers, upgrade }
}

/** Whether hooks may send a request with this method: TRACE reaches no backend. */
export function isSendable(method: string): boolean {
  return isMethod(method) && method !== 'TRACE'
}

/** Whether it is a three-digit status of a final response (not 1xx). */
export function isFinalStatus(status: number): boolean {
  return Number.isInteger(status) && status >= 200 && status <= 999
}

/** The request head for one backend. @param target the request target, as received. */
export function outgoingHead(
  head: RequestHead,
  backend: Backend,
  hostHeader: 'client' | 'backend',
  target: string,
): RequestHead {
  const lacksHost = head.authority === '' && fieldValue(head.headers, 'host') === undefined
  const showsBackend = lacksHost || hostHeader === 'backend'
  if (!showsBackend && backend.basePath === '') return head
  return {
    method: head.method,
    path: below(backend.basePath, head.path, target),
    authority: showsBackend ? backend.host : head.authority,
    headers: showsBackend ? withHost(head.headers, backend.host) : head.headers,
    upgrade: head.upgrade,
  }
}

function withHost(headers: HeaderList, host: string): HeaderList {
  const copy = headers.slice()
  for (let i = 0; i < copy.length; i += 2) {
    if (copy[i]?.length !== 4 || copy[i]?.toLowerCase() !== 'host') continue
    copy[i + 1] = host
    return copy
  }
  copy.unshift('Host', host)
  return copy
}

/** Replaces the host in `Host`, and in an `X-Forwarded-Host` that has the old host. */
function setHosts(headers: HeaderList, before: string, host: string): void {
  let hasHost = false
  for (let i = 0; i < headers.length; i += 2) {
    const lower = headers[i]?.toLowerCase()
    if (lower === 'host') hasHost = true
    else if (lower !== 'x-forwarded-host' || headers[i + 1] !== before) continue
    headers[i + 1] = host
  }
  if (!hasHost) headers.unshift('Host', host)
}
