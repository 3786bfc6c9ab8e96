import type { IncomingMessage, ServerResponse } from 'node:http'
import { createProxy, type Middleware, type MiddlewareOptions, type Proxy, type ProxyOptions } from '../index.ts'

/** Options of a framework's middleware: those of `createProxy()`, or an existing proxy. */
export type ProxyMiddlewareOptions = MiddlewareOptions & ((ProxyOptions & { proxy?: never }) | { proxy: Proxy })

/**
 * The proxy of the options, and its connect-style handler.
 * @throws TypeError if both a proxy and options for one are given; `OptionsError` as `createProxy()`.
 */
export function proxyOf(options: ProxyMiddlewareOptions): { proxy: Proxy; handle: Middleware } {
  const { proxy: existing, passErrors = false, ...proxyOptions } = checkedOptions(options)
  const ignored = existing === undefined ? [] : Object.keys(proxyOptions)
  if (ignored.length > 0) throw new TypeError(`give either a proxy or options for one, not both: ${ignored.join(', ')}`)
  const proxy = existing ?? createProxy(proxyOptions)
  return { proxy, handle: proxy.middleware({ passErrors }) }
}

/**
 * The options themselves.
 * @throws OptionsError as `createProxy()` if they are not an object. A copy of the URL of a target would have its letters as options.
 */
export function checkedOptions<O extends object>(options: O): O {
  if (options === undefined) return {} as O
  if (typeof options !== 'object' || options === null || Array.isArray(options)) createProxy(options)
  return options
}

/**
 * Calls the handler. Resolves with `true` when the response has ended, with `false` if no route matches. Rejects with a failure that the
 * handler passes on.
 */
export function handled(handle: Middleware, req: IncomingMessage, res: ServerResponse): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (res.closed) resolve(true)
    res.once('close', () => resolve(true))
    handle(req, res, (error) => (error === undefined ? resolve(false) : reject(error)))
  })
}

/** Keeps a body that a parser has left on the framework's request on node's, where the proxy looks for it. */
export function passBody(request: object, req: IncomingMessage): void {
  const { body, rawBody } = request as { body?: unknown; rawBody?: unknown }
  if (body !== undefined) Object.assign(req, { body })
  if (rawBody !== undefined) Object.assign(req, { rawBody })
}
