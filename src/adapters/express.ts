import { handleUpgrades, type Middleware, type Proxy } from '../index.ts'
import { type ProxyMiddlewareOptions, proxyOf } from './proxy-of.ts'

export { handleUpgrades, type ProxyMiddlewareOptions }

/** An Express middleware with its proxy. It is connect-style, so its types do not depend on Express. */
export type ExpressProxy = Middleware & { readonly proxy: Proxy }

/**
 * For Express 4 and 5: `app.use('/api', proxyMiddleware({ target: 'http://127.0.0.1:3001' }))`. The mount path is not sent
 * to the backend, as with any mounted middleware. It works before body parsers, and after parsers that keep the body in
 * `req.body` or `req.rawBody`. A request without a matching route goes to the next middleware. With `passErrors`, failures
 * go to the application's error handler. WebSockets pass through the application too: `handleUpgrades(server, app)`. The application
 * must close `middleware.proxy`.
 */
export function proxyMiddleware(options: ProxyMiddlewareOptions): ExpressProxy {
  const { proxy, handle } = proxyOf(options)
  return Object.assign(handle, { proxy })
}
