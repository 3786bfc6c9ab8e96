import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import http2 from 'node:http2'
import type { Duplex } from 'node:stream'
import type { ServerOptions } from './types.ts'

/** What serves the requests of a server. */
export interface Handlers {
  web(req: IncomingMessage, res: ServerResponse): unknown
  ws(req: IncomingMessage, socket: Duplex, head: Buffer): unknown
}

/**
 * The server of `listen()`: HTTP/1.1, or with `ssl` HTTP/2 and HTTP/1.1 over TLS, as http-proxy-3 has it.
 * @throws Error for `http2` without `ssl`, and node's error for an invalid certificate.
 */
export function createServer({ ssl, ws, http2: wantsHttp2 }: ServerOptions, handlers: Handlers): http.Server {
  if (wantsHttp2 === true && ssl === undefined) throw new Error('HTTP/2 requires ssl option')
  const listener = (req: IncomingMessage, res: ServerResponse): void => void handlers.web(req, res)
  const server =
    ssl === undefined
      ? http.createServer(listener)
      : // The requests and responses of HTTP/2 have the interface of those of HTTP/1.1.
        (http2.createSecureServer({ ...ssl, allowHTTP1: true }, listener as never) as unknown as http.Server)
  if (ws === true) server.on('upgrade', (req, socket, head) => void handlers.ws(req, socket, head))
  return server
}
