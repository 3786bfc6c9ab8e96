import type { Socket } from 'node:net'
import { Exchange } from '../../exchange/exchange.ts'
import { type KnownRequest, requestLineOf } from '../../exchange/refusals.ts'
import type { Core } from '../../exchange/services.ts'
import { mentionsConnection, mentionsFraming } from '../../headers/trailers.ts'
import { ChunkedDecoder, EXTENSIONS_TOO_LARGE, TRAILERS_TOO_LARGE } from '../../http1/chunked.ts'
import { NOT_PLAIN } from '../../http1/request-parser.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { Peer } from '../../model/peer.ts'
import { type Timed, UNWATCHED } from '../../runtime/deadlines.ts'
import { lastAt } from '../age.ts'
import { readAsStream, readInto } from '../node-internals.ts'
import { SocketBody, type SocketBodyOwner, SocketFront, type SocketFrontOwner } from './front.ts'
import type { RequestReader } from './request-reader.ts'

/** The parts that all connections of a socket server share. */
export interface SocketConnectionDeps {
  readonly core: Core
  readonly reader: RequestReader
  /** All connections are read into it; none of its bytes are kept after the call. */
  readonly readBuffer: Buffer
  /** Time for a complete request head, ms; 0: no limit. */
  readonly headMs: number
  /** How long idle connections are kept, ms. */
  readonly keepAliveMs: number
  /** Header lines that state the keep-alive time, and the end of the head. */
  readonly keepAliveText: string
  /** Responses say that their connection ends. */
  readonly isClosing: boolean
  /** Requests that match no route are for the server behind this one, and must not be refused here. */
  readonly isShared: boolean
  date(): string
  /** Another server takes the connection, starting with these bytes; `hasEnded`: they are the last. */
  onHandOver(connection: SocketConnection, bytes: Buffer, hasEnded: boolean): void
  /** The input cannot be read; the connection is left to the code that responds. */
  onFault(connection: SocketConnection, error: NodeJS.ErrnoException, known: KnownRequest): void
  onClosed(connection: SocketConnection): void
}

/**
 * Bytes that came before their turn: past this size reading stops. Below it reading continues, so that a disconnect is noticed.
 */
const MAX_HELD_BYTES = 65_536
/** After a read of this size the rest of a body is read into buffers of its own, which are not copied. */
const LARGE_READ_BYTES = 16_384
/** Smaller copies come from node's pool. A larger one would keep too much of the pool alive. */
const POOLED_BYTES = 4096
/** How long we wait for another request, to say in its response that it was the last, ms. */
const LAST_REQUEST_MS = 500
/** How long a client may take to read the last response and close, ms. */
const LINGER_MS = 2_000

const NONE: Readonly<HeaderList> = []

/** node's codes for the faults that have a status of their own. */
const FAULT_CODES = new Map([
  [EXTENSIONS_TOO_LARGE, 'HPE_CHUNK_EXTENSIONS_OVERFLOW'],
  [TRAILERS_TOO_LARGE, 'HPE_HEADER_OVERFLOW'],
])

/** Waits for a request; no byte of it has come. */
const IDLE = 0
/** A part of a request's head has come. */
const HEAD = 1
/** Reads a request's body, carries an exchange, or both. */
const BUSY = 2
/**
 * The last response has been sent. Further bytes are dropped: closing with unread bytes would take the response away from the
 * client (RFC 9112 section 9.6).
 */
const LINGERING = 3
/** Handed over, or closed. */
const LEFT = 4

/**
 * A client's connection that the socket server reads: one request at a time, the next after the response to this one has been
 * sent. No listener, timer or promise per request: the connection has the socket's listeners and one deadline.
 */
export class SocketConnection implements Timed, SocketFrontOwner, SocketBodyOwner {
  readonly socket: Socket
  deadline: number
  index = UNWATCHED
  readonly keepAliveText: string
  readonly #server: SocketConnectionDeps
  readonly #peer: Peer
  #state = IDLE
  #requests = 0
  /** From then on a response ends the connection. */
  readonly #lastAt: number
  #front: SocketFront | null = null
  /** A request's body whose end has not come. */
  #body: SocketBody | null = null
  /** Bytes of the body that are still to come, if its length is known. */
  #left = 0
  /** Bytes after the head that is being read. 0 at other times: then they are held. */
  #unreadBytes = 0
  #chunks: ChunkedDecoder | null = null
  #held: Buffer | null = null
  #isPaused = false
  #isOnHold = false
  /** The client has ended its side. */
  #hasEnded = false
  /** {@link #read} is running. */
  #isReading = false
  readonly #onChunk = (chunk: Buffer): void => this.#body?.deliver(chunk)

