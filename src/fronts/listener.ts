import http from 'node:http'
import type net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ListenAddress, ListenOptions } from '../contracts/executor.ts'
import { describeError, ProxyError } from '../model/errors.ts'
import type { Parts } from '../request/parts.ts'

/** Idle client connections are kept this long, ms: longer than the 60 s of common load balancers in front of us. */
const CLIENT_KEEP_ALIVE_MS = 65_000

/** A node:http server of our own, with its errors answered and told. */
export function createListener(parts: Parts): http.Server {
  const server = http.createServer({
    keepAliveTimeout: CLIENT_KEEP_ALIVE_MS,
    // The exchange's own limits are finer: an upload may take long while it moves.
    requestTimeout: 0,
    noDelay: true,
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => answerClientError(parts, error, socket))
  return server
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
  return { port, host, url: `http://${reachable}:${port}` }
}

/** Statuses for what node:http's parser refuses. */
const STATUS_BY_CODE: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

/** A request that node could not read: tell the client, where no other response is under way, and tell the log. */
function answerClientError(parts: Parts, cause: NodeJS.ErrnoException, socket: Duplex): void {
  const status = STATUS_BY_CODE[cause.code ?? ''] ?? 400
  const code =
    status === 431 ? 'ERR_PROXY_HEAD_TOO_LARGE' : status === 408 ? 'ERR_PROXY_CLIENT_TIMEOUT' : 'ERR_PROXY_BAD_REQUEST'
  const error = new ProxyError(code, `a client's connection failed: ${describeError(cause)}`, { cause })
  parts.logger.debug({ code: error.code, client: (socket as Socket).remoteAddress, cause: cause.code }, error.message)
  parts.events.emit('error', error, null)
  const response = (socket as { _httpMessage?: http.ServerResponse | null })._httpMessage ?? null
  if (socket.writable && cause.code !== 'ECONNRESET' && response?.headersSent !== true) {
    const text = `${status} ${http.STATUS_CODES[status]} (${error.code})\n`
    socket.write(
      `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
        `Content-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
    )
  }
  socket.destroy()
}
