import type { Request, Response } from 'express'
import type {
  OnProxyEvent as TheirEvents,
  Filter as TheirFilter,
  RequestHandler as TheirHandler,
  Options as TheirOptions,
  Plugin as TheirPlugin,
} from 'http-proxy-middleware'
import type { Filter, OnProxyEvent, Options, RequestHandler } from '../../../src/compat/middleware/index.ts'
import { createProxyMiddleware } from '../../../src/compat/middleware/index.ts'

/*
 * Compiled, and not run: options and functions that are typed by http-proxy-middleware 4 fit this package, and a middleware of this
 * package fits where one of theirs is expected.
 */

export const accepted = (theirs: {
  options: TheirOptions
  ofExpress: TheirOptions<Request, Response>
  events: TheirEvents
  filter: TheirFilter
  plugin: TheirPlugin
}): [Options, Options<Request, Response>, OnProxyEvent, Filter, NonNullable<Options['plugins']>[number]] => [
  theirs.options,
  theirs.ofExpress,
  theirs.events,
  theirs.filter,
  theirs.plugin,
]

export const returned = (
  ours: RequestHandler,
  ofExpress: RequestHandler<Request, Response>,
): [TheirHandler, TheirHandler<Request, Response>] => [ours, ofExpress]

export const called = (options: TheirOptions, ofExpress: TheirOptions<Request, Response>): TheirHandler[] => [
  createProxyMiddleware(options),
  createProxyMiddleware<Request, Response>(ofExpress) as unknown as TheirHandler,
]

/** Code of version 2. */
export const version2 = (options: Options): RequestHandler[] => [
  createProxyMiddleware('/api', options),
  createProxyMiddleware(['/api/**'], options),
  createProxyMiddleware((pathname, req) => pathname.length > 1 && req.method === 'GET', options),
  createProxyMiddleware({
    target: 'http://127.0.0.1',
    logLevel: 'debug',
    logProvider: () => console,
    onError: (error, req, res) => void res.end(`${error.message} ${req.url}`),
    onProxyReq: (proxyReq, req, _res, given) => void proxyReq.setHeader('x-a', `${req.url} ${given.changeOrigin}`),
    onProxyRes: (proxyRes) => void proxyRes.statusCode?.toFixed(),
    onProxyReqWs: (_proxyReq, _req, socket, _options, head) => void socket.write(head),
    onOpen: (socket) => void socket.address(),
    onClose: (_res, socket) => void socket.address(),
  }),
]
