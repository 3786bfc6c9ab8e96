import http, { type IncomingMessage, OutgoingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import net, { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

/**
 * The only file that touches what node's documentation does not promise. Each function names the place in node's source, was read
 * in 22.12.0, 24.21.0 and 26.10.0, says what holds if a later node has it no more, and has a test that fails then
 * (test/fronts/node-internals.test.ts). All are small enough to be inlined, and the ones that each request calls allocate nothing.
 *
 * Not here, since node documents them: `server.emit('connection', socket)`, `socket.unshift()`, `maxHeadersCount`, and that a method
 * is still that of its class (`res.writeHead !== ServerResponse.prototype.writeHead`).
 */

/** What lib/_http_server.js keeps on a client's socket. */
interface ServerSocket {
  readonly _httpMessage?: ServerResponse | null
  readonly parser?: { readonly incoming?: IncomingMessage | null; resume?(): void } | null
  _paused?: boolean
}

/**
 * The response that a connection writes now; those to later requests of its pipeline wait for it. `null`: none; `undefined`: it has
 * never had one. `socket._httpMessage`, set by `ServerResponse.prototype.assignSocket` (lib/_http_server.js).
 * Without it: `undefined`. Pipelined requests are then served at the same time (node still sends their responses in order), an upgrade
 * does not wait for the response before it, and a request that cannot be read after one that could ends its connection unanswered.
 */
export function currentResponse(socket: object): ServerResponse | null | undefined {
  return (socket as ServerSocket)._httpMessage
}

/**
 * Whether the head of a response said that its connection ends, or node ends it whatever it said. `res._last`, set by `_storeHeader`
 * (lib/_http_outgoing.js) and by `socketOnEnd` (lib/_http_server.js). Without it: `false`; what we end ourselves we mark ourselves.
 */
export function endsConnection(res: ServerResponse): boolean {
  return (res as { _last?: boolean })._last === true
}

/**
 * Whether the response to a request may have a body, by the method that node has read (the application may have changed it since) and
 * the status. `res._hasBody`, set by the constructor of `ServerResponse` (lib/_http_server.js). Without it: by `method`.
 */
export function mayHaveBody(res: ServerResponse, method: string): boolean {
  return (res as { _hasBody?: boolean })._hasBody ?? method !== 'HEAD'
}

/**
 * Whether node has sent `100 Continue`. `res._sent100`, set by `writeContinue` (lib/_http_server.js). Without it: `false`; the client
 * then gets a second one, which RFC 9110 section 15.2 allows.
 */
export function hasSentContinue(res: ServerResponse): boolean {
  return (res as { _sent100?: boolean })._sent100 === true
}

/**
 * Whether a response holds so much that it will emit 'drain'. node documents `writableNeedDrain` for streams, and an `OutgoingMessage`
 * is none (lib/_http_outgoing.js has a getter). Without it: by the length of what is held.
 */
export function needsDrain(res: ServerResponse): boolean {
  return (
    (res as { writableNeedDrain?: boolean }).writableNeedDrain ??
    (res.writableLength > 0 && res.writableLength >= res.writableHighWaterMark)
  )
}

/**
 * Emits the 'drain' that a response owes. Only for one whose connection node has handed over ('upgrade'), since node takes off what
 * would have done it. The flag is the property `Symbol(kNeedDrain)` (lib/internal/http.js, `socketOnDrain` in lib/_http_server.js).
 * Without it: emits 'drain' all the same, and again each time.
 */
export function emitDrain(res: ServerResponse): void {
  if (!needsDrain(res)) return
  const flag = Object.getOwnPropertySymbols(res).find(({ description }) => description === 'kNeedDrain')
  if (flag !== undefined) (res as unknown as Record<symbol, boolean>)[flag] = false
  res.emit('drain')
}

/**
 * The connection ends with this response, and its head says so. `res.shouldKeepAlive` (lib/_http_outgoing.js), which has types but no
 * documentation. Without it: by the header, if there is still time.
 */
export function closeAfter(res: ServerResponse): void {
  if ((res as { shouldKeepAlive?: boolean }).shouldKeepAlive !== undefined) res.shouldKeepAlive = false
  else if (!res.headersSent) res.setHeader('Connection', 'close')
}

/** Whether the connection stays after this response: see {@link closeAfter}. Without it: `false`. */
export function isKeptAfter(res: ServerResponse): boolean {
  return (res as { shouldKeepAlive?: boolean }).shouldKeepAlive === true
}

/**
 * Calls once `res`, whose turn in a pipeline has not come (`res.socket` is `null`), gets the connection. The event 'socket', which node
 * documents for requests alone, of `ServerResponse.prototype.assignSocket` (lib/_http_server.js). Without it: never calls, so that
 * the request waits until its connection ends.
 */
export function onSocketAssigned(res: ServerResponse, listener: () => void): void {
  res.once('socket', listener)
}

/**
 * A response of ours on a connection that node has handed over; the connection ends with it. The constructor and `assignSocket()` have
 * types but no documentation (lib/_http_server.js). Without them, or if another response is being written: throws.
 */
export function responseOn(socket: Socket, req: IncomingMessage): ServerResponse {
  const res = new ServerResponse(req)
  closeAfter(res)
  res.assignSocket(socket)
  return res
}

/**
 * The request that node's parser is reading, or read last while its response is not out; `null`: none. `socket.parser`, set by
 * `connectionListenerInternal` (lib/_http_server.js), and its `incoming` (lib/_http_common.js). Without them: `undefined`.
 */
export function requestBeingRead(socket: object): IncomingMessage | null | undefined {
  const { parser } = socket as ServerSocket
  return parser === null ? null : parser?.incoming
}

/**
 * The piece that node's parser was at when it failed. `error.rawPacket` (`prepareError` in lib/_http_common.js), which node documents
 * with 'clientError', without a type. Without it: `undefined`.
 */
export function bytesAtFault(error: Error): Buffer | undefined {
  return (error as { rawPacket?: Buffer }).rawPacket
}

/**
 * Reads no more from a client, as node does itself if responses pile up (`parserOnIncoming`, `socketOnDrain` and `onSocketResume` in
 * lib/_http_server.js): without `_paused` node's `IncomingMessage` would start the reading again. If node has it no more: pauses the
 * stream alone, which reads again when node next resumes it.
 */
export function pauseReading(socket: Socket): void {
  keepPaused(socket)
  socket.pause()
}

/** node resumes what it has paused, whoever wanted the pause, on each 'drain' of the socket; called after, this stops it again. */
export function keepPaused(socket: Socket): void {
  const serverSocket = socket as ServerSocket
  serverSocket._paused = true
}

/**
 * After {@link pauseReading}. Nothing if node has let its parser go (`socket.parser` is `null`): somebody else reads then (an upgrade).
 * Without `socket.parser`: whether node reads is told by a listener of 'data', which it also takes off.
 */
export function resumeReading(socket: Socket): void {
  const serverSocket = socket as ServerSocket
  const { parser } = serverSocket
  if (parser === null || (parser === undefined && socket.listenerCount('data') === 0)) return
  serverSocket._paused = false
  parser?.resume?.()
  socket.resume()
}

/**
 * Gives node's server, which has the connection already, the last bytes of one that has ended: nothing can be put back into a stream
 * that has told its end. It reads by the events (`connectionListenerInternal` in lib/_http_server.js).
 */
export function emitLastBytes(socket: Socket, bytes: Buffer): void {
  socket.emit('data', bytes)
  socket.emit('end')
}

/** What lib/net.js keeps on a socket of the option `onread`. */
const READ_NAMES = ['kBuffer', 'kBufferCb', 'kBufferGen'] as const
/** The same symbols on all sockets of a process. */
let readSymbols: readonly (symbol | undefined)[] | null = null

/**
 * Reads a socket that a server has accepted into buffers of ours, as the documented option `onread` does for one that is being made:
 * node otherwise allocates 64 KiB for each read, and the bytes go through the stream. Bytes that the stream already has, and the end,
 * still come by its events. `Symbol(kBuffer)`, `Symbol(kBufferCb)` and `Symbol(kBufferGen)` (the constructor of `Socket` and
 * `initSocketHandle` in lib/net.js, `onStreamRead` in lib/internal/stream_base_commons.js), and `socket._handle.useUserBuffer()`
 * (src/stream_base.cc).
 * @param onBytes gets the first `length` bytes of the buffer, and returns the buffer that is read into next. While the socket is
 * paused nothing is read.
 * @returns whether it does. Without them, and for sockets of another class (TLS): `false`, and the bytes come as 'data'.
 */
export function readInto(socket: Socket, first: Buffer, onBytes: (buffer: Buffer, length: number) => Buffer): boolean {
  const { _handle: handle } = socket as { _handle?: { useUserBuffer?(buffer: Buffer): void } | null }
  if (typeof handle?.useUserBuffer !== 'function' || Object.getPrototypeOf(socket) !== Socket.prototype) return false
  readSymbols ??= readSymbolsOf(socket)
  const [buffer, callback, supplier] = readSymbols
  if (buffer === undefined || callback === undefined || supplier === undefined) return false
  const fields = socket as unknown as Record<symbol, unknown>
  // It was made with `onread`.
  if (fields[buffer] !== null) return false
  let next = first
  fields[buffer] = first
  fields[callback] = (length: number, bytes: Buffer): void => {
    next = onBytes(bytes, length)
  }
  fields[supplier] = () => next
  handle.useUserBuffer(first)
  return true
}

function readSymbolsOf(socket: Socket): readonly (symbol | undefined)[] {
  const all = Object.getOwnPropertySymbols(socket)
  return READ_NAMES.map((name) => all.find(({ description }) => description === name))
}

/**
 * The end of {@link readInto}: from now on the bytes come as 'data' again, copied out of `buffer`. node knows no way back to buffers
 * of its own; a server of node:http reads past them, as long as its parser has the connection (`consume` in src/node_http_parser.cc).
 */
export function readAsStream(socket: Socket, buffer: Buffer): void {
  const [, callback, supplier] = readSymbols ?? []
  const fields = socket as unknown as Record<symbol, unknown>
  if (callback === undefined || supplier === undefined || typeof fields[callback] !== 'function') return
  fields[callback] = (length: number, bytes: Buffer): boolean => socket.push(Buffer.from(bytes.subarray(0, length)))
  fields[supplier] = () => buffer
}

/**
 * The TCP socket under a TLS one; itself, if it is one. `_parent`, set by `TLSSocket.prototype._init` (lib/internal/tls/wrap.js, in 22
 * lib/_tls_wrap.js). Without it: `socket`, so that a TLS connection counts as in its handshake until it closes, and is never reset.
 */
export function tcpOf(socket: Socket): Socket {
  return (socket as { _parent?: Socket | null })._parent ?? socket
}

/**
 * node begins to watch connections, for its timeouts and to close idle ones, when a server listens; this one never will. By the name of
 * node's own listener of 'listening' (`setupConnectionsTracking` in lib/_http_server.js). Without it: warns, since clients that are
 * late would not be closed.
 */
export function watchConnections(server: net.Server): void {
  const watch = server.listeners('listening').find(({ name }) => name === 'setupConnectionsTracking')
  if (watch !== undefined) watch.call(server)
  else if (server instanceof http.Server || server instanceof https.Server)
    process.emitWarning(`heddle: node ${process.version} does not enforce headTimeoutMs and requestTimeoutMs here`)
}

/**
 * Whether a client that ends its side still gets its response. `server.httpAllowHalfOpen` (`socketOnEnd` in lib/_http_server.js).
 * Without it: node's own way, which has been to end the connection.
 */
export function setHalfOpen(server: net.Server, isAllowed: boolean): void {
  Object.assign(server, { httpAllowHalfOpen: isAllowed })
}

/**
 * Lets node ask `isWanted` for each request with an Upgrade; one that is not stays an ordinary request. `server.shouldUpgradeCallback`
 * (`parserOnIncoming` in lib/_http_server.js; from 22.21 and 24.9 on), of which only the option of `createServer` is documented.
 * @returns whether node asks. Without it: `false`, and all of them come as 'upgrade'.
 */
export function filterUpgrades(server: net.Server, isWanted: (req: IncomingMessage) => boolean): boolean {
  const asking = server as { shouldUpgradeCallback?: (req: IncomingMessage) => boolean }
  const before = asking.shouldUpgradeCallback
  if (before === undefined) return false
  asking.shouldUpgradeCallback = (req) => before.call(server, req) && isWanted(req)
  return true
}

/**
 * Stops listening, and unlike `close()` of an `http.Server` leaves idle connections open (`Server.prototype.close` in
 * lib/_http_server.js calls that of `net.Server` last).
 */
export function closeListeningSocket(server: net.Server): void {
  net.Server.prototype.close.call(server)
}

const { write: nodeWrite, end: nodeEnd } = OutgoingMessage.prototype
const { write: socketWrite } = Socket.prototype

/**
 * Whether `res` writes straight to the kernel through node's own code alone. Only then may it have bytes that are the backend
 * connection's: whatever else gets them (a middleware's wrapper, a stream, an application's own Duplex) may keep them for
 * longer than we can know. Asked for each use, since a middleware may wrap late. If node moves these methods: `false`, and the bytes
 * are copied.
 */
export function isNodesOwn(res: ServerResponse, socket: Socket | null): socket is Socket {
  if (socket === null || res.write !== nodeWrite || res.end !== nodeEnd || res.writableCorked > 0) return false
  const kind: unknown = Object.getPrototypeOf(socket)
  return (kind === Socket.prototype || kind === TLSSocket.prototype) && socket.write === socketWrite
}
