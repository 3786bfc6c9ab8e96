import type { Middleware } from 'koa'
import { handleUpgrades, type Proxy } from '../index.ts'
import { handled, type ProxyMiddlewareOptions, passBody, proxyOf } from './proxy-of.ts'

export { handleUpgrades, type ProxyMiddlewareOptions }

/** A Koa middleware with its proxy. */
export type KoaProxy = Middleware & { readonly proxy: Proxy }

/**
 * For Koa 2 and 3: `app.use(proxyMiddleware({ target: 'http://127.0.0.1:3001' }))`. If a route matches, the middleware
 * responds in place of Koa (`ctx.respond = false`) and resolves when the response has ended; otherwise it calls the next
 * one. If a parser has read the body, it is sent from `ctx.request.body` or `.rawBody`. With `passErrors`, failures are
 * thrown, and Koa responds. WebSockets pass through the application too: `handleUpgrades(server, app.callback())`. The application must
 * close `middleware.proxy`.
 */
export function proxyMiddleware(options: ProxyMiddlewareOptions): KoaProxy {
  const { proxy, handle } = proxyOf(options)
  const middleware: Middleware = async (ctx, next) => {
    const { req, res } = ctx
    passBody(ctx.request, req)
    ctx.respond = false
    let isHandled = false
    try {
      isHandled = await handled(handle, req, res)
    } finally {
      ctx.respond = !isHandled
    }
    if (!isHandled) await next()
  }
  return Object.assign(middleware, { proxy })
}
