import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Middleware as KoaMiddleware } from 'koa'
import { createProxy, type MiddlewareOptions, type Proxy, type ProxyOptions } from '../index.ts'

/** Options of the Koa middleware: those of `createProxy()`, or a proxy that the application has already. */
export interface KoaProxyOptions extends MiddlewareOptions {
  /** Use this proxy; else one is made from the other options. */
  proxy?: Proxy
}

/** A Koa middleware with the proxy that it uses. */
export type KoaProxy = KoaMiddleware & {
  readonly proxy: Proxy
  /** For `server.on('upgrade', middleware.upgrade)`: WebSocket in one line. */
  readonly upgrade: (req: IncomingMessage, socket: Duplex, head: Buffer) => void
}

/**
 * Koa 2 and 3: `app.use(proxyMiddleware({ target: 'http://127.0.0.1:3001' }))`. Takes the response out of Koa's hands
 * (`ctx.respond = false`) where a route matches, and is done when the response is. A body that `koa-body` or
 * `koa-bodyparser` has read is sent again from `ctx.request.body`. With `passErrors` failures are thrown.
 */
export function proxyMiddleware(options: KoaProxyOptions & ProxyOptions): KoaProxy {
  const { proxy: given, passErrors, ...proxyOptions } = options
  const proxy = given ?? createProxy(proxyOptions)
  const handle = proxy.middleware(passErrors === undefined ? {} : { passErrors })
  const middleware: KoaMiddleware = async (ctx, next) => {
    const { req, res } = ctx
    // Koa routers that mount under a path rewrite ctx.url, which is req.url; parsers write to ctx.request.
    const { body, rawBody } = ctx.request as { body?: unknown; rawBody?: unknown }
    Object.assign(req, body === undefined ? {} : { body }, rawBody === undefined ? {} : { rawBody })
    ctx.respond = false
    // Koa presets 404, which writeHead would not take over from a thrown error.
    let isOurs = true
    await new Promise<void>((resolve, reject) => {
      res.once('close', resolve)
      handle(req, res, (error) => {
        isOurs = false
        res.off('close', resolve)
        if (error === undefined) resolve()
        else reject(error as Error)
      })
    }).catch((error) => {
      ctx.respond = true
      throw error
    })
    if (isOurs) return
    ctx.respond = true
    await next()
  }
  return Object.assign(middleware, { proxy, upgrade: proxy.ws })
}
