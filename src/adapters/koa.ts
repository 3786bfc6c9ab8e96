import type { Middleware } from 'koa'
import { handleUpgrades, type Proxy } from '../index.ts'
import { type ProxyMiddlewareOptions, proxyOf } from './proxy-of.ts'

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
    // Koa's body parsers store the body on Koa's request; the proxy looks for it on node's request.
    const { body, rawBody } = ctx.request as { body?: unknown; rawBody?: unknown }
    if (body !== undefined) Object.assign(req, { body })
    if (rawBody !== undefined) Object.assign(req, { rawBody })
    ctx.respond = false
    const isHandled = await new Promise<boolean>((resolve, reject) => {
      if (res.closed) resolve(true)
      res.once('close', () => resolve(true))
      handle(req, res, (error) => {
        ctx.respond = true
        if (error === undefined) resolve(false)
        else reject(error)
      })
    })
    if (!isHandled) await next()
  }
  return Object.assign(middleware, { proxy })
}
