import type { Middleware, Proxy } from '../index.ts'
import { type ProxyMiddlewareOptions, proxyOf } from './proxy-of.ts'

export type { ProxyMiddlewareOptions }

/** An Express middleware (connect-style: its types need none of Express's) with the proxy that it uses. */
export type ExpressProxy = Middleware & {
  readonly proxy: Proxy
  /** WebSocket in one line: `server.on('upgrade', middleware.upgrade)`. Mount paths are not known here: it sees whole paths. */
  readonly upgrade: Proxy['ws']
}

/**
 * Express 4 and 5: `app.use('/api', proxyMiddleware({ target: 'http://127.0.0.1:3001' }))`. The mount path is not sent
 * to the backend, as with any mounted middleware. Works before body parsers, and after those that keep what they read
 * in `req.body` or `req.rawBody`. What no route matches goes to the next middleware. With `passErrors` failures go to
 * the application's error handler. The application closes `middleware.proxy`.
 */
export function proxyMiddleware(options: ProxyMiddlewareOptions): ExpressProxy {
  const { proxy, handle } = proxyOf(options)
  return Object.assign(handle, { proxy, upgrade: proxy.ws })
}
