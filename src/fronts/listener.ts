import http from 'node:http'
import type net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import tls from 'node:tls'
import type { ListenAddress, ListenOptions } from '../contracts/executor.ts'
import { describeError } from '../model/errors.ts'
import type { Parts } from '../request/parts.ts'
import { answerClientError } from './client-error.ts'

/** Idle client connections are kept this long, ms: longer than the 60 s of common load balancers in front of us. */
export const CLIENT_KEEP_ALIVE_MS = 65_000

/** How often clients that are late are looked for, at least, ms; node's own default. */
const CHECK_MS = 30_000

/** A node:http server of our own, with our limits, its errors answered and told. */
export function createListener(parts: Parts): http.Server {
  const { maxHeadBytes, maxConnections, headTimeoutMs, requestTimeoutMs } = parts.limits
  const times = [headTimeoutMs, requestTimeoutMs].filter((ms) => ms > 0)
  const server = http.createServer({
    keepAliveTimeout: CLIENT_KEEP_ALIVE_MS,
    maxHeaderSize: maxHeadBytes,
    requestTimeout: requestTimeoutMs,
    // node refuses one that is longer than that of the whole request; and without it, its default would be that of the request.
    headersTimeout: Math.min(headTimeoutMs, requestTimeoutMs || headTimeoutMs),
    connectionsCheckingInterval: Math.max(1, Math.floor(Math.min(CHECK_MS, ...times.map((ms) => ms / 4)))),
    // We refuse it ourselves, and what follows it on the connection.
    requireHostHeader: false,
    insecureHTTPParser: false,
    noDelay: true,
  })
  // node drops what is over its limit without a word; ours is told by the number of lines.
  server.maxHeadersCount = 0
  server.on('clientError', (error, socket) => answerClientError(parts, error, socket))
  server.on('connect', (_req, socket) => answerClientError(parts, new Error('CONNECT is for forward proxies'), socket))
  if (maxConnections > 0) limitConnections(server, maxConnections, parts)
  return server
}

/** node begins to watch connections, for its timeouts and to close idle ones, when a server listens; this one never will. */
export function watchConnections(server: net.Server): void {
  for (const listener of server.listeners('listening')) {
    if (listener.name === 'setupConnectionsTracking') listener.call(server)
  }
}

/** Not node's `maxConnections`, which counts only what the server has accepted by itself. */
function limitConnections(server: http.Server, max: number, { logger }: Parts): void {
  let open = 0
  server.on('connection', (socket: Socket) => {
    open++
    socket.once('close', () => open--)
    if (open <= max) return
    logger.debug({ client: socket.remoteAddress }, `closed a connection: ${max} are open`)
    socket.destroy()
  })
}

/**
 * Listens, and rejects with a message that says what to do.
 * @param sharesPort other threads listen on the same port (SO_REUSEPORT).
 */
export async function listen(server: net.Server, options: ListenOptions, sharesPort = false): Promise<ListenAddress> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const where = options.path ?? `${options.host ?? '*'}:${options.port ?? 0}`
      const hint = error.code === 'EADDRINUSE' ? '; another process listens there: stop it or choose another port' : ''
      reject(
        Object.assign(new Error(`cannot listen on ${where}: ${describeError(error)}${hint}`, { cause: error }), {
          code: error.code,
        }),
      )
    })
    server.listen(
      options.path === undefined
        ? { port: options.port ?? 0, host: options.host, ...(sharesPort && { reusePort: true }) }
        : { path: options.path },
      resolve,
    )
  })
  const address = server.address() as AddressInfo | string
  if (typeof address === 'string') return { port: 0, host: address, url: '' }
  const { port, address: host, family } = address
  const reachable = host === '::' || host === '0.0.0.0' ? 'localhost' : family === 'IPv6' ? `[${host}]` : host
  // A server that only accepts for the threads knows it by the options.
  const isSecure = server instanceof tls.Server || options.tls !== undefined
  return { port, host, url: `${isSecure ? 'https' : 'http'}://${reachable}:${port}` }
}
