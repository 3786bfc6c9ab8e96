import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { ProxyServer, type ServerOptions } from '../../../src/compat/http-proxy/index.ts'
import { type RecordingLogger, recordingLogger } from '../../../src/testing/index.ts'
import { listening } from '../../support/running-proxy.ts'

/** A ProxyServer in an application's server. */
export interface Served extends AsyncDisposable {
  readonly proxy: ProxyServer
  readonly server: http.Server
  readonly port: number
  readonly url: string
  /** The same for WebSockets. */
  readonly wsUrl: string
  readonly logger: RecordingLogger
}

export type Web = (proxy: ProxyServer, req: IncomingMessage, res: ServerResponse) => unknown
export type Ws = (proxy: ProxyServer, req: IncomingMessage, socket: Duplex, head: Buffer) => unknown

/** Serves with `proxy.web` and `proxy.ws`, or in another way. */
export async function served(
  options: ServerOptions,
  web: Web = (proxy, req, res) => proxy.web(req, res),
  ws: Ws = (proxy, req, socket, head) => proxy.ws(req, socket, head),
): Promise<Served> {
  const logger = recordingLogger()
  const proxy = new ProxyServer({ logger, ...options })
  const server = http.createServer((req, res) => void web(proxy, req, res))
  server.on('upgrade', (req, socket, head) => void ws(proxy, req, socket, head))
  const port = await listening(server)
  return {
    proxy,
    server,
    port,
    logger,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
      proxy.close()
    },
  }
}

/** Resolves with the arguments of the next event. */
export function nextEvent(proxy: ProxyServer, event: string): Promise<unknown[]> {
  return new Promise((resolve) => proxy.once(event as 'start', (...args: unknown[]) => resolve(args)))
}

/** An error of the system, as listeners get it. */
export type SystemError = NodeJS.ErrnoException & { readonly cause?: { readonly code?: string } }

export function codeOf(error: Error): string | undefined {
  return (error as NodeJS.ErrnoException).code
}
