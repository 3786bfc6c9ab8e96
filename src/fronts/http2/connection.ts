import type { Socket } from 'node:net'
import { Exchange } from '../../exchange/exchange.ts'
import { recordRefusal } from '../../exchange/refusals.ts'
import type { Core } from '../../exchange/services.ts'
import { requestHeaders } from '../../headers/request.ts'
import { SAVED } from '../../http2/demerits.ts'
import { type Output, releaseOutput, writeOutput } from '../../http2/frame-writer.ts'
import { type RequestFields, readRequest } from '../../http2/heads.ts'
import type { FieldBlock } from '../../http2/hpack-decoder.ts'
import { CODE } from '../../http2/protocol.ts'
import { MAX_UNREAD_OUTPUT, Session, type SessionHandler } from '../../http2/session.ts'
import type { Http2Stream } from '../../http2/stream.ts'
import { ProxyError } from '../../model/errors.ts'
import type { Peer } from '../../model/peer.ts'
import { type Timed, UNWATCHED } from '../../runtime/deadlines.ts'
import { addToWriteBatch, type Writer } from '../../runtime/write-batch.ts'
import { lastAt } from '../age.ts'
import { Bridge } from './bridge.ts'
import { Http2Body, Http2Front, type Http2FrontOwner } from './front.ts'

/** The parts that all connections of a server share. */
export interface Http2ConnectionDeps {
  readonly core: Core
  /** Time for the client's preface and settings, ms; 0: no limit. */
  readonly headMs: number
  /** How long idle connections are kept, ms. */
  readonly keepAliveMs: number
  /** Requests that match no route are for the server behind this one. */
  readonly isShared: boolean
  date(): string
  /** Another server takes a request, as a connection of HTTP/1.1. */
  onBridge(bridge: Bridge): void
  onClosed(connection: Http2Connection): void
}

/** First window of a stream, bytes. */
const FIRST_WINDOW = 65_535
/** How long a client may go on to open streams after a first GOAWAY, ms: as long as a request may be on its way. */
const GOING_MS = 1_000
/** How long a client may take to read the last response and close, ms. */
const LINGER_MS = 2_000
/** So many exchanges for each stream may not have ended: the last bytes of a response may still be on their way. */
const EXCHANGES_PER_STREAM = 2
const NONE: readonly Http2Front[] = []

/** A client's connection that speaks HTTP/2: a session on a socket, with one exchange for each stream. */
export class Http2Connection implements SessionHandler, Http2FrontOwner, Writer, Timed {
  readonly socket: Socket
  deadline: number
  index = UNWATCHED
  readonly #deps: Http2ConnectionDeps
  readonly #peer: Peer
  readonly #session: Session
  readonly #maxExchanges: number
  /** Watches how old the connection becomes. */
  readonly #age: Timed
  /** Exchanges that have not ended. */
  #exchanges = 0
  #requests = 0
  /** Responses whose end is in the output. */
  #sent: Http2Front[] = []
  /** `going`: a first GOAWAY was sent; `gone`: the last one, and running exchanges finish; `left`: nothing is read or written any more. */
  #state: 'open' | 'going' | 'gone' | 'left' = 'open'
  #isPaused = false
  /** A frame or a header block has begun: {@link deadline} is for its end, and this one for what comes after. */
  #isInHead = false
  #idleAt = Number.POSITIVE_INFINITY

