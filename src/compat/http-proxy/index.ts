import { ProxyServer } from './server.ts'
import type { ServerOptions } from './types.ts'

export { numOpenSockets } from './open-sockets.ts'
export type { OutgoingRequest } from './outgoing-request.ts'
export type { ProxyResponse } from './proxy-response.ts'
export type * from './types.ts'
export { ProxyServer }

/** Creates a proxy server, as http-proxy, http-proxy-3 and httpxy do. */
export function createProxyServer<
  Request extends typeof import('node:http').IncomingMessage = typeof import('node:http').IncomingMessage,
  Response extends typeof import('node:http').ServerResponse = typeof import('node:http').ServerResponse,
  Failure = Error,
>(options?: ServerOptions): ProxyServer<Request, Response, Failure> {
  return new ProxyServer<Request, Response, Failure>(options)
}

export { createProxyServer as createProxy, createProxyServer as createServer }

// biome-ignore lint/style/noDefaultExport: the originals have one.
export default ProxyServer