  constructor(server: SocketConnectionDeps, socket: Socket, peer: Peer) {
    const { clock, deadlines } = server.core.services
    this.socket = socket
    this.keepAliveText = server.keepAliveText
    this.#server = server
    this.#peer = peer
    this.deadline = server.headMs > 0 ? clock.now() + server.headMs : Number.POSITIVE_INFINITY
    this.#lastAt = lastAt(server.core)
    deadlines.add(this)
    readInto(socket, server.readBuffer, this.#onRead)
    socket
      .on('data', this.#onData)
      .on('end', this.#onEnd)
      .on('drain', this.#onDrain)
      .on('error', ignore)
      .on('close', this.#onClose)
  }

  /** Whether it carries nothing, not even a part of a request. */
  get isIdle(): boolean {
    return this.#state === IDLE
  }

  /**
   * The connection became idle while the server was closing, and ends by itself: its last response may have said that it stays.
   */
  get endsSoon(): boolean {
    return this.deadline <= this.#server.core.services.clock.now() + LAST_REQUEST_MS
  }

  get #isOld(): boolean {
    return this.#lastAt < Number.POSITIVE_INFINITY && this.#server.core.services.clock.now() >= this.#lastAt
  }

  get isRequestComplete(): boolean {
    return this.#body === null || (this.#chunks === null && this.#left <= (this.#held?.length ?? this.#unreadBytes))
  }

  date(): string {
    return this.#server.date()
  }

  // Events of the socket:

  /** The first `length` bytes of `buffer` have come. @returns the buffer for the next read. */
  readonly #onRead = (buffer: Buffer, length: number): Buffer => {
    const { readBuffer } = this.#server
    if (this.#state < LINGERING) {
      if (this.#held !== null) this.#onData(buffer.subarray(0, length))
      else if (buffer === readBuffer) this.#readLent(buffer, length)
      else if (length < LARGE_READ_BYTES) this.#read(copyOf(buffer, 0, length))
      // This buffer belongs to the body: it is not read into again.
      else this.#read(buffer.subarray(0, length))
    }
    if (length < LARGE_READ_BYTES || this.#body === null) return readBuffer
    const left = this.#chunks === null ? this.#left - (this.#held?.length ?? 0) : readBuffer.length
    return left < LARGE_READ_BYTES ? readBuffer : Buffer.allocUnsafeSlow(Math.min(left, readBuffer.length))
  }

  /** Bytes from the stream: all of them with TLS, or if node does not read into our buffer. */
  readonly #onData = (chunk: Buffer): void => {
    if (this.#state >= LINGERING) return
    const held = this.#held
    this.#held = null
    this.#read(held === null ? chunk : Buffer.concat([held, chunk]))
  }

  /** The client may have gone, or only have no more requests. Only a write can show which. */
  readonly #onEnd = (): void => {
    this.#hasEnded = true
    const isAborted = this.#server.core.snapshot.limits.halfClose === 'abort' && this.#front?.isComplete === false
    if (isAborted && !(this.#isRead && this.#isCutShort)) {
      this.#leaveExchange()
      this.#linger()
    } else if (this.#isRead) this.#endInput()
  }

  /**
   * Whether all received bytes have been read as far as possible. If not, a request must end first, or its backend must take the
   * held bytes.
   */
  get #isRead(): boolean {
    return this.#held === null || this.#state === HEAD
  }

  /** Whether the current request is incomplete, and its response not finished. */
  get #isCutShort(): boolean {
    return this.#state === HEAD || (this.#body !== null && this.#front !== null)
  }

  /** All bytes that came before the client ended its side have been read. */
  #endInput(): void {
    if (this.#state >= LINGERING) return
    if (this.#isCutShort) this.#fail('HPE_INVALID_EOF_STATE', 'the connection ended in the middle of a request')
    else if (this.#front === null) this.#linger()
    else this.#front.isLast = true
  }

  readonly #onDrain = (): void => {
    this.#front?.drained()
  }

  readonly #onClose = (): void => {
    this.#leave()
    this.#leaveExchange()
    this.#server.onClosed(this)
  }

  onDeadline(): void {
    const isLate = this.#state === HEAD || this.#requests === 0 || (this.#state === BUSY && this.#front !== null)
    if (isLate && this.#state !== LINGERING) this.#fail('ERR_HTTP_REQUEST_TIMEOUT', 'the request did not come in time')
    else this.socket.destroy()
  }

  // Reading:

  /** Reads the shared buffer: heads in place, and anything else as a copy. */
  #readLent(bytes: Buffer, to: number): void {
    let i = 0
    this.#isReading = true
    while (i < to && this.#state < LINGERING && this.#front === null && this.#body === null) {
      const length = this.#readHead(bytes, i, to)
      if (length <= 0) break
      i += length
    }
    this.#isReading = false
    if (i < to && this.#state < LINGERING) this.#read(copyOf(bytes, i, to))
  }

  #read(bytes: Buffer): void {
    const to = bytes.length
    let i = 0
    this.#isReading = true
    while (i < to && this.#state < LINGERING) {
      const body = this.#body
      if (body !== null) {
        if (!body.isReading) break
        const next = this.#readBody(body, bytes, i)
        if (next < 0) break
        i = next
      } else if (this.#front !== null) break
      else {
        const length = this.#readHead(bytes, i, to)
        if (length <= 0) break
        i += length
      }
    }
    this.#isReading = false
    if (i < to && this.#state < LINGERING) this.#hold(i === 0 ? bytes : bytes.subarray(i))
    if (this.#hasEnded && this.#isRead) this.#endInput()
  }

  /** @returns how far it read, or -1 if the connection is over. */
  #readBody(body: SocketBody, bytes: Buffer, from: number): number {
    const chunks = this.#chunks
    if (this.#front === null) this.deadline = this.#server.core.services.clock.now() + this.#server.keepAliveMs
    if (chunks === null) {
      const take = Math.min(this.#left, bytes.length - from)
      this.#left -= take
      body.deliver(take === bytes.length ? bytes : bytes.subarray(from, from + take))
      if (this.#left === 0) this.#endBody(body)
      return from + take
    }
    const next = chunks.execute(bytes, from, bytes.length, this.#onChunk)
    const fault = next < 0 ? chunks.fault : mentionsFraming(chunks.trailers ?? NONE) ? 'framing in its trailers' : null
    if (fault === null) {
      if (chunks.isDone) this.#endBody(body)
      return next
    }
    if (this.#body === body) this.#fail(FAULT_CODES.get(fault) ?? 'HPE_INVALID_CHUNK_SIZE', `the body has ${fault}`)
    return -1
  }

  #endBody(body: SocketBody): void {
    const trailers = this.#chunks?.trailers ?? null
    // A call from within may have taken the body away.
    if (this.#body !== body) return
    this.#body = null
    this.#chunks = null
    const isLast = trailers !== null && mentionsConnection(trailers)
    if (this.#front === null) {
      if (isLast) this.#linger()
      else this.#becomeIdle()
    } else {
      this.deadline = Number.POSITIVE_INFINITY
      if (isLast) this.#front.isLast = true
    }
    body.finish(trailers)
  }

  /** @returns the length of the head, or 0 or less if there is no request to continue with. */
  #readHead(bytes: Buffer, from: number, to: number): number {
    const { reader, core, isShared } = this.#server
    const { limits, router } = core.snapshot
    const length = reader.read(bytes, from, to, this.#peer)
    if (length === 0) {
      if (this.#state === IDLE) {
        // For a first request, the time counts from when the client connected.
        if (this.#requests > 0) this.#expect(this.#server.headMs)
        this.#state = HEAD
      }
      return 0
    }
    if (length < 0) return this.#handOver(copyOf(bytes, from, to))
    const { method, target, sent } = reader
    const { bodyBytes } = sent
    const found = isShared ? router.resolve(method, target, sent.host) : null
    if (found !== null && found.route === null) return this.#handOver(copyOf(bytes, from, to))
    const max = limits.maxRequestsPerConnection
    const isLast = ++this.#requests === max || sent.saysClose || this.#isOld
    const front = new SocketFront(reader, this.#peer, this.socket, this, isLast)
    let body: SocketBody | null = null
    this.deadline = Number.POSITIVE_INFINITY
    if (bodyBytes !== null) {
      body = new SocketBody(bodyBytes, this)
      this.#left = bodyBytes
      this.#chunks = bodyBytes < 0 ? new ChunkedDecoder() : null
      if (limits.requestTimeoutMs > 0) this.deadline = core.services.clock.now() + limits.requestTimeoutMs
    }
    this.#state = BUSY
    this.#front = front
    this.#body = body
    const exchange = new Exchange(core, front, sent, body, null)
    front.connect(exchange.events)
    this.#unreadBytes = to - from - length
    exchange.begin(found)
    this.#unreadBytes = 0
    return length
  }

  #expect(ms: number): void {
    this.deadline = ms > 0 ? this.#server.core.services.clock.now() + ms : Number.POSITIVE_INFINITY
  }

  #hold(bytes: Buffer): void {
    this.#held = bytes
    if (!this.#holdsTooMuch || this.#isPaused) return
    this.#isPaused = true
    this.socket.pause()
  }

  /** Whether too many bytes are held. A head has its own limit, and its end must still be read. */
  get #holdsTooMuch(): boolean {
    return this.#held !== null && this.#held.length >= MAX_HELD_BYTES && this.#state === BUSY
  }

  /** Reads the held bytes, and then more. */
  #goOn(): void {
    if (this.#isReading || this.#state >= LINGERING) return
    const held = this.#held
    this.#held = null
    if (held !== null) this.#read(held)
    else if (this.#hasEnded) this.#endInput()
    if (!this.#holdsTooMuch) this.#unpause()
  }

  /** Stops reading until {@link release}. */
  hold(): void {
    this.#isOnHold = true
    this.socket.pause()
  }

  /** Undoes {@link hold}. */
  release(): void {
    this.#isOnHold = false
    if (!this.#isPaused) this.socket.resume()
  }

  #unpause(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.socket.resume()
  }

  onBodyWanted(): void {
    this.#goOn()
  }

  // After a response:

  onAnswered(front: SocketFront): void {
    if (this.#front !== front) return
    this.#front = null
    if (front.isLast) return this.#linger()
    if (this.#body === null) this.#becomeIdle()
    else this.#expect(this.#server.keepAliveMs)
    this.#goOn()
  }

  #becomeIdle(): void {
    const { isClosing, keepAliveMs } = this.#server
    this.#state = IDLE
    this.#expect(isClosing ? Math.min(LAST_REQUEST_MS, keepAliveMs) : keepAliveMs)
  }

  #linger(): void {
    this.#state = LINGERING
    this.#body = null
    this.#held = null
    this.#expect(LINGER_MS)
    // If its deadline has passed, it is no longer watched: watch it again.
    this.#server.core.services.deadlines.add(this)
    this.#unpause()
    this.socket.end()
  }

  // Leaving:

  #handOver(bytes: Buffer): typeof NOT_PLAIN {
    this.#leave()
    this.#server.onHandOver(this, bytes, this.#hasEnded)
    return NOT_PLAIN
  }

  #fail(code: string, message: string): void {
    const { socket } = this
    const hasExchange = this.#front !== null
    const hasBegun = this.#front?.hasBegun === true
    const held = this.#held
    this.#leave()
    if (hasBegun) {
      this.#server.onClosed(this)
      socket.destroy()
    } else {
      const request = hasExchange || held === null ? null : requestLineOf(held)
      this.#server.onFault(this, Object.assign(new Error(message), { code }), { request, hasExchange })
    }
    this.#leaveExchange()
  }

  #leaveExchange(): void {
    const front = this.#front
    this.#front = null
    this.#body = null
    this.#held = null
    front?.gone()
  }

  #leave(): void {
    this.#state = LEFT
    this.#held = null
    this.#isReading = false
    this.#server.core.services.deadlines.remove(this)
    readAsStream(this.socket, this.#server.readBuffer)
    // The new owner does not know that reading is on hold.
    if (this.#isOnHold) this.release()
    this.#unpause()
    this.socket
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('drain', this.#onDrain)
      .off('error', ignore)
      .off('close', this.#onClose)
  }
}

function ignore(): void {}

/** Copies bytes to memory of their own. */
function copyOf(bytes: Buffer, from: number, to: number): Buffer {
  const length = to - from
  if (length < POOLED_BYTES) return Buffer.from(bytes.subarray(from, to))
  const copy = Buffer.allocUnsafeSlow(length)
  bytes.copy(copy, 0, from, to)
  return copy
}
