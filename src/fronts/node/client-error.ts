import http from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type KnownRequest, recordRefusal, requestLineOf, tellRefusal } from '../../exchange/refusals.ts'
import type { Services } from '../../exchange/services.ts'
import { ProxyError } from '../../model/errors.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { bytesAtFault, currentResponse, requestBeingRead } from '../node-internals.ts'
import { addressOf } from '../peer.ts'

/** Statuses for what node:http's parser refuses. */
const STATUS_BY_CODE: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

/** How long a client may take to read the answer and go, ms. */
const LINGER_MS = 2_000

/** On a connection whose bytes could not be read: the parser complains again of each piece that follows. */
const FAILED = Symbol('failed')

/**
 * A request that could not be read: tell the log, and tell the client, behind the answers that it still has to get.
 * @param known of it; default: what node's parser knows.
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

/** What a stream of the application's throws ends its connection, not the process. */
function guarded(services: Services, socket: Socket, call: () => void): void {
  try {
    call()
  } catch (thrown) {
    services.logger.error({ err: thrown }, `a client's connection could not be answered: ${describeError(thrown)}`)
    socket.destroy()
  }
}

function answerFirst(services: Services, cause: NodeJS.ErrnoException, socket: Socket, known: KnownRequest): void {
  // It has gone: no request that could be bad, and an exchange that is under way learns it by itself.
  if (cause.code === 'ECONNRESET') return void socket.destroy()
  const status = STATUS_BY_CODE[cause.code ?? ''] ?? 400
  const code =
    status === 431 ? 'ERR_PROXY_HEAD_TOO_LARGE' : status === 408 ? 'ERR_PROXY_CLIENT_TIMEOUT' : 'ERR_PROXY_BAD_REQUEST'
  const error = new ProxyError(code, `a client's connection failed: ${describeError(cause)}`, { cause })
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

function knownToNode(cause: NodeJS.ErrnoException, duplex: Duplex): KnownRequest {
  const incoming = requestBeingRead(duplex)
  const bytes = bytesAtFault(cause)
  const hasExchange = incoming?.complete === false
  if (bytes === undefined || incoming === undefined || hasExchange) return { request: null, hasExchange }
  // If an earlier request may be in it as well, the line at its start may be that one's.
  const isOwn = incoming === null || !bytes.includes('\r\n\r\n')
  return { request: isOwn ? requestLineOf(bytes) : null, hasExchange }
}

function answer(services: Services, status: string, body: string, socket: Socket): void {
  const response = currentResponse(socket)
  if (response?.req.complete === true && !response.destroyed) {
    // It answers a request that came whole, before the one that did not.
    response.once('close', () => guarded(services, socket, () => answer(services, status, body, socket)))
    return
  }
  if (!socket.writable) return
  // If node does not say which response goes with a request that it has read, ours could get into the middle of it.
  if (response?.headersSent === true || (response === undefined && requestBeingRead(socket)))
    return void socket.destroy()
  const text =
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
    `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  if (response) {
    // The exchange that waits for the rest of this request learns by the connection's end.
    socket.write(text)
    socket.destroy()
    return
  }
  // What the client still sends is read and dropped, since closing on it would take the answer away (RFC 9112 section 9.6).
  socket.on('error', ignore).resume().end(text)
  socket.on(
    'close',
    services.clock.schedule(LINGER_MS, () => socket.destroy()),
  )
}

function ignore(): void {}
