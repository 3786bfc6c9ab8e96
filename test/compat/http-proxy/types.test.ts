import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'node:test'
import type { ServerOptions as TheirOptions, ProxyTarget as TheirTarget } from 'http-proxy-3'
import ours, {
  createProxy,
  createProxyServer,
  createServer,
  type ErrorCallback,
  ProxyServer,
  type ProxyTarget,
  type ServerOptions,
} from '../../../src/compat/http-proxy/index.ts'

// What follows is checked by the compiler: the build fails if it is not true.

test('types: the options of http-proxy-3 are taken here, and its calls fit', () => {
  const theirs: TheirOptions = { target: 'http://localhost' }
  const options: ServerOptions = theirs
  const target: ProxyTarget = {} as TheirTarget
  createProxyServer({ ...options, target })
  const calls = (proxy: ProxyServer, req: IncomingMessage, res: ServerResponse, socket: Socket, head: Buffer): void => {
    const callback: ErrorCallback = (error, _req, client) => [error.message, client instanceof http.ServerResponse]
    proxy.web(req, res)
    proxy.web(req, res, callback)
    proxy.web(req, res, theirs)
    proxy.web(req, res, { target: { host: 'a', port: 1 } }, (error) => error.message)
    proxy.ws(req, socket, head)
    proxy.ws(req, socket, head, theirs, callback)
    proxy.ws(req, socket, { target: 'ws://a' }, head)
    proxy.listen(3000, 'localhost').close(() => {})
    proxy.before('web', 'stream', (_req, _res, { target: to }) => to)
    proxy.after('ws', 'stream', (_req, client) => client.destroy())
    const where: AddressInfo | string | null | undefined = proxy.address()
    void [where, createProxy(), createServer(), ours.createProxyServer()]
  }
  void calls
})

test('types: listeners for http-proxy-3 fit', () => {
  const proxy: ProxyServer = new ProxyServer()
  proxy.on('proxyReq', (proxyReq, req, res, options, socket) => {
    proxyReq.setHeader('x', req.url ?? '')
    void [res.headersSent, options.target, socket.remoteAddress]
  })
  proxy.on('proxyReq', (proxyReq: ClientRequest) => proxyReq.setHeader('a', 'b'))
  proxy.on('proxyRes', (proxyRes: IncomingMessage, req: IncomingMessage, res: ServerResponse) => [proxyRes, req, res])
  proxy.on('end', (_req, _res, proxyRes) => proxyRes.statusCode)
  proxy.on('open', (socket: Socket) => socket.remoteAddress)
  proxy.on('close', (proxyRes, proxySocket, head) => [proxyRes.statusCode, proxySocket.destroyed, head])
  proxy.on('error', (error: Error, req, res) => [error.message, req.url, res instanceof http.ServerResponse])
  const own = createProxyServer<typeof IncomingMessage, typeof ServerResponse, NodeJS.ErrnoException>()
  own.on('error', (error) => error.code)
})
