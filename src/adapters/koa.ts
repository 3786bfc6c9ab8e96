import type { Middleware } from 'koa'
import type { Proxy } from '../index.ts'
import { type ProxyMiddlewareOptions, proxyOf } from './proxy-of.ts'

export type { ProxyMiddlewareOptions }

/** A Koa middleware with the proxy that it uses. */
export type KoaProxy = Middleware & {
  readonly proxy: Proxy
  /** WebSocket in one line: `server.on('upgrade', middleware.upgrade)`. Mount paths are not known here: it sees whole paths. */
  readonly upgrade: Proxy['ws']
}

/**
 * Koa 2 and 3: `app.use(proxyMiddleware({ target: 'http://127.0.0.1:3001' }))`. Where a route matches, the response is
 * out of Koa's hands (`ctx.respond = false`), and the middleware is done when the response is; else it calls the next
 * one. A body that a parser has read is sent again from `ctx.request.body` or `.rawBody`. With `passErrors` failures are
 * thrown, and the response is Koa's again. The application closes `middleware.proxy`.
 */
export function proxyMiddleware(options: ProxyMiddlewareOptions): KoaProxy {
  const { proxy, handle } = proxyOf(options)
  const middleware: Middleware = async (ctx, next) => {
    const { req, res } = ctx
    // Koa's body parsers leave what they have read on Koa's request, where handlers for node's do not look.
    const { body, rawBody } = ctx.request as { body?: unknown; rawBody?: unknown }
    if (body !== undefined) Object.assign(req, { body })
    if (rawBody !== undefined) Object.assign(req, { rawBody })
    ctx.respond = false
    const isOurs = await new Promise<boolean>((resolve, reject) => {
      if (res.closed) resolve(true)
      res.once('close', () => resolve(true))
      handle(req, res, (error) => {
        ctx.respond = true
        if (error === undefined) resolve(false)
        else reject(error)
      })
    })
    if (!isOurs) await next()
  }
  return Object.assign(middleware, { proxy, upgrade: proxy.ws })
}
