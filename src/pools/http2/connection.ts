import type net from 'node:net'
import type { SetupTimes } from '../../contracts/pool.ts'
import { otherProtocol } from '../../http1/other-protocol.ts'
import { releaseOutput, writeOutput } from '../../http2/frame-writer.ts'
import { CODE } from '../../http2/protocol.ts'
import { MAX_UNREAD_OUTPUT, Session, type SessionHandler } from '../../http2/session.ts'
import type { Backend } from '../../model/backend.ts'
import { isShortage, ProxyError, type ProxyErrorCode } from '../../model/errors.ts'
import { type Timed, UNWATCHED } from '../../runtime/deadlines.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { addToWriteBatch, type Writer } from '../../runtime/write-batch.ts'
import { dial, hasChosenHttp2, protocolsOf } from '../dial.ts'
import { ReadBuffer } from '../read-buffer.ts'
import type { PoolSettings } from '../settings.ts'
import { Http2Lease, type Http2LeaseOwner } from './lease.ts'

/** The pool that owns a connection; the connection calls it. */
export interface Http2ConnectionOwner {
  /** The backend's settings have come: it can carry requests. */
  onReady(connection: Http2Connection): void
  /** The backend speaks HTTP/1.1, by ALPN or because it has said so (HTTP_1_1_REQUIRED). */
  onHttp1(connection: Http2Connection): void
  /** It could not be set up. */
  onConnectFailed(connection: Http2Connection, error: ProxyError): void
  /** It can carry another request. */
  onRoom(connection: Http2Connection): void
  /** It takes no more requests; those on it continue. */
  onRetired(connection: Http2Connection): void
  /** It is closed; also after {@link onConnectFailed}. */
  onClosed(connection: Http2Connection): void
}

const IS_TLS = 'is it an https:// backend?'
/** First window of a stream, and the largest, bytes. */
const FIRST_WINDOW = 262_144
const LARGEST_WINDOW = 1 << 20
/** Streams at a time, if the backend allows more. */
const MAX_STREAMS = 100
/** A backend may do that much more than a client of what costs us and brings nothing. */
const PATIENCE = 10
/** How long a backend may take to answer a PING, ms. */
const PONG_MS = 5_000
/** A request that was given up after so long, without a byte from the backend since it was sent, may be one on a dead connection, ms. */
const SILENT_MS = 1_000
/** How long a backend may take to close a connection that we have ended, ms. */
const LINGER_MS = 2_000

/** One raw socket to a backend that speaks HTTP/2: many requests at a time, each a stream. */
export class Http2Connection implements SessionHandler, Http2LeaseOwner, Timed, Writer {
  readonly backend: Backend
  readonly session: Session
  readonly settings: PoolSettings
  /** When to give up connecting; when it has been idle for too long; when to ask whether the backend is there. */
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  readonly #owner: Http2ConnectionOwner
  #socket!: net.Socket
  #setup: SetupTimes | null = null
  #state: 'connecting' | 'ready' | 'retired' | 'left' = 'connecting'
  readonly #buffer = new ReadBuffer()
  /** Leases that are not returned. */
  #leases = 0
  /** Leases since the start. */
  #leased = 0
  /** The backend has refused a stream beyond so many, though its settings allow more. */
  #refusedBeyond = Number.POSITIVE_INFINITY
  #isReadingPaused = false
  #readAt = 0
  #awaitsPong = false
  /** Leases with data in the bytes that are being read. */
  #touched: Http2Lease[] = []
  #failure: ProxyError | null = null
  /** How it was lost. */
  #lostBy = 'closed the connection'

