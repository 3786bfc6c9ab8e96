import http from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls from 'node:tls'
import type { CheckedListenOptions, ListenAddress } from '../contracts/executor.ts'
import { type KnownRequest, type RequestLine, recordRefusal } from '../exchange/refusals.ts'
import type { Core, Services } from '../exchange/services.ts'
import { ProxyError } from '../model/errors.ts'
import { describeError } from '../runtime/describe-error.ts'
import { respondToClientError } from './node/client-error.ts'
import { setHalfOpen } from './node-internals.ts'
import { addressOf } from './peer.ts'
import { freeSocket } from './stale-socket.ts'

/** How long idle client connections are kept, ms: longer than the 60 s of common load balancers in front of us. */
export const CLIENT_KEEP_ALIVE_MS = 65_000

/** Longest time between two checks for late clients, ms; node's own default. */
const CHECK_MS = 30_000

/** Creates a node:http server with our limits, whose errors get a response and a record. */
export function createListener({ services, snapshot }: Core): http.Server {
  const { maxHeadBytes, maxConnections, headTimeoutMs, requestTimeoutMs, halfClose } = snapshot.limits
  const times = [headTimeoutMs, requestTimeoutMs].filter((ms) => ms > 0)
  const server = http.createServer({
    keepAliveTimeout: CLIENT_KEEP_ALIVE_MS,
    maxHeaderSize: maxHeadBytes,
    requestTimeout: requestTimeoutMs,
    // node rejects a head timeout longer than the request timeout. Without a value, node would derive it from the request
    // timeout.
    headersTimeout: Math.min(headTimeoutMs, requestTimeoutMs || headTimeoutMs),
    connectionsCheckingInterval: Math.max(1, Math.floor(Math.min(CHECK_MS, ...times.map((ms) => ms / 4)))),
    // We refuse a request without Host ourselves, and everything after it on the connection.
    requireHostHeader: false,
    insecureHTTPParser: false,
    noDelay: true,
  })
  // node silently drops headers over its limit. Our own limit counts the lines.
  server.maxHeadersCount = 0
  setHalfOpen(server, halfClose === 'respond')
  server.on('clientError', (error, socket, ...[known]: [known?: KnownRequest]) =>
    respondToClientError(services, error, socket, known),
  )
  server.on('connect', (req, socket) => {
    const known = { request: lineOf(req), hasExchange: false }
    respondToClientError(services, new Error('CONNECT is for forward proxies'), socket, known)
  })
  // As node does without a listener, but recorded.
  server.on('checkExpectation', (req, res) => {
    const error = new ProxyError('ERR_PROXY_BAD_REQUEST', 'the request expects something else than 100-continue')
    const clientAddress = addressOf(req.socket)
    recordRefusal(services, { error, clientAddress, request: lineOf(req), status: 417, responseBytes: 0 })
    res.writeHead(417).end()
  })
  if (maxConnections > 0) limitConnections(server, maxConnections, services)
  return server
}

function lineOf({ method = '-', url = '-', httpVersion }: http.IncomingMessage): RequestLine {
  return { method, target: url, httpVersion }
}

/**
 * Limits the open connections. Not node's `maxConnections`: it counts only connections that the server has accepted by itself.
 */
function limitConnections(server: http.Server, max: number, { logger }: Services): void {
  let open = 0
  server.on('connection', (socket: Socket) => {
    // A stream of HTTP/2, whose connection has been counted.
    if (!(socket instanceof net.Socket)) return
    open++
    socket.once('close', () => open--)
    if (open <= max) return
    logger.debug({ client: socket.remoteAddress }, `closed a connection: ${max} are open`)
    socket.destroy()
  })
}

/** Connections that may wait to be accepted. The kernel lowers it to `net.core.somaxconn`. node's own default is 511. */
const BACKLOG = 4096

/**
 * Listens. Rejects with a message that says how to fix the problem. First removes a unix socket on which nobody listens any more.
 * @param sharesPort other threads listen on the same port (SO_REUSEPORT).
 */
export async function listen(
  server: net.Server,
  options: CheckedListenOptions,
  sharesPort = false,
): Promise<ListenAddress> {
  const { path, backlog = BACKLOG } = options
  const where =
    path === undefined
      ? { port: options.port ?? 0, host: options.host, backlog, ...(sharesPort && { reusePort: true }) }
      : { path, backlog }
  try {
    await opened(server, where)
  } catch (thrown) {
    const error = thrown as NodeJS.ErrnoException
    const hint = path === undefined || error.code !== 'EADDRINUSE' ? hintOf(error, options) : await freeSocket(path)
    if (hint !== null) throw listenError(error, options, hint)
    // Retry once: if the path is taken once more, another process listens there now.
    await opened(server, where).catch((again: NodeJS.ErrnoException) => {
      throw listenError(again, options, hintOf(again, options))
    })
  }
  // One connection that cannot be accepted must not end the process. Others that need the event listen to it as well.
  server.on('error', ignore)
  const address = server.address() as AddressInfo | string
  if (typeof address === 'string') return { port: 0, host: address, url: '' }
  const { port, address: host, family } = address
  const reachable = host === '::' || host === '0.0.0.0' ? 'localhost' : family === 'IPv6' ? `[${host}]` : host
  // For a server that only accepts connections for the threads, the options decide.
  const isSecure = server instanceof tls.Server || options.tls !== undefined
  return { port, host, url: `${isSecure ? 'https' : 'http'}://${reachable}:${port}` }
}

function ignore(): void {}

function opened(server: net.Server, where: net.ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const onListening = (): void => {
      server.off('error', onError)
      resolve()
    }
    const onError = (error: Error): void => {
      server.off('listening', onListening)
      reject(error)
    }
    server.once('error', onError).once('listening', onListening).listen(where)
  })
}

function listenError(error: NodeJS.ErrnoException, options: CheckedListenOptions, hint: string): Error {
  const where = options.path ?? `${options.host ?? '*'}:${options.port ?? 0}`
  const message = `cannot listen on ${where}: ${describeError(error)}${hint === '' ? '' : `; ${hint}`}`
  return Object.assign(new Error(message, { cause: error }), { code: error.code })
}

/** How to fix the error; empty if only the system knows. */
function hintOf({ code }: NodeJS.ErrnoException, { path, port = 0 }: CheckedListenOptions): string {
  const what = path === undefined ? 'port' : 'path'
  if (code === 'EADDRINUSE') return `another process listens there: stop it or choose another ${what}`
  if (code !== 'EACCES' && code !== 'EPERM') return ''
  if (path !== undefined)
    return 'this user may not create a socket in that directory: change its owner, or choose another path'
  if (port > 0 && port < 1024) {
    return 'ports below 1024 need a privilege (CAP_NET_BIND_SERVICE on Linux): grant it, or choose a port from 1024 on'
  }
  return 'this user may not listen on that port: choose another one'
}
