import http, { type IncomingMessage, OutgoingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import net, { Socket } from 'node:net'
import { TLSSocket, type TlsOptions } from 'node:tls'

/**
 * The only file that uses parts of node that its documentation does not promise, but for one property in adapters/vite.ts. Each
 * function names the place in node's source, was read in 22.12.0, 24.21.0 and 26.10.0, says what happens if a later node no longer has it, and has a test that fails then
 * (test/fronts/node-internals.test.ts). All are small enough to be inlined. Those that each request calls allocate nothing.
 *
 * Not here, since node documents them: `server.emit('connection', socket)`, `socket.unshift()`, `maxHeadersCount`, and that a
 * method is still that of its class (`res.writeHead !== ServerResponse.prototype.writeHead`).
 */

/**
 * Tells the handshakes that asked for a protocol, from their ALPNCallback on. In a handshake of TLS 1.3 node calls that before the
 * SNICallback, and both with the `TLSSocket` as `this` (`callALPNCallback` and `loadSNI`, lib/_tls_wrap.js). In one of TLS 1.2 the order is the
 * other one. Without it: no handshake is known to have asked.
 */
export function handshakeCallbacks(
  onProtocols: (handshake: object, protocols: readonly string[]) => string | undefined,
  onName: (handshake: object, name: string, done: SniDone) => void,
): Pick<TlsOptions, 'ALPNCallback' | 'SNICallback'> {
  const nobody = {}
  return {
    ALPNCallback(this: object | undefined, { protocols }) {
      return onProtocols(this ?? nobody, protocols)
    },
    SNICallback(this: object | undefined, name, done) {
      onName(this ?? nobody, name, done)
    },
  }
}

type SniDone = Parameters<NonNullable<TlsOptions['SNICallback']>>[1]

/** The fields that lib/_http_server.js keeps on a client's socket. */
interface ServerSocket {
  readonly _httpMessage?: ServerResponse | null
  readonly parser?: { readonly incoming?: IncomingMessage | null; resume?(): void } | null
  _paused?: boolean
}

/**
 * The response that a connection is writing; responses to later requests of its pipeline wait for it. `null`: none; `undefined`:
 * it has never had one. `socket._httpMessage`, set by `ServerResponse.prototype.assignSocket` (lib/_http_server.js). Without it:
 * `undefined`. Pipelined requests are then served at the same time (node still sends their responses in order), an upgrade does
 * not wait for the response before it, and an unreadable request after a readable one ends its connection without a response.
 */
export function currentResponse(socket: object): ServerResponse | null | undefined {
  return (socket as ServerSocket)._httpMessage
}

/**
 * Whether the head of a response said that its connection ends, or node ends the connection anyway. `res._last`, set by
 * `_storeHeader` (lib/_http_outgoing.js) and by `socketOnEnd` (lib/_http_server.js). Without it: `false`; connections that we end
 * are marked by us.
 */
export function endsConnection(res: ServerResponse): boolean {
  return (res as { _last?: boolean })._last === true
}

/**
 * Whether the response to a request may have a body, by the status and by the method that node has read (the application may have
 * changed it since). `res._hasBody`, set by the constructor of `ServerResponse` (lib/_http_server.js). Without it: by `method`.
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
 * Whether a response holds so much that it will emit 'drain'. node documents `writableNeedDrain` for streams, and an
 * `OutgoingMessage` is not a stream (lib/_http_outgoing.js has a getter). Without it: by the length of the held data.
 */
export function needsDrain(res: ServerResponse): boolean {
  return (
    (res as { writableNeedDrain?: boolean }).writableNeedDrain ??
    (res.writableLength > 0 && res.writableLength >= res.writableHighWaterMark)
  )
}

/**
 * Emits the 'drain' that a response owes. Only for a response whose connection node has handed over ('upgrade'): node removes the
 * listener that would have emitted it. The flag is the property `Symbol(kNeedDrain)` (lib/internal/http.js, `socketOnDrain` in
 * lib/_http_server.js). Without it: emits 'drain' anyway, on each call.
 */
export function emitDrain(res: ServerResponse): void {
  if (!needsDrain(res)) return
  const flag = Object.getOwnPropertySymbols(res).find(({ description }) => description === 'kNeedDrain')
  if (flag !== undefined) (res as unknown as Record<symbol, boolean>)[flag] = false
  res.emit('drain')
}

/**
 * Ends the connection with this response, whose head says so. `res.shouldKeepAlive` (lib/_http_outgoing.js), which has types but
 * no documentation. Without it: by the header, if there is still time.
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
 * Calls `listener` when `res`, whose turn in a pipeline has not come (`res.socket` is `null`), gets the connection. The event
 * 'socket' of `ServerResponse.prototype.assignSocket` (lib/_http_server.js), which node documents for requests only. Without it:
 * never calls, so the request waits until its connection ends.
 */
export function onSocketAssigned(res: ServerResponse, listener: () => void): void {
  res.once('socket', listener)
}

/**
 * Creates a response of ours for a connection that node has handed over, which ends with it. It is held until {@link sendOn}. The
 * constructor has types but no documentation (lib/_http_server.js). Without it: throws.
 */
export function responseFor(req: IncomingMessage): ServerResponse {
  const res = new ServerResponse(req)
  closeAfter(res)
  return res
}

/**
 * Gives a connection to a response of {@link responseFor}. `assignSocket()` has types but no documentation (lib/_http_server.js).
 * Without it, or if another response is being written: throws.
 */
export function sendOn(socket: Socket, res: ServerResponse): void {
  res.assignSocket(socket)
}

/**
 * The request that node's parser is reading, or the last one that it read, while its response is not finished; `null`: none.
 * `socket.parser`, set by `connectionListenerInternal` (lib/_http_server.js), and its `incoming` (lib/_http_common.js). Without
 * them: `undefined`.
 */
export function requestBeingRead(socket: object): IncomingMessage | null | undefined {
  const { parser } = socket as ServerSocket
  return parser === null ? null : parser?.incoming
}

/**
 * The piece of input at which node's parser failed. `error.rawPacket` (`prepareError` in lib/_http_common.js), which node
 * documents with 'clientError', without a type. Without it: `undefined`.
 */
export function bytesAtFault(error: Error): Buffer | undefined {
  return (error as { rawPacket?: Buffer }).rawPacket
}

/**
 * Stops reading from a client, as node does if responses pile up (`parserOnIncoming`, `socketOnDrain` and `onSocketResume` in
 * lib/_http_server.js). Without `_paused`, node's `IncomingMessage` would restart the reading. If node no longer has it: pauses
 * the stream alone, which reads again when node next resumes it.
 */
export function pauseReading(socket: Socket): void {
  keepPaused(socket)
  socket.pause()
}

/**
 * Stops the reading again, if called after 'drain': on each 'drain' of the socket node resumes a paused socket, whoever paused
 * it.
 */
export function keepPaused(socket: Socket): void {
  const serverSocket = socket as ServerSocket
  serverSocket._paused = true
}

/**
 * Resumes after {@link pauseReading}. Does nothing if node has released its parser (`socket.parser` is `null`): somebody else
 * then reads (an upgrade). Without `socket.parser`: a listener of 'data', which node also removes, shows whether node reads.
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
 * Gives node's server, which already has the connection, the last bytes of a connection that has ended: nothing can be put back
 * into a stream after its 'end'. The server reads by the events (`connectionListenerInternal` in lib/_http_server.js).
 */
export function emitLastBytes(socket: Socket, bytes: Buffer): void {
  socket.emit('data', bytes)
  socket.emit('end')
}

/** The symbols that lib/net.js uses on a socket with the option `onread`. */
const READ_NAMES = ['kBuffer', 'kBufferCb', 'kBufferGen'] as const
/** All sockets of a process have the same symbols. */
let readSymbols: readonly (symbol | undefined)[] | null = null

/**
 * Reads a socket that a server has accepted into our buffers, as the documented option `onread` does for a new socket. Otherwise
 * node allocates 64 KiB for each read, and the bytes go through the stream. Bytes that the stream already has, and the end, still
 * come by its events. `Symbol(kBuffer)`, `Symbol(kBufferCb)` and `Symbol(kBufferGen)` (the constructor of `Socket` and
 * `initSocketHandle` in lib/net.js, `onStreamRead` in lib/internal/stream_base_commons.js), and `socket._handle.useUserBuffer()`
 * (src/stream_base.cc).
 * @param onBytes gets the first `length` bytes of the buffer, and returns the buffer for the next read. Nothing is read while the
 * socket is paused.
 * @returns whether it does. Without them, and for sockets of another class (TLS): `false`, and the bytes come as 'data'.
 */
export function readInto(socket: Socket, first: Buffer, onBytes: (buffer: Buffer, length: number) => Buffer): boolean {
  const { _handle: handle } = socket as { _handle?: { useUserBuffer?(buffer: Buffer): void } | null }
  if (typeof handle?.useUserBuffer !== 'function' || Object.getPrototypeOf(socket) !== Socket.prototype) return false
  readSymbols ??= readSymbolsOf(socket)
  const [buffer, callback, supplier] = readSymbols
  if (buffer === undefined || callback === undefined || supplier === undefined) return false
  const fields = socket as unknown as Record<symbol, unknown>
  // The socket was created with `onread`.
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
 * Undoes {@link readInto}: from now on the bytes come as 'data' again, copied out of `buffer`. node has no way back to buffers of
 * its own. A server of node:http reads past them, as long as its parser has the connection (`consume` in
 * src/node_http_parser.cc).
 */
export function readAsStream(socket: Socket, buffer: Buffer): void {
  const [, callback, supplier] = readSymbols ?? []
  const fields = socket as unknown as Record<symbol, unknown>
  if (callback === undefined || supplier === undefined || typeof fields[callback] !== 'function') return
  fields[callback] = (length: number, bytes: Buffer): boolean => socket.push(Buffer.from(bytes.subarray(0, length)))
  fields[supplier] = () => buffer
}

/**
 * The TCP socket under a TLS socket; for a TCP socket, the socket itself. `_parent`, set by `TLSSocket.prototype._init`
 * (lib/internal/tls/wrap.js, in 22 lib/_tls_wrap.js). Without it: `socket`, so that a TLS connection counts as in its handshake
 * until it closes, and is never reset.
 */
export function tcpOf(socket: Socket): Socket {
  return (socket as { _parent?: Socket | null })._parent ?? socket
}

/**
 * Makes node watch the connections of a server that never listens. node starts to watch them, for its timeouts and to close idle
 * ones, when a server listens. Found by the name of node's own listener of 'listening' (`setupConnectionsTracking` in
 * lib/_http_server.js). Without it: warns, since late clients would not be closed.
 */
export function watchConnections(server: net.Server): void {
  const watch = server.listeners('listening').find(({ name }) => name === 'setupConnectionsTracking')
  if (watch !== undefined) watch.call(server)
  else if (server instanceof http.Server || server instanceof https.Server)
    process.emitWarning(`heddle: node ${process.version} does not enforce headTimeoutMs and requestTimeoutMs here`)
}

/**
 * Sets whether a client that ends its side still gets its response. `server.httpAllowHalfOpen` (`socketOnEnd` in
 * lib/_http_server.js). Without it: node's own way, which has been to end the connection.
 */
export function setHalfOpen(server: net.Server, isAllowed: boolean): void {
  Object.assign(server, { httpAllowHalfOpen: isAllowed })
}

/**
 * Makes node call `isWanted` for each request with an Upgrade; an unwanted one stays an ordinary request.
 * `server.shouldUpgradeCallback` (`parserOnIncoming` in lib/_http_server.js; from 22.21 and 24.9 on), of which only the option of
 * `createServer` is documented.
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
 * Stops listening. Unlike `close()` of an `http.Server` it leaves idle connections open (`Server.prototype.close` in
 * lib/_http_server.js calls that of `net.Server` last).
 */
export function closeListeningSocket(server: net.Server): void {
  net.Server.prototype.close.call(server)
}

const { write: nodeWrite, end: nodeEnd } = OutgoingMessage.prototype
const { write: socketWrite } = Socket.prototype

/**
 * Whether `res` writes straight to the kernel through node's own code alone. Only then may it get bytes that belong to the
 * backend connection: anything else (a middleware's wrapper, a stream, an application's own Duplex) may keep them for longer than
 * we can know. Asked on each use, since a middleware may wrap late. If node moves these methods: `false`, and the bytes are
 * copied.
 */
export function isNodesOwn(res: ServerResponse, socket: Socket | null): socket is Socket {
  if (socket === null || res.write !== nodeWrite || res.end !== nodeEnd || res.writableCorked > 0) return false
  const kind: unknown = Object.getPrototypeOf(socket)
  return (kind === Socket.prototype || kind === TLSSocket.prototype) && socket.write === socketWrite
}