  constructor(backend: Backend, owner: Http2ConnectionOwner, settings: PoolSettings) {
    const { clock, maxResponseHeadBytes } = settings
    this.backend = backend
    this.settings = settings
    this.#owner = owner
    this.session = new Session(this, {
      isServer: false,
      bounds: { maxHeadBytes: maxResponseHeadBytes, maxHeaders: Number.POSITIVE_INFINITY },
      maxStreams: 0,
      firstWindow: FIRST_WINDOW,
      largestWindow: LARGEST_WINDOW,
      patience: PATIENCE,
      now: () => clock.now(),
    })
    dial(backend, clock, {
      protocols: protocolsOf(backend.endpoint),
      onread: { buffer: () => this.#buffer.next(), callback: (bytes) => this.#receive(bytes) },
      leftMs: () => (this.#failure === null ? this.deadline - clock.now() : -1),
      onSocket: (socket) => this.#attach(socket),
      onConnected: (setup) => this.#connected(setup),
      onSetupFailed: (error) => this.#failWith(error),
    })
  }

  #attach(socket: net.Socket): void {
    this.#socket = socket
    socket
      .on('error', (error) => {
        // Before that, `dial` handles the error.
        if (this.#setup !== null) this.#lost(`: ${describeError(error)}`, error)
      })
      .on('end', () => this.#lost(''))
      .on('close', () => {
        if (socket === this.#socket) this.#onClose()
      })
  }

  get isSecure(): boolean {
    return this.backend.endpoint.isSecure
  }

  /** Whether a request can be sent on it. */
  get isUsable(): boolean {
    return this.#state === 'ready'
  }

  get hasRoom(): boolean {
    // The heads of requests know no window: for a backend that does not read they would pile up.
    return this.#state === 'ready' && this.#leases < this.maxStreams && this.session.unwritten <= MAX_UNREAD_OUTPUT
  }

  /** How many requests it can carry at a time. */
  get maxStreams(): number {
    return Math.min(MAX_STREAMS, this.session.peerMaxStreams, this.#refusedBeyond)
  }

  /** How many requests it carries. */
  get streams(): number {
    return this.#leases
  }

  /** It has been leased before. */
  get isUsed(): boolean {
    return this.#leased > 0
  }

  lease(): Http2Lease {
    const wasIdle = this.#leases === 0
    const lease = new Http2Lease(this, this.isUsed && wasIdle, this.isUsed ? null : this.#setup)
    this.#leases++
    this.#leased++
    if (wasIdle) this.#watchForSilence()
    return lease
  }

  /** Takes no more requests, and ends after those that it has. */
  retire(): void {
    if (this.#state !== 'ready') return
    this.#state = 'retired'
    this.#owner.onRetired(this)
    if (this.#leases === 0) this.#leave()
  }

  destroy(): void {
    this.#fail('ERR_PROXY_CLOSED', 'was disconnected: the proxy or its pool was closed')
  }

  // For leases:

  touch(lease: Http2Lease): void {
    this.#touched.push(lease)
  }

  retain(): void {
    this.#buffer.retain()
  }

  onStreamRefused(): void {
    this.#refusedBeyond = Math.max(1, this.#leases - 1)
  }

  /** Such a connection gets no more requests, which would all wait in vain. Those on it may still be answered. */
  onGivenUp(sentAt: number): void {
    if (this.#readAt < sentAt && this.settings.clock.now() - sentAt >= SILENT_MS) this.retire()
  }

  onHttp1Required(): void {
    if (this.backend.endpoint.protocol !== 'auto') return
    this.retire()
    this.#owner.onHttp1(this)
  }

  onReleased(): void {
    this.#leases--
    if (this.#leases === 0) this.#refusedBeyond = Number.POSITIVE_INFINITY
    if (this.#state === 'ready') {
      if (this.session.isUsedUp) return this.retire()
      if (this.#leases === 0) this.#becomeIdle()
      if (this.hasRoom) this.#owner.onRoom(this)
    } else if (this.#state === 'retired' && this.#leases === 0) this.#leave()
  }

  lostError(hasHead: boolean): ProxyError {
    const { fault } = this.session
    if (fault !== '') {
      const what = `sent frames that are no valid HTTP/2 (${fault})`
      return this.error(hasHead ? 'ERR_PROXY_TRUNCATED' : 'ERR_PROXY_BAD_RESPONSE', what)
    }
    const failure = this.#failure
    if (failure !== null && failure.code !== 'ERR_PROXY_RESET') return failure
    const cause = failure?.cause
    const detail = cause === undefined ? '' : `: ${describeError(cause)}`
    return hasHead
      ? this.error('ERR_PROXY_TRUNCATED', `${this.#lostBy} in the middle of the response${detail}`, cause)
      : this.error('ERR_PROXY_RESET', `${this.#lostBy} before it answered${detail}`, cause)
  }

  error(code: ProxyErrorCode, what: string, cause?: unknown, streamCode?: number): ProxyError {
    const details = { cause, streamCode, backend: this.backend, ...(isShortage(cause) && { blamesBackend: false }) }
    return new ProxyError(code, `backend ${this.backend.id} ${what}`, details)
  }

  // Time:

  onDeadline(): void {
    const { clock, deadlines, pingMs } = this.settings
    if (this.#state === 'connecting') {
      const what =
        this.#setup === null ? 'did not accept a connection' : 'accepted a connection, but sent no HTTP/2 settings'
      return this.#fail('ERR_PROXY_CONNECT_TIMEOUT', `${what} in time`)
    }
    if (this.#state === 'left') return void this.#socket.destroy()
    if (this.#leases === 0) return this.retire()
    if (this.#awaitsPong) {
      this.#lostBy = `was silent, did not answer a PING within ${PONG_MS} ms, and was disconnected`
      return this.#lost('')
    }
    const now = clock.now()
    if (now - this.#readAt < pingMs) this.deadline = this.#readAt + pingMs
    else {
      this.#awaitsPong = true
      this.session.ping()
      this.deadline = now + PONG_MS
    }
    deadlines.add(this)
  }

  #becomeIdle(): void {
    const { keepAliveMs, clock, deadlines } = this.settings
    if (keepAliveMs <= 0) return this.retire()
    this.#awaitsPong = false
    this.deadline = clock.now() + keepAliveMs
    deadlines.add(this)
  }

  /** Requests run: asks now and then whether the backend is still there, if that is wanted. */
  #watchForSilence(): void {
    const { pingMs, clock, deadlines } = this.settings
    this.deadline = Number.POSITIVE_INFINITY
    if (pingMs === 0) return
    this.deadline = clock.now() + pingMs
    deadlines.add(this)
  }

  // Events of the socket:

  #connected(setup: SetupTimes): void {
    const { endpoint } = this.backend
    this.#setup = setup
    if (hasChosenHttp2(this.#socket, endpoint)) return this.session.start()
    if (endpoint.protocol === 'auto') {
      this.#state = 'retired'
      this.#owner.onHttp1(this)
      this.#leave()
    } else this.#fail('ERR_PROXY_TLS', "does not offer HTTP/2 (ALPN); is its protocol 'http/1.1' or 'auto'?")
  }

  /** @returns whether to continue reading. */
  #receive(bytes: number): boolean {
    const { session } = this
    this.#readAt = this.settings.clock.now()
    if (this.settings.pingMs > 0) {
      if (this.#awaitsPong) this.deadline = this.#readAt + this.settings.pingMs
      this.#awaitsPong = false
    }
    session.receive(this.#buffer.bytes.subarray(0, bytes))
    if (this.#touched.length > 0) {
      const touched = this.#touched
      this.#touched = []
      for (const lease of touched) lease.flush()
    }
    if (!this.#isReadingPaused) this.#isReadingPaused = session.unwritten > MAX_UNREAD_OUTPUT
    return !this.#isReadingPaused
  }

  #onClose(): void {
    this.#lost('')
    this.#owner.onClosed(this)
  }

  // Events of the session:

  onOutput(): void {
    addToWriteBatch(this)
  }

  writeOut(): void {
    for (const output of this.session.takeOutput()) {
      if (this.#socket.destroyed) releaseOutput(output)
      else writeOutput(this.#socket, output, (error) => this.#onWritten(output.bytes, error))
    }
  }

  onWriteThrew(error: unknown): void {
    this.#lost(`: ${describeError(error)}`, error)
  }

  #onWritten(bytes: number, error: Error | null | undefined): void {
    if (error) return
    const { session } = this
    const wasFull = session.unwritten > MAX_UNREAD_OUTPUT
    session.onWritten(bytes)
    if (session.unwritten > MAX_UNREAD_OUTPUT) return
    if (wasFull && this.hasRoom) this.#owner.onRoom(this)
    if (!this.#isReadingPaused) return
    this.#isReadingPaused = false
    this.#socket.resume()
  }

  onRequest(): void {}

  onSettings(isFirst: boolean): void {
    if (!isFirst) {
      if (this.hasRoom) this.#owner.onRoom(this)
      return
    }
    if (this.#state !== 'connecting') return
    this.#state = 'ready'
    this.deadline = Number.POSITIVE_INFINITY
    this.#owner.onReady(this)
    // Nobody needs it any more.
    if (this.#state === 'ready' && this.#leased === 0) this.#becomeIdle()
  }

  onGoAway(): void {
    this.retire()
  }

  onFault(): void {
    this.writeOut()
    if (this.session.hasSettings) return this.#lost('')
    // Some servers respond by HTTP/1.1 to what comes to their port without TLS.
    const question = this.#speaksTls() ? IS_TLS : "is its protocol 'http/1.1', or is it an https:// backend?"
    this.#fail('ERR_PROXY_CONNECT', `accepted a connection, but what it sent is not HTTP/2; ${question}`)
  }

  /** Whether its first bytes are those of TLS. An alert is shorter than the head of a frame. */
  #speaksTls(): boolean {
    return this.#socket.bytesRead > 1 && !this.backend.endpoint.isSecure && otherProtocol(this.#buffer.bytes) === 'TLS'
  }

  // The end:

  #leave(): void {
    const { clock, deadlines } = this.settings
    this.#state = 'left'
    if (this.session.hasSettings) this.session.goAway(true)
    this.session.abort(CODE.CANCEL)
    this.writeOut()
    this.#socket.end()
    this.deadline = clock.now() + LINGER_MS
    deadlines.add(this)
  }

  /** The connection was lost, with or without requests on it. */
  #lost(detail: string, cause?: unknown): void {
    if (this.#state === 'connecting') {
      const question = this.#speaksTls() ? `; ${IS_TLS}` : ''
      this.#fail('ERR_PROXY_CONNECT', `closed the connection while it was being set up${detail}${question}`, cause)
    } else this.#fail('ERR_PROXY_RESET', `${this.#lostBy}${detail}`, cause)
  }

  #fail(code: ProxyErrorCode, what: string, cause?: unknown): void {
    this.#failWith(this.error(code, what, cause))
  }

  #failWith(error: ProxyError): void {
    if (this.#failure === null) {
      this.#failure = error
      const before = this.#state
      this.#state = 'left'
      if (before === 'connecting') this.#owner.onConnectFailed(this, error)
      else if (before === 'ready') this.#owner.onRetired(this)
      this.session.abort(CODE.CANCEL)
    }
    this.#socket.destroy()
  }
}
