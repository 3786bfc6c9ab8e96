import type net from 'node:net'
import type { BodySink, BodySource, Flow, Lease, ResponseSink, SetupTimes } from '../../contracts/pool.ts'
import { hasBoundCredentials } from '../../http1/connection-auth.ts'
import { fieldsText, requestHeadText } from '../../http1/head-writer.ts'
import { type ResponseBounds, type ResponseHandler, ResponseParser } from '../../http1/response-parser.ts'
import type { Backend } from '../../model/backend.ts'
import { isShortage, type Phase, ProxyError, type ProxyErrorCode, type ProxyErrorDetails } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import { isIdempotent } from '../../model/idempotent.ts'
import type { RequestHead, ResponseHead } from '../../model/message.ts'
import type { Outcome } from '../../model/outcome.ts'
import type { Clock } from '../../runtime/clock.ts'
import { type Timed, UNWATCHED } from '../../runtime/deadlines.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { addToWriteBatch, batchesWritten, type Writer } from '../../runtime/write-batch.ts'
import { dial } from '../dial.ts'
import { isHiddenReset } from '../hidden-reset.ts'
import { ReadBuffer } from '../read-buffer.ts'
import { CONTINUE_WAIT_MS, POLLED_BATCHES } from '../settings.ts'

/** The pool that owns a connection; the connection calls it. */
export interface ConnectionOwner {
  onConnected(connection: Http1Connection): void
  /** It could not be set up. */
  onConnectFailed(connection: Http1Connection, error: ProxyError): void
  /** Its lease is over and it can carry another request. */
  onIdle(connection: Http1Connection): void
  /** Its lease is over and it can carry another request, but its last response was one after which a stray body may come. */
  onSuspect(connection: Http1Connection): void
  /** Its lease is over, and it cannot carry another request. */
  onSpent(connection: Http1Connection): void
  /** Its deadline has passed while it was not leased. */
  onIdleTooLong(connection: Http1Connection): void
  /** Its deadline has passed, and it has a new one. */
  watch(connection: Http1Connection): void
  /** It is closed; also after {@link onConnectFailed}. */
  onClosed(connection: Http1Connection): void
}

/** Pieces of a body up to this size wait for others that come in the same turn of the event loop. */
const SMALL_PIECE_BYTES = 1024
/** At most this many bytes of small pieces wait. */
const PIECES_BYTES = 8192
const CHUNK_END = Buffer.from('\r\n')

/**
 * One raw socket to a backend that speaks HTTP/1.1: one request at a time, kept alive between requests. Reads into its own
 * reusable buffer (`onread`), which avoids the stream machinery and saves about 3 us per request.
 */
export class Http1Connection implements Lease, Flow, BodySink, ResponseHandler, Timed, Writer {
  readonly backend: Backend
  /** Address of the client whose requests alone it carries; empty: anybody's. */
  readonly client: string
  /** When to give up connecting, or when it has been idle for too long; `Infinity` while leased. */
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  readonly #owner: ConnectionOwner
  readonly #clock: Clock
  #socket!: net.Socket
  #setup: SetupTimes | null = null
  readonly #parser: ResponseParser
  readonly #keepAliveMs: number
  readonly #buffer = new ReadBuffer()
  #isConnected = false
  #leases = 0
  #isLeased = false
  #sink: ResponseSink | null = null
  #body: BodySource | null = null
  #isBodyChunked = false
  #awaitsContinue = false
  #isRequestSent = true
  /** No byte of the request has been given to the system yet. */
  #isUnsent = false
  /** The request's head until it is written. */
  #head = ''
  /** The head is written when {@link batchesWritten} has reached this number. */
  #mayWriteAt = 0
  /** {@link batchesWritten} when the last lease ended. */
  #releasedAt = 0
  /** It was idle before this lease. */
  #wasIdle = false
  /** The head and the body bytes of the same tick become one write. */
  #isCorked = false
  /** Small pieces of the body that have not been written, and their length in bytes. */
  #pieces: Buffer | null = null
  #piecesLength = 0
  /** {@link writeOut} will be called. */
  #isDue = false
  /** Small pieces have been written that the system has not taken yet. */
  #isWritingPieces = false
  readonly #onPiecesWritten = (): void => {
    this.#isWritingPieces = false
    if (this.#piecesLength > 0) this.#writePieces('')
  }
  /** The sink asked to stop; holds until `resume()`. */
  #isPaused = false
  /** Bytes came that belong to no response: later bytes cannot be trusted. */
  #isPoisoned = false
  /** It may be authenticated as one client's user, and must not carry requests of others. */
  #isBound = false
  #failure: ProxyError | null = null
  /** The backend takes no more bytes; the bytes that it has sent are still to be read. */
  #isWriteBroken = false
  /** Number of calls of {@link #receive}. */
  #reads = 0
  #onResumed: (() => void) | null = null
  /** How long it may stay idle, by the backend's last response, ms. */
  #idleMs: number

