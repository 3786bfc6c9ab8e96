import net from 'node:net'
import tls from 'node:tls'
import type { BodySink, BodySource, Connection, RequestHead, ResponseHead, ResponseSink } from '../contracts/pool.ts'
import { fieldsText, requestHeadText } from '../http1/head-writer.ts'
import { type ResponseBounds, type ResponseHandler, ResponseParser } from '../http1/response-parser.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../model/clock.ts'
import { type Timed, UNWATCHED } from '../model/deadlines.ts'
import { describeError, ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange.ts'
import type { Outcome } from '../model/outcome.ts'
import { atEndOfTurn, type Writer } from '../model/turn.ts'

/** What a connection tells the pool that owns it. */
export interface ConnectionOwner {
  onConnected(connection: Http1Connection): void
  /** It never came to be. */
  onConnectFailed(connection: Http1Connection, error: ProxyError): void
  /** Its lease is over and it can carry another request. */
  onIdle(connection: Http1Connection): void
  /** Its lease is over, and it cannot carry another request. */
  onSpent(connection: Http1Connection): void
  /** Its deadline has passed, and it has a new one. */
  watch(connection: Http1Connection): void
  /** It is closed; also after {@link onConnectFailed}. */
  onClosed(connection: Http1Connection): void
}

const READ_BUFFER_BYTES = 65536
/** RFC 9110 section 10.1.1: do not wait for ever for a 100 that a backend may not know of. */
const CONTINUE_WAIT_MS = 1000
const CHUNK_END = Buffer.from('\r\n')

/**
 * One raw socket to a backend that speaks HTTP/1.1: one request at a time, kept alive between them.
 * Reads into its own reusable buffer (`onread`), which spares the stream machinery: about 3 us a request.
 */
export class Http1Connection implements Connection, BodySink, ResponseHandler, Timed, Writer {
  readonly backend: Backend
  /** When to give up connecting, or when it has been idle for too long; `Infinity` while leased. */
  deadline = Number.POSITIVE_INFINITY
  place = UNWATCHED
  readonly #owner: ConnectionOwner
  readonly #clock: Clock
  readonly #socket: net.Socket
  readonly #parser: ResponseParser
  readonly #keepAliveMs: number
  #buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  #isBufferRetained = false
  #isConnected = false
  #leases = 0
  #isLeased = false
  #sink: ResponseSink | null = null
  #body: BodySource | null = null
  #isBodyChunked = false
  #awaitsContinue = false
  #isRequestSent = true
  /** Nothing of the request has been given to the system yet. */
  #isHeld = false
  /** Its head, where it goes out by itself. */
  #heldHead = ''
  /** The sink asked to stop; holds until `resume()`. */
  #isPaused = false
  /** Bytes came that belong to no response: what follows cannot be trusted. */
  #isPoisoned = false
  #failure: ProxyError | null = null
  /** The backend takes no more; what it has said before is still to be read. */
  #isWriteBroken = false
  /** Calls of {@link #receive}. */
  #reads = 0
  #onResumed: (() => void) | null = null
  /** How long it may stay idle by what the backend said last. */
  #idleMs: number

  constructor(
    backend: Backend,
    owner: ConnectionOwner,
    settings: ResponseBounds & { readonly clock: Clock; readonly keepAliveMs: number },
  ) {
    this.backend = backend
    this.#clock = settings.clock
    this.#owner = owner
    this.#keepAliveMs = settings.keepAliveMs
    this.#idleMs = settings.keepAliveMs
    this.#parser = new ResponseParser(this, settings)
    const { isSecure, hostname, port, socketPath, tls: tlsOptions } = backend.endpoint
    const onread: net.OnReadOpts = {
      buffer: () => this.#nextBuffer(),
      callback: (bytes) => this.#receive(bytes),
    }
    const where = socketPath === null ? { host: hostname, port } : { path: socketPath }
    if (isSecure) {
      const servername = tlsOptions.servername ?? (net.isIP(hostname) === 0 ? hostname : '')
      // `onread` is documented for tls.connect; its type lacks it.
      const options: tls.ConnectionOptions & { onread: net.OnReadOpts } = {
        ...where,
        ...(tlsOptions as tls.ConnectionOptions),
        servername,
        ALPNProtocols: ['http/1.1'],
        onread,
      }
      this.#socket = tls.connect(options).on('secureConnect', () => this.#connected())
    } else this.#socket = net.connect({ ...where, onread }, () => this.#connected())
    const destroy = this.#socket.destroy.bind(this.#socket)
    this.#socket.destroy = (error) => {
      if (isWriteError(error) && this.#sink !== null && !this.#isWriteBroken) {
        this.#isWriteBroken = true
        this.#readRest(() => destroy(error))
      } else destroy(error)
      return this.#socket
    }
    this.#socket
      .setNoDelay(true)
      .on('error', (error) => this.#onSocketError(error))
      .on('end', () => this.#onEndOfInput())
      .on('close', () => this.#onClose())
      .on('drain', () => this.#onDrain())
  }

  get isReused(): boolean {
    return this.#leases > 1
  }

  /** It has been leased before. */
  get isUsed(): boolean {
    return this.#leases > 0
  }

  /** How long it may stay idle by what the backend announced last, ms. */
  get idleMs(): number {
    return this.#idleMs
  }

  /** Can carry a request, as far as we know. */
  get isUsable(): boolean {
    return this.#failure === null && !this.#isPoisoned && !this.#isWriteBroken && !this.#socket.destroyed
  }

  /** Hands it to an exchange. */
  lease(): this {
    this.#leases++
    this.#isLeased = true
    this.deadline = Number.POSITIVE_INFINITY
    return this
  }

  send(request: RequestHead, body: BodySource | null, sink: ResponseSink): void {
    this.#sink = sink
    this.#body = body
    if (!this.isUsable) {
      // It died between the lease and now; told as the wire would tell it, not from within this call.
      this.#failure ??= this.#error('ERR_PROXY_RESET', 'closed the connection before the request was sent')
      process.nextTick(() => this.#report())
      return
    }
    this.#parser.start(request.method)
    this.#isHeld = true
    atEndOfTurn(this)
    const head = requestHeadText(request, body === null ? null : body.bytes)
    this.#isRequestSent = body === null
    if (body === null || body.expectsContinue) this.#heldHead = head
    if (body === null) return
    this.#isBodyChunked = body.bytes < 0
    this.#awaitsContinue = body.expectsContinue
    if (this.#awaitsContinue) {
      this.deadline = this.#clock.now() + CONTINUE_WAIT_MS
      body.whenArrived?.(() => {
        if (this.#body === body && this.#awaitsContinue) this.#startBody()
      })
      return
    }
    // The first piece of the body is often here already: one system call for both.
    this.#socket.cork()
    this.#socket.write(head, 'latin1')
    body.start(this)
  }

  writeOut(): void {
    const socket = this.#socket
    const head = this.#heldHead
    this.#isHeld = false
    this.#heldHead = ''
    if (head === '') socket.uncork()
    else if (!socket.destroyed) socket.write(head, 'latin1')
  }

  onBody(chunk: Buffer): boolean {
    const socket = this.#socket
    if (this.#failure !== null || this.#isWriteBroken || chunk.length === 0) return true
    if (!this.#isBodyChunked) return socket.write(chunk)
    socket.cork()
    socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
    socket.write(chunk)
    const goOn = socket.write(CHUNK_END)
    socket.uncork()
    return goOn
  }

  onBodyEnd(trailers: HeaderList | null): void {
    if (this.#failure !== null || this.#isWriteBroken) return
    this.#isRequestSent = true
    if (this.#isBodyChunked) this.#socket.write(chunksEnd(trailers), 'latin1')
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
    this.#onResumed?.()
    this.#onResumed = null
  }

  retain(): void {
    this.#isBufferRetained = true
  }

  release(_outcome: Outcome): void {
    if (!this.#isLeased) return
    this.#isLeased = false
    this.#sink = null
    this.#body = null
    const canGoOn = this.#parser.isDone && this.#parser.framing.keepAlive && this.#isRequestSent && this.isUsable
    if (!canGoOn || this.#idleMs <= 0) return this.#owner.onSpent(this)
    this.resume()
    this.#owner.onIdle(this)
  }

  destroy(): void {
    this.#failure ??= this.#error('ERR_PROXY_CLOSED', 'was disconnected: the proxy or its pool was closed')
    this.#socket.destroy()
  }

  onDeadline(): void {
    if (!this.#isConnected) {
      this.#fail('ERR_PROXY_CONNECT_TIMEOUT', 'did not accept a connection in time')
    } else if (this.#awaitsContinue) {
      this.deadline = Number.POSITIVE_INFINITY
      this.#owner.watch(this)
      this.#startBody()
    } else this.destroy()
  }

  // What the parser finds:

  onInformational(head: ResponseHead): void {
    // Reading the body is what asks the client for it; a 100 that nobody awaits is of no use to it.
    if (head.status === 100) {
      if (this.#awaitsContinue) this.#startBody()
    } else this.#sink?.onInformational(head)
  }

  onHead(head: ResponseHead): void {
    const seconds = this.#parser.framing.keepAliveSeconds
    this.#idleMs = seconds < 0 ? this.#keepAliveMs : Math.min(this.#keepAliveMs, (seconds - 1) * 1000)
    // A final answer in place of 100: the body is not wanted, and the connection has an unfinished request.
    this.#awaitsContinue = false
    this.deadline = Number.POSITIVE_INFINITY
    this.#sink?.onHead(head)
  }

  onData(chunk: Buffer): void {
    const wasPaused = this.#isPaused
    // A `resume()` from within the call undoes this, and holds.
    this.#isPaused = true
    if (this.#sink?.onData(chunk) !== false) this.#isPaused = wasPaused
  }

  // What the socket says:

  #connected(): void {
    this.#isConnected = true
    this.deadline = Number.POSITIVE_INFINITY
    this.#owner.onConnected(this)
  }

  #nextBuffer(): Uint8Array {
    if (this.#isBufferRetained) {
      this.#isBufferRetained = false
      this.#buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
    }
    return this.#buffer
  }

  /** @returns whether to read on. */
  #receive(bytes: number): boolean {
    this.#reads++
    const sink = this.#sink
    if (sink === null) {
      this.#isPoisoned = true
      this.destroy()
      return true
    }
    if (this.#isHeld) {
      // A 408 to a connection that was idle for too long, perhaps: no answer to what has not been asked.
      this.#fail('ERR_PROXY_RESET', 'sent bytes before it had the request')
      return true
    }
    const parser = this.#parser
    const read = parser.execute(this.#buffer, 0, bytes)
    if (read < 0) {
      if (parser.hasHead) this.#fail('ERR_PROXY_CUT', `sent a body with ${parser.fault}`)
      else this.#fail('ERR_PROXY_BAD_RESPONSE', `sent ${parser.fault}`)
      return true
    }
    if (this.#sink !== sink) return true
    if (!parser.isDone) {
      sink.onFlush()
      return !this.#isPaused
    }
    if (read < bytes) this.#isPoisoned = true
    this.#complete(sink)
    return true
  }

  #complete(sink: ResponseSink): void {
    this.#sink = null
    sink.onEnd(this.#parser.trailers)
  }

  /**
   * A backend that answers early and closes (413, 401) makes our next write fail, and node destroys a socket then,
   * with the answer unread in the kernel. So it lives until a whole turn of the event loop has brought nothing more.
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

  #startBody(): void {
    this.#awaitsContinue = false
    this.deadline = Number.POSITIVE_INFINITY
    if (this.#isHeld && this.#heldHead !== '') {
      // The client has not waited: head and body go out together.
      this.#socket.cork()
      this.#socket.write(this.#heldHead, 'latin1')
      this.#heldHead = ''
    }
    this.#body?.start(this)
  }

  #onSocketError(error: Error): void {
    if (!this.#isConnected) {
      const code = isTlsError(error) ? 'ERR_PROXY_TLS' : 'ERR_PROXY_CONNECT'
      this.#fail(code, `could not be connected to: ${describeError(error)}`, error)
    } else this.#lost(`: ${describeError(error)}`, error)
  }

  #onEndOfInput(): void {
    const sink = this.#sink
    if (sink !== null && this.#parser.hasHead && this.#parser.finish()) this.#complete(sink)
    else this.#lost('')
  }

  #onClose(): void {
    this.#lost('')
    this.#owner.onClosed(this)
  }

  /** The connection went away under a request, or under none. */
  #lost(detail: string, cause?: unknown): void {
    if (!this.#isConnected) this.#fail('ERR_PROXY_CONNECT', 'closed the connection while it was being set up', cause)
    else if (this.#sink !== null && this.#parser.hasHead)
      this.#fail('ERR_PROXY_CUT', `closed the connection in the middle of the response${detail}`, cause)
    else this.#fail('ERR_PROXY_RESET', `closed the connection before it answered${detail}`, cause)
  }

  #fail(code: ProxyErrorCode, what: string, cause?: unknown): void {
    if (this.#failure === null) {
      this.#failure = this.#error(code, what, cause)
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

  #error(code: ProxyErrorCode, what: string, cause?: unknown): ProxyError {
    return new ProxyError(code, `backend ${this.backend.id} ${what}`, { cause, backend: this.backend })
  }
}

function isWriteError(error: NodeJS.ErrnoException | undefined): boolean {
  return error?.syscall === 'write'
}

function chunksEnd(trailers: HeaderList | null): string {
  return trailers === null ? '0\r\n\r\n' : `0\r\n${fieldsText(trailers)}\r\n`
}

/** OpenSSL's and node's certificate errors, against the system's (`ECONNREFUSED` and the like, which have a `syscall`). */
function isTlsError(error: NodeJS.ErrnoException): boolean {
  return error.syscall === undefined && error.code !== 'ECONNRESET' && !(error instanceof AggregateError)
}
