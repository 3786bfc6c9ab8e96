import { createProxy, type Middleware, type MiddlewareOptions, type Proxy, type ProxyOptions } from '../index.ts'

/** Options of a framework's middleware: those of `createProxy()`, or a proxy that the application has already. */
export type ProxyMiddlewareOptions = MiddlewareOptions & ((ProxyOptions & { proxy?: never }) | { proxy: Proxy })

/**
 * The proxy that the options mean, and its connect-style handler.
 * @throws TypeError where both a proxy and options for one are given; `OptionsError` as `createProxy()`.
 */
export function proxyOf(options: ProxyMiddlewareOptions): { proxy: Proxy; handle: Middleware } {
  const { proxy: given, passErrors = false, ...proxyOptions } = options
  const ignored = given === undefined ? [] : Object.keys(proxyOptions)
  if (ignored.length > 0) throw new TypeError(`give either a proxy or options for one, not both: ${ignored.join(', ')}`)
  const proxy = given ?? createProxy(proxyOptions)
  return { proxy, handle: proxy.middleware({ passErrors }) }
}