  /** @param first bytes that were read already. */
  constructor(deps: Http2ConnectionDeps, socket: Socket, peer: Peer, first: Buffer | null) {
    const { services, snapshot } = deps.core
    const { limits } = snapshot
    const { maxStreams, windowBytes, maxDemerits } = limits.http2
    this.socket = socket
    this.#deps = deps
    this.#peer = peer
    this.#session = new Session(this, {
      isServer: true,
      bounds: limits,
      maxStreams,
      firstWindow: FIRST_WINDOW,
      // Clients take it for a promise. The handshake becomes a GET.
      connectProtocol: deps.isShared || snapshot.router.takes('GET'),
      largestWindow: windowBytes,
      connectionWindow: windowBytes,
      patience: maxDemerits / SAVED,
      now: () => services.clock.now(),
    })
    this.deadline = deps.headMs > 0 ? services.clock.now() + deps.headMs : Number.POSITIVE_INFINITY
    services.deadlines.add(this)
    this.#maxExchanges = maxStreams * EXCHANGES_PER_STREAM
    this.#age = { deadline: lastAt(deps.core), index: UNWATCHED, onDeadline: () => this.retire() }
    if (this.#age.deadline < Number.POSITIVE_INFINITY) services.deadlines.add(this.#age)
    socket.on('data', this.#onData).on('end', this.#onEnd).on('error', ignore).on('close', this.#onClose)
    this.#session.start()
    if (first !== null) this.#onData(first)
    socket.resume()
  }

  /** Whether it carries nothing. */
  get isIdle(): boolean {
    return this.#exchanges === 0 && this.#session.openStreams === 0 && this.#session.isBetweenFrames
  }

  /** Lets running exchanges finish, and then ends (RFC 9113 section 6.8). */
  retire(): void {
    if (this.#state !== 'open') return
    this.#state = 'going'
    this.#session.goAway(false)
    this.#expect(GOING_MS)
    this.#deps.core.services.deadlines.add(this)
  }

  /** Ends an idle connection. */
  end(): void {
    this.#session.goAway(true)
    this.#leave()
  }

  date(): string {
    return this.#deps.date()
  }

  // Events of the socket:

  readonly #onData = (bytes: Buffer): void => {
    this.#session.receive(bytes)
    this.#watchHead()
    if (!this.#isPaused && this.#session.unwritten > MAX_UNREAD_OUTPUT) {
      this.#isPaused = true
      this.socket.pause()
    }
  }

  /** A header block that has begun must end in time, like a head in HTTP/1.1; without exchanges any frame. */
  #watchHead(): void {
    const session = this.#session
    const isWaiting = session.isInBlock || (this.#exchanges === 0 && !session.isBetweenFrames)
    const isInHead = this.#state === 'open' && session.hasSettings && isWaiting
    if (isInHead === this.#isInHead) return
    this.#isInHead = isInHead
    if (this.#state !== 'open') return
    if (isInHead) {
      this.#idleAt = this.deadline
      const { headMs, core } = this.#deps
      if (headMs > 0) this.deadline = Math.min(this.deadline, core.services.clock.now() + headMs)
    } else this.deadline = this.#exchanges > 0 ? Number.POSITIVE_INFINITY : this.#idleAt
  }

  #becomeIdle(): void {
    const { deadline } = this
    this.#expect(this.#deps.keepAliveMs)
    if (!this.#isInHead) return this.#watchHead()
    this.#idleAt = this.deadline
    this.deadline = deadline
  }

  /** The client has gone: without WINDOW_UPDATE it could not even take a response. */
  readonly #onEnd = (): void => {
    this.#session.abort(CODE.CANCEL)
    this.#leave()
  }

  readonly #onClose = (): void => {
    this.#state = 'left'
    this.#deps.core.services.deadlines.remove(this)
    this.#deps.core.services.deadlines.remove(this.#age)
    this.#session.abort(CODE.CANCEL)
    this.#deps.onClosed(this)
  }

  onDeadline(): void {
    if (this.#state === 'left') return void this.socket.destroy()
    if (this.#state === 'going') {
      this.#session.goAway(true)
      this.#state = 'gone'
      if (this.#exchanges === 0) this.#leave()
      return
    }
    if (this.#exchanges === 0 && this.#session.isBetweenFrames) this.end()
    else this.socket.destroy()
  }

  // Output:

  onOutput(): void {
    addToWriteBatch(this)
  }

  writeOut(): void {
    const { socket } = this
    const outputs = this.#session.takeOutput()
    const sent = this.#sent
    if (sent.length > 0) this.#sent = []
    for (const output of outputs) {
      if (socket.destroyed) releaseOutput(output)
      else this.#write(output, output === outputs[outputs.length - 1] ? sent : NONE)
    }
    if (socket.destroyed) for (const front of sent) front.gone()
  }

  #write(output: Output, sent: readonly Http2Front[]): void {
    const { bytes } = output
    writeOutput(this.socket, output, (error) => {
      for (const front of sent) error ? front.gone() : front.written()
      if (error) return
      this.#session.onWritten(bytes)
      if (this.#isPaused && this.#session.unwritten <= MAX_UNREAD_OUTPUT) {
        this.#isPaused = false
        this.socket.resume()
      }
      this.#leaveIfDone()
    })
  }

  onWriteThrew(): void {
    this.socket.destroy()
  }

  onSent(front: Http2Front): void {
    this.#sent.push(front)
  }

  onOver(front: Http2Front, isWell: boolean): void {
    this.#deps.core.services.deadlines.remove(front)
    this.#endExchange(isWell)
  }

  #endExchange(isWell: boolean): void {
    this.#exchanges--
    if (isWell) this.#session.credit()
    if (this.#exchanges === 0 && this.#state === 'open') this.#becomeIdle()
    this.#leaveIfDone()
  }

  onEnding(front: Http2Front, ms: number): void {
    const { clock, deadlines } = this.#deps.core.services
    front.deadline = ms > 0 ? clock.now() + ms : Number.POSITIVE_INFINITY
    deadlines.add(front)
  }

  /** What it has written cannot be taken back, and all streams wait behind it. */
  onStuck(): void {
    this.socket.destroy()
  }

  // Events of the session:

  onRequest(stream: Http2Stream, block: FieldBlock, isEnd: boolean): void {
    const { core } = this.#deps
    const { snapshot, services } = core
    const request = readRequest(block, isEnd)
    if (request === null) return stream.reset(CODE.PROTOCOL_ERROR)
    // Also those whose streams are closed: RST_STREAM must not make room for more at once (CVE-2023-44487).
    if (this.#exchanges >= this.#maxExchanges) return stream.reset(CODE.REFUSED_STREAM)
    const { requestTimeoutMs } = snapshot.limits
    stream.expectedBytes = request.expectedBytes
    const { method, headers, protocol } = request
    const read = requestHeaders(headers, method, '2', this.#peer, snapshot.forwarding.requestHeaders, null, !isEnd)
    const fault = block.isTooLarge ? null : (request.fault ?? read.fault)
    const sent = fault === read.fault ? read : { ...read, fault }
    const isCarried = fault === null && !block.isTooLarge
    if (isCarried && protocol !== '' && protocol !== 'websocket') return this.#refuseProtocol(stream, request)
    const found = isCarried && this.#deps.isShared ? snapshot.router.resolve(method, request.target, sent.host) : null
    if ((isCarried && protocol !== '') || (found !== null && found.route === null)) {
      return this.#bridge(stream, request, isEnd)
    }
    const body = isEnd ? null : new Http2Body(request.expectedBytes, sent.expectsContinue, stream)
    const front = new Http2Front(request, body, this.#peer, stream, this)
    stream.sink = front
    this.#beginExchange()
    const exchange = new Exchange(core, front, sent, body, null)
    front.connect(exchange)
    if (body !== null && requestTimeoutMs > 0) {
      front.deadline = services.clock.now() + requestTimeoutMs
      services.deadlines.add(front)
    }
    if (block.isTooLarge) {
      const message = `the request has a head of more than ${snapshot.limits.maxHeadBytes} bytes, or too many headers`
      exchange.fail(new ProxyError('ERR_PROXY_HEAD_TOO_LARGE', message))
    } else exchange.begin(found)
    this.#countRequest()
  }

  #beginExchange(): void {
    this.#exchanges++
    if (this.#state === 'open') this.deadline = Number.POSITIVE_INFINITY
  }

  #countRequest(): void {
    if (++this.#requests === this.#deps.core.snapshot.limits.maxRequestsPerConnection) this.retire()
  }

  /** The server behind serves a request, or a WebSocket (RFC 8441), as it would on a connection of HTTP/1.1. */
  #bridge(stream: Http2Stream, request: RequestFields, isEnd: boolean): void {
    const bridge = new Bridge(stream, request, isEnd, this.socket, this.#deps.core.services.clock)
    stream.sink = bridge
    this.#beginExchange()
    bridge.once('close', () => this.#endExchange(bridge.writableFinished))
    this.#deps.onBridge(bridge)
    this.#countRequest()
  }

  /** RFC 8441 section 4 leaves the status to us; RFC 9220 section 3 has 501. */
  #refuseProtocol(stream: Http2Stream, { method, target, protocol }: RequestFields): void {
    const message = `the request asks by CONNECT for a protocol other than websocket: ${JSON.stringify(protocol)}`
    const error = new ProxyError('ERR_PROXY_BAD_REQUEST', message)
    const line = { method, target, httpVersion: '2.0' }
    const clientAddress = this.#peer.address
    const { services } = this.#deps.core
    recordRefusal(services, { error, clientAddress, request: line, status: 501, responseBytes: 0 })
    stream.sendHead([':status', '501'], ['date', this.date()], true)
    stream.reset(CODE.NO_ERROR)
  }

  onSettings(isFirst: boolean): void {
    if (isFirst && this.#exchanges === 0 && this.#state === 'open') this.#expect(this.#deps.keepAliveMs)
  }

  onGoAway(): void {}

  onFault(_code: number, message: string): void {
    const { services } = this.#deps.core
    const error = new ProxyError('ERR_PROXY_BAD_REQUEST', `a client's HTTP/2 connection failed: ${message}`)
    const clientAddress = this.#peer.address
    recordRefusal(services, { error, clientAddress, request: null, status: 0, responseBytes: 0 })
    this.writeOut()
    this.#leave()
  }

  // The end:

  #expect(ms: number): void {
    const { clock } = this.#deps.core.services
    this.deadline = ms > 0 ? clock.now() + ms : Number.POSITIVE_INFINITY
  }

  #leaveIfDone(): void {
    if (this.#state !== 'gone' || this.#exchanges > 0) return
    if (this.#session.unwritten === 0) return this.#leave()
    // The client may never read the rest.
    this.#expect(this.#deps.keepAliveMs || LINGER_MS)
    this.#deps.core.services.deadlines.add(this)
  }

  #leave(): void {
    if (this.#state === 'left') return
    this.#state = 'left'
    // An answer to a later frame would be a write after the end, which destroys the socket before the client has read the GOAWAY.
    this.#session.abort(CODE.CANCEL)
    this.writeOut()
    this.socket.resume().end()
    this.#expect(LINGER_MS)
    this.#deps.core.services.deadlines.add(this)
  }
}

function ignore(): void {}
