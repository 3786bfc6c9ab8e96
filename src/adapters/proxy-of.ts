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
