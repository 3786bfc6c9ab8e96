import http from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type KnownRequest, recordRefusal, requestLineOf, tellRefusal } from '../../exchange/refusals.ts'
import type { Services } from '../../exchange/services.ts'
import { ProxyError } from '../../model/errors.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { bytesAtFault, currentResponse, requestBeingRead } from '../node-internals.ts'
import { addressOf } from '../peer.ts'

/** Statuses for the errors of node:http's parser. All others: 400. */
const STATUS_BY_CODE: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

/** How long a client may take to read the response and close, ms. */
const LINGER_MS = 2_000

/** Set on a connection whose bytes could not be read: the parser reports an error for each piece that follows. */
const FAILED = Symbol('failed')

/**
 * Records a request that could not be read, and sends the client an error after the responses that it is still owed.
 * @param known facts about the request; default: what node's parser knows.
 */
export function respondToClientError(
  services: Services,
  cause: NodeJS.ErrnoException,
  duplex: Duplex,
  known: KnownRequest = knownToNode(cause, duplex),
): void {
  const socket = duplex as Socket & { [FAILED]?: true }
  if (socket[FAILED] === true) return
  socket[FAILED] = true
  guarded(services, socket, () => answerFirst(services, cause, socket, known))
}

/** Runs `call`. If a stream of the application's throws, its connection ends, not the process. */
function guarded(services: Services, socket: Socket, call: () => void): void {
  try {
    call()
  } catch (thrown) {
    services.logger.error({ err: thrown }, `a client's connection could not be answered: ${describeError(thrown)}`)
    socket.destroy()
  }
}

function answerFirst(services: Services, cause: NodeJS.ErrnoException, socket: Socket, known: KnownRequest): void {
  // The client has gone: there is no bad request, and an exchange in progress notices by itself.
  if (cause.code === 'ECONNRESET') return void socket.destroy()
  const status = STATUS_BY_CODE[cause.code ?? ''] ?? 400
  const code =
    status === 431 ? 'ERR_PROXY_HEAD_TOO_LARGE' : status === 408 ? 'ERR_PROXY_CLIENT_TIMEOUT' : 'ERR_PROXY_BAD_REQUEST'
  const error = new ProxyError(code, `a client's connection failed: ${textOf(cause)}`, { cause })
  const clientAddress = addressOf(socket)
  const line = `${status} ${http.STATUS_CODES[status]}`
  const body = `${line} (${error.code})\n`
  if (known.hasExchange) tellRefusal(services, error, clientAddress)
  else {
    const { request } = known
    const isTold = socket.writable
    const told = isTold ? { status, responseBytes: body.length } : { status: 0, responseBytes: 0 }
    recordRefusal(services, { error, clientAddress, request, ...told })
  }
  answer(services, line, body, socket)
}

function textOf(cause: NodeJS.ErrnoException): string {
  if (cause.code !== 'HPE_PAUSED_H2_UPGRADE') return describeError(cause)
  return "it began with HTTP/2, which is not spoken here; listen() takes it with 'h2' among its protocols"
}

function knownToNode(cause: NodeJS.ErrnoException, duplex: Duplex): KnownRequest {
  const incoming = requestBeingRead(duplex)
  const bytes = bytesAtFault(cause)
  const hasExchange = incoming?.complete === false
  if (bytes === undefined || incoming === undefined || hasExchange) return { request: null, hasExchange }
  // The piece may also hold an earlier request; the line at its start may then belong to that one.
  const isOwn = incoming === null || !bytes.includes('\r\n\r\n')
  return { request: isOwn ? requestLineOf(bytes) : null, hasExchange }
}

function answer(services: Services, status: string, body: string, socket: Socket): void {
  const response = currentResponse(socket)
  if (response?.req.complete === true && !response.destroyed) {
    // This response belongs to a complete request, before the one that failed.
    response.once('close', () => guarded(services, socket, () => answer(services, status, body, socket)))
    return
  }
  if (!socket.writable) return
  // If node does not show which response belongs to a request that it has read, ours could end up in the middle of that response.
  if (response?.headersSent === true || (response === undefined && requestBeingRead(socket)))
    return void socket.destroy()
  const text =
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  if (response) {
    // The exchange that waits for the rest of this request notices the connection's end.
    socket.write(text)
    socket.destroy()
    return
  }
  // Read and drop further bytes: closing with unread bytes would take the response away from the client (RFC 9112 section 9.6).
  socket.on('error', ignore).resume().end(text)
  socket.on(
    'close',
    services.clock.schedule(LINGER_MS, () => socket.destroy()),
  )
}

function ignore(): void {}