  constructor(
    backend: Backend,
    client: string,
    owner: ConnectionOwner,
    settings: ResponseBounds & { readonly clock: Clock; readonly keepAliveMs: number },
  ) {
    this.backend = backend
    this.client = client
    this.#clock = settings.clock
    this.#owner = owner
    this.#keepAliveMs = settings.keepAliveMs
    this.#idleMs = settings.keepAliveMs
    this.#parser = new ResponseParser(this, settings)
    dial(backend, settings.clock, {
      onread: { buffer: () => this.#buffer.next(), callback: (bytes) => this.#receive(bytes) },
      protocols: ['http/1.1'],
      client,
      leftMs: () => (this.#failure === null ? this.deadline - this.#clock.now() : -1),
      onSocket: (socket) => this.#attach(socket),
      onConnected: (setup) => this.#connected(setup),
      onSetupFailed: (error) => this.#failWith(error),
    })
  }

  /** Puts our listeners on a socket that is being set up. */
  #attach(socket: net.Socket): void {
    const destroy = socket.destroy.bind(socket)
    socket.destroy = (error) => {
      if (isWriteError(error) && this.#sink !== null && !this.#isWriteBroken) {
        this.#isWriteBroken = true
        this.#readRest(() => destroy(error))
      } else destroy(error)
      return socket
    }
    this.#socket = socket
    socket
      .on('error', (error) => this.#onSocketError(error))
      .on('end', () => this.#onEndOfInput())
      .on('close', () => {
        if (socket === this.#socket) this.#onClose()
      })
      .on('drain', () => this.#onDrain())
  }

  /** Its set-up times during its first lease; `null` later. */
  get setup(): SetupTimes | null {
    return this.#leases === 1 ? this.#setup : null
  }

  get isReused(): boolean {
    return this.#leases > 1
  }

  /** It has been leased before. */
  get isUsed(): boolean {
    return this.#leases > 0
  }

  /** How long it may stay idle, by the backend's last announcement, ms. */
  get idleMs(): number {
    return this.#idleMs
  }

  /** Whether it can carry a request, as far as we know. */
  get isUsable(): boolean {
    return this.#failure === null && !this.#isPoisoned && !this.#isWriteBroken && !this.#socket.destroyed
  }

  /** Leases it to an exchange. */
  lease(): this {
    this.#leases++
    this.#isLeased = true
    this.#isUnsent = true
    this.#wasIdle = this.deadline !== Number.POSITIVE_INFINITY
    this.deadline = Number.POSITIVE_INFINITY
    return this
  }

  send(request: RequestHead, body: BodySource | null, sink: ResponseSink): void {
    this.#sink = sink
    this.#body = body
    if (!this.isUsable) {
      // It died between the lease and now. Reported as an error on the wire would be: not from within this call.
      this.#failure ??= this.#resetError('closed the connection')
      process.nextTick(() => this.#report())
      return
    }
    this.#parser.start(request.method)
    this.#isBound = hasBoundCredentials(request.headers)
    this.#head = requestHeadText(request, body === null ? null : body.bytes, this.#keepAliveMs <= 0)
    this.#isRequestSent = body === null
    this.#mayWriteAt = 0
    if (this.#wasIdle || this.isReused) {
      // A FIN or bytes that wait in the socket make it unusable: they are read before anything is written. For a request that may
      // be retried, one poll after the last response is enough. Any other request needs a poll just before it is sent.
      const since = isIdempotent(request.method) ? this.#releasedAt : batchesWritten()
      this.#mayWriteAt = since + POLLED_BATCHES
    }
    this.#askToWrite()
    if (body === null) return
    this.#isBodyChunked = body.bytes < 0
    this.#awaitsContinue = body.expectsContinue
    if (!this.#awaitsContinue) return
    this.deadline = this.#clock.now() + CONTINUE_WAIT_MS
    body.whenArrived?.(() => {
      if (this.#body === body && this.#awaitsContinue) this.#stopWaiting()
    })
  }

  writeOut(): void {
    this.#isDue = false
    if (this.#head !== '') this.#writeHead()
    else if (this.#piecesLength > 0 && !this.#isWritingPieces) this.#writePieces('')
  }

  #askToWrite(): void {
    if (this.#isDue) return
    this.#isDue = true
    addToWriteBatch(this)
  }

  #writeHead(): void {
    // The exchange has ended.
    if (this.#sink === null) return
    if (batchesWritten() < this.#mayWriteAt) return this.#askToWrite()
    const head = this.#head
    this.#head = ''
    if (!this.isUsable) return this.#lost('')
    const body = this.#body
    if (body === null || this.#awaitsContinue) {
      this.#socket.write(head, 'latin1')
      return this.#noteSent()
    }
    // The first piece of the body is often already here, or comes in this tick: one system call sends both.
    this.#isCorked = true
    this.#socket.cork()
    this.#socket.write(head, 'latin1')
    process.nextTick(uncork, this)
    this.#startBody()
  }

  uncork(): void {
    this.#isCorked = false
    if (this.#piecesLength > 0) this.#writePieces('')
    this.#socket.uncork()
    this.#noteSent()
  }

  /** Notes that bytes were sent. A first write that fails at once was rejected as a whole. */
  #noteSent(): void {
    if (this.#socket.errored === null) this.#isUnsent = false
  }

  onWriteThrew(error: unknown): void {
    this.#fail('ERR_PROXY_HOOK', `could not be written to: ${describeError(error)}`, error)
  }

  onBody(chunk: Buffer): boolean {
    const socket = this.#socket
    const { length } = chunk
    if (this.#failure !== null || this.#isWriteBroken || length === 0) return true
    if (length <= SMALL_PIECE_BYTES && (this.#isBodyChunked || !this.#isCorked)) {
      this.#pieces ??= Buffer.allocUnsafeSlow(PIECES_BYTES)
      if (this.#piecesLength + length > PIECES_BYTES) this.#writePieces('')
      this.#piecesLength += chunk.copy(this.#pieces, this.#piecesLength)
      if (!this.#isCorked && !this.#isWritingPieces) this.#askToWrite()
      return !socket.writableNeedDrain
    }
    if (this.#piecesLength > 0) this.#writePieces('')
    if (!this.#isBodyChunked) return socket.write(chunk)
    socket.cork()
    socket.write(`${length.toString(16)}\r\n`, 'latin1')
    socket.write(chunk)
    const goOn = socket.write(CHUNK_END)
    socket.uncork()
    return goOn
  }

  onBodyEnd(trailers: HeaderList | null): void {
    if (this.#failure !== null || this.#isWriteBroken) return
    this.#isRequestSent = true
    this.#writePieces(this.#isBodyChunked ? chunksEnd(trailers) : '')
  }

  /** Writes the small pieces as one string, and `end`: single strings cost less than a list of buffers. */
  #writePieces(end: string): void {
    const length = this.#piecesLength
    this.#piecesLength = 0
    let text = end
    if (length > 0) {
      const pieces = this.#pieces?.toString('latin1', 0, length)
      text = this.#isBodyChunked ? `${length.toString(16)}\r\n${pieces}\r\n${end}` : `${pieces}${end}`
    }
    if (text === '' || this.#socket.destroyed) return
    this.#isWritingPieces = true
    this.#socket.write(text, 'latin1', this.#onPiecesWritten)
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
    this.#onResumed?.()
    this.#onResumed = null
  }

  retain(): void {
    this.#buffer.retain()
  }

  release(_outcome: Outcome): void {
    if (!this.#isLeased) return
    this.#isLeased = false
    this.#sink = null
    this.#body = null
    this.#piecesLength = 0
    this.#isUnsent = false
    const canGoOn = this.#parser.isDone && this.#parser.framing.keepAlive && this.#isRequestSent && this.isUsable
    if (!canGoOn || this.#isBound || this.#idleMs <= 0) return this.#owner.onSpent(this)
    this.resume()
    this.#releasedAt = batchesWritten()
    if (this.#parser.framing.mayHaveStray) this.#owner.onSuspect(this)
    else this.#owner.onIdle(this)
  }

  destroy(): void {
    this.#failure ??= this.#error('ERR_PROXY_CLOSED', 'was disconnected: the proxy or its pool was closed')
    this.#socket.destroy()
  }

  onDeadline(): void {
    if (!this.#isConnected) {
      this.#fail('ERR_PROXY_CONNECT_TIMEOUT', 'did not accept a connection in time')
    } else if (this.#awaitsContinue) {
      this.#owner.watch(this)
      this.#stopWaiting()
    } else this.#owner.onIdleTooLong(this)
  }

  // Events of the parser:

  onInformational(head: ResponseHead): void {
    // Starting the body asks the client for it. A 100 that nobody waits for is dropped.
    if (head.status === 100) {
      if (this.#awaitsContinue) this.#startBody()
    } else this.#sink?.onInformational(head)
  }

  onHead(head: ResponseHead): void {
    const seconds = this.#parser.framing.keepAliveSeconds
    this.#idleMs = seconds < 0 ? this.#keepAliveMs : Math.min(this.#keepAliveMs, (seconds - 1) * 1000)
    // A final response in place of 100: the body is not wanted, and the connection has an unfinished request.
    this.#awaitsContinue = false
    this.deadline = Number.POSITIVE_INFINITY
    this.#sink?.onHead(head, this)
  }

  onData(chunk: Buffer): void {
    const wasPaused = this.#isPaused
    // A `resume()` from within the call undoes this, and stays in effect.
    this.#isPaused = true
    if (this.#sink?.onData(chunk) !== false) this.#isPaused = wasPaused
  }

  // Events of the socket:

  #connected(setup: SetupTimes): void {
    this.#isConnected = true
    this.#setup = setup
    this.deadline = Number.POSITIVE_INFINITY
    this.#owner.onConnected(this)
  }

  /** @returns whether to continue reading. */
  #receive(bytes: number): boolean {
    this.#reads++
    const sink = this.#sink
    if (sink === null) {
      this.#isPoisoned = true
      this.destroy()
      return true
    }
    if (this.#isUnsent) {
      // Perhaps a 408 to a connection that was idle for too long. It cannot be the response to an unsent request.
      this.#failWith(this.#resetError('sent bytes'))
      return true
    }
    const parser = this.#parser
    const read = parser.execute(this.#buffer.bytes, 0, bytes)
    // Also if the exchange has released the connection from within.
    if (read >= 0 && read < bytes && parser.isDone) this.#isPoisoned = true
    if (read < 0) {
      if (parser.hasHead) this.#fail('ERR_PROXY_TRUNCATED', `sent a body with ${parser.fault}`)
      else this.#fail('ERR_PROXY_BAD_RESPONSE', `sent ${parser.fault}`)
      return true
    }
    if (this.#sink !== sink) return true
    if (!parser.isDone) {
      sink.onFlush()
      return !this.#isPaused
    }
    this.#complete(sink)
    return true
  }

  #complete(sink: ResponseSink): void {
    this.#sink = null
    sink.onEnd(this.#parser.trailers)
  }

  /**
   * Reads on after a failed write. A backend that responds early and closes (413, 401) makes our next write fail. node then
   * destroys the socket, with the response unread in the kernel. So the socket is kept until a whole turn of the event loop has
   * brought nothing more.
   */
  #readRest(done: () => void): void {
    const before = this.#reads
    // The first of the two may run before the socket is polled.
    setImmediate(() =>
      setImmediate(() => {
        if (this.#sink === null) done()
        else if (this.#isPaused) this.#onResumed = () => this.#readRest(done)
        else if (this.#reads === before) done()
        else this.#readRest(done)
      }),
    )
  }

  #onDrain(): void {
    this.#body?.resume()
  }

  /** The client has sent the body without waiting for a 100, or the backend has sent none in time. */
  #stopWaiting(): void {
    if (this.#head === '') return this.#startBody()
    // The body is sent with the head.
    this.#awaitsContinue = false
    this.deadline = Number.POSITIVE_INFINITY
  }

  #startBody(): void {
    this.#awaitsContinue = false
    this.deadline = Number.POSITIVE_INFINITY
    try {
      this.#body?.start(this)
    } catch (thrown) {
      // The body comes through a front, which an application may have wrapped.
      this.#fail('ERR_PROXY_HOOK', `was not sent the request's body, which threw: ${describeError(thrown)}`, thrown)
    }
  }

  #onSocketError(error: Error): void {
    // Before that, `dial` handles the error.
    if (this.#isConnected) this.#lost(`: ${describeError(error)}`, error)
  }

  #onEndOfInput(): void {
    const sink = this.#sink
    const isReset = isHiddenReset(this.#socket, this.backend)
    if (sink !== null && this.#parser.hasHead && !isReset && this.#parser.finish()) this.#complete(sink)
    else this.#lost('')
  }

  #onClose(): void {
    this.#lost('')
    this.#owner.onClosed(this)
  }

  /** The connection was lost, with or without a request on it. */
  #lost(detail: string, cause?: unknown): void {
    if (!this.#isConnected) this.#fail('ERR_PROXY_CONNECT', 'closed the connection while it was being set up', cause)
    else if (this.#sink !== null && this.#parser.hasHead)
      this.#fail('ERR_PROXY_TRUNCATED', `closed the connection in the middle of the response${detail}`, cause)
    else if (this.#isUnsent) this.#failWith(this.#resetError('closed the connection', detail, cause))
    else this.#fail('ERR_PROXY_RESET', `closed the connection before it answered${detail}`, cause)
  }

  /** The error if no byte of the request was sent. */
  #resetError(what: string, detail = '', cause?: unknown): ProxyError {
    return this.#error('ERR_PROXY_RESET', `${what} before it had the request${detail}`, cause, 'acquire')
  }

  #fail(code: ProxyErrorCode, what: string, cause?: unknown): void {
    this.#failWith(this.#failure ?? this.#error(code, what, cause))
  }

  #failWith(error: ProxyError): void {
    if (this.#failure === null) {
      this.#failure = error
      if (!this.#isConnected) this.#owner.onConnectFailed(this, this.#failure)
    }
    this.#report()
    this.#socket.destroy()
  }

  #report(): void {
    const sink = this.#sink
    if (sink === null || this.#failure === null) return
    this.#sink = null
    sink.onError(this.#failure)
  }

  #error(code: ProxyErrorCode, what: string, cause?: unknown, phase?: Phase): ProxyError {
    const details: ProxyErrorDetails = {
      cause,
      backend: this.backend,
      ...(phase !== undefined && { phase }),
      ...(isShortage(cause) && { blamesBackend: false }),
    }
    return new ProxyError(code, `backend ${this.backend.id} ${what}`, details)
  }
}

function uncork(connection: Http1Connection): void {
  connection.uncork()
}

function isWriteError(error: NodeJS.ErrnoException | undefined): boolean {
  return error?.syscall === 'write'
}

function chunksEnd(trailers: HeaderList | null): string {
  return trailers === null ? '0\r\n\r\n' : `0\r\n${fieldsText(trailers)}\r\n`
}
