import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { RequestHandler } from 'express'
import { createProxy, type MiddlewareOptions, type Proxy, type ProxyOptions } from '../index.ts'

/** Options of the Express middleware: those of `createProxy()`, or a proxy that the application has already. */
export interface ExpressProxyOptions extends MiddlewareOptions {
  /** Use this proxy; else one is made from the other options. */
  proxy?: Proxy
}

/** An Express middleware with the proxy that it uses. */
export type ExpressProxy = RequestHandler & {
  readonly proxy: Proxy
  /** For `server.on('upgrade', middleware.upgrade)`: WebSocket in one line. */
  readonly upgrade: (req: IncomingMessage, socket: Duplex, head: Buffer) => void
}

/**
 * Express 4 and 5: `app.use('/api', proxyMiddleware({ target: 'http://127.0.0.1:3001' }))`. The mount path is not sent to
 * the backend, as with any mounted middleware. Works after body parsers that keep what they read in `req.body` or
 * `req.rawBody`. With `passErrors` failures go to the application's error handler.
 */
export function proxyMiddleware(options: ExpressProxyOptions & ProxyOptions): ExpressProxy {
  const { proxy: given, passErrors, ...proxyOptions } = options
  const proxy = given ?? createProxy(proxyOptions)
  const handler: RequestHandler = proxy.middleware(passErrors === undefined ? {} : { passErrors })
  return Object.assign(handler, { proxy, upgrade: proxy.ws })
}
