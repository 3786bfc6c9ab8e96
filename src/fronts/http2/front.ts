import type { BodySink } from '../../contracts/pool.ts'
import type { Exchange } from '../../exchange/exchange.ts'
import type { Front, FrontBody, FrontEvents } from '../../exchange/front.ts'
import { announceNothing, interimHeaders } from '../../headers/response.ts'
import { fieldValue } from '../../http1/fields.ts'
import { fieldsOf, type RequestFields, responseFieldsOf } from '../../http2/heads.ts'
import { Pieces } from '../../http2/pieces.ts'
import { CODE } from '../../http2/protocol.ts'
import { MAX_UNWRITTEN } from '../../http2/session.ts'
import type { Http2Stream, StreamSink } from '../../http2/stream.ts'
import { ProxyError } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { ResponseHead } from '../../model/message.ts'
import type { Peer } from '../../model/peer.ts'
import { type Timed, UNWATCHED } from '../../runtime/deadlines.ts'

/** The connection as a {@link Http2Front} sees it. */
export interface Http2FrontOwner {
  /** The current time as an HTTP date. */
  date(): string
  /** The response is in the output; {@link Http2Front.written} is to be called when it has been written. */
  onSent(front: Http2Front): void
  /** The exchange is over. `isWell`: the client has all of its response. */
  onOver(front: Http2Front, isWell: boolean): void
  /** The exchange has ended before its response is written: only {@link Http2Front.onDeadline} watches the client, `ms` from now (0: never). */
  onEnding(front: Http2Front, ms: number): void
  /** The client does not take the end of a response, which is in the output. */
  onStuck(): void
}

const NO_FIELDS: HeaderList = []

/** The client's side of one exchange: a stream. */
export class Http2Front implements Front, StreamSink, Timed {
  readonly method: string
  readonly target: string
  readonly version = '2'
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  readonly scope = null
  readonly ownStatus = null
  /** Without effect: the connection says by GOAWAY that it ends. */
  isLast = false
  /** When the request's body must have come. */
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  readonly #stream: Http2Stream
  readonly #owner: Http2FrontOwner
  readonly #body: Http2Body | null
  #exchange: Exchange | null = null
  #events: FrontEvents | null = null
  #hasBegun = false
  #hasBody = true
  #isOver = false
  /** The end of the response is in the output, and has not been written. */
  #isSent = false
  /** Bytes of the body that are still to come; -1: nobody knows how many, or it has none. */
  #left = -1

  constructor(request: RequestFields, body: Http2Body | null, peer: Peer, stream: Http2Stream, owner: Http2FrontOwner) {
    this.method = request.method
    this.target = request.target
    this.headers = request.headers
    this.peer = peer
    this.#stream = stream
    this.#owner = owner
    this.#body = body
  }

  get isRequestComplete(): boolean {
    return this.#stream.isRemoteDone
  }

  /** Some of the response may have reached the client. */
  get hasBegun(): boolean {
    return this.#hasBegun
  }

  get #isGrpc(): boolean {
    return this.#exchange?.grpc != null
  }

  takesTrailers(): boolean {
    return true
  }

  /** Notifies the exchange of the client's progress and end from now on. */
  connect(exchange: Exchange): void {
    this.#exchange = exchange
    this.#events = exchange.events
  }

  inform(head: ResponseHead): void {
    // HEADERS know no window: for a client that does not read, interim responses would pile up.
    if (this.#hasBegun || this.#stream.session.unwritten >= MAX_UNWRITTEN) return
    const headers = interimHeaders(head.headers)
    this.#stream.sendHead([':status', String(head.status)], fieldsOf(headers))
  }

  respond(head: ResponseHead): void {
    const { status, headers, bodyBytes } = head
    if (this.#hasBegun) return this.abort()
    this.#hasBegun = true
    this.#hasBody = this.method !== 'HEAD' && status !== 204 && status !== 304
    if (bodyBytes === 0 && this.#hasBody) announceNothing(headers)
    this.#left = this.#hasBody ? bodyBytes : -1
    const fields = responseFieldsOf(head)
    if (fieldValue(fields, 'date') === undefined) fields.push('date', this.#owner.date())
    this.#stream.sendHead([':status', String(status)], fields)
  }

  write(chunk: Buffer): boolean {
    if (this.#isOver || !this.#hasBody || chunk.length === 0) return true
    if (this.#left >= 0) {
      if (chunk.length > this.#left) {
        this.abort()
        return true
      }
      this.#left -= chunk.length
    }
    return this.#stream.write(chunk)
  }

  /** Everything is sent at the end of the turn. */
  flush(): void {}

  end(trailers: HeaderList | null): void {
    if (this.#isOver) return
    if (this.#left > 0) return this.abort()
    this.#stream.end(trailers === null ? null : fieldsOf(trailers))
    const exchange = this.#exchange
    if (exchange?.isEnded === true) this.#owner.onEnding(this, exchange.timeouts.idle)
  }

  abort(error?: ProxyError): void {
    if (this.#isSent) this.#owner.onStuck()
    if (this.#isOver) return
    this.#isOver = true
    this.#stream.reset(this.#isGrpc ? grpcResetCode(error) : CODE.INTERNAL_ERROR)
    // If its body did not fit its Content-Length, the exchange still runs.
    this.#events?.onClientGone()
    this.#owner.onOver(this, false)
  }

  // Events of the stream:

  onHead(): void {}

  onData(bytes: Buffer): void {
    this.#body?.deliver(bytes)
  }

  onEnd(trailers: HeaderList | null): void {
    this.deadline = Number.POSITIVE_INFINITY
    this.#body?.finish(trailers)
  }

  onSent(): void {
    this.#isOver = true
    this.#isSent = true
    this.deadline = Number.POSITIVE_INFINITY
    // RFC 9113 section 8.1: the client need not send the rest.
    if (!this.#stream.isRemoteDone) this.#stream.reset(CODE.NO_ERROR)
    this.#owner.onSent(this)
  }

  onReset(): void {
    if (this.#isOver) return
    this.gone()
  }

  onWritable(): void {
    if (!this.#isOver) this.#events?.onClientDrain()
  }

  onDeadline(): void {
    const exchange = this.#exchange
    if (exchange?.isEnded === true) return this.abort()
    // The client may send messages as long as its call lasts.
    if (this.#isGrpc && exchange?.timeouts.idle === 0) return
    exchange?.fail(new ProxyError('ERR_PROXY_CLIENT_TIMEOUT', 'the request did not come in time'), 'aborted')
  }

  /** The last byte of the response has been written. */
  written(): void {
    this.#isSent = false
    this.#events?.onClientDone()
    this.#owner.onOver(this, true)
  }

  /** The client has gone before that. */
  gone(): void {
    this.#isOver = true
    this.#isSent = false
    this.#events?.onClientGone()
    this.#owner.onOver(this, false)
  }
}

/**
 * The code that ends a response of gRPC, whose clients make a status of it (CANCELLED, RESOURCE_EXHAUSTED, INTERNAL). Clients of HTTP
 * may take others than INTERNAL_ERROR for a clean end.
 */
function grpcResetCode(error: ProxyError | undefined): number {
  const code = error?.streamCode
  return code === CODE.CANCEL || code === CODE.ENHANCE_YOUR_CALM ? code : CODE.INTERNAL_ERROR
}

/** A request's body, as the stream brings it. What its reader does not take is not granted to the client again. */
export class Http2Body implements FrontBody {
  readonly bytes: number
  readonly isDecoded = false
  readonly expectsContinue: boolean
  readonly #stream: Http2Stream
  #sink: BodySink | null = null
  #isReading = false
  #isAbandoned = false
  /** Came while nobody read; at most one window of the stream. */
  readonly #late = new Pieces()
  #hasArrived = false
  #hasEnded = false
  #trailers: HeaderList | null = null
  #onArrived: (() => void) | null = null

  /** @param bytes announced length, or -1. */
  constructor(bytes: number, expectsContinue: boolean, stream: Http2Stream) {
    this.bytes = bytes
    this.expectsContinue = expectsContinue
    this.#stream = stream
  }

  start(sink: BodySink): void {
    this.#sink = sink
    // The reader wants the body, so the client may send it.
    if (this.expectsContinue && !this.#hasArrived) this.#stream.sendHead([':status', '100'], NO_FIELDS)
    this.resume()
  }

  pause(): void {
    this.#isReading = false
  }

  resume(): void {
    this.#isReading = true
    while (!this.#late.isEmpty && this.#isReading) this.#give(this.#late.shift())
    if (this.#isReading && this.#hasEnded) this.#end()
  }

  abandon(): void {
    this.#sink = null
    this.#isAbandoned = true
    this.#stream.consume(this.#late.clear())
  }

  whenArrived(call: () => void): void {
    this.#onArrived = call
  }

  /** Takes a piece of the body, which is copied. */
  deliver(bytes: Buffer): void {
    this.#arrived()
    if (this.#isAbandoned) this.#stream.consume(bytes.length)
    else if (this.#isReading) this.#give(Buffer.from(bytes))
    else this.#late.push(bytes)
  }

  /** The body is complete. */
  finish(trailers: HeaderList | null): void {
    this.#arrived()
    this.#trailers = trailers
    this.#hasEnded = true
    if (this.#late.isEmpty && this.#isReading) this.#end()
  }

  #arrived(): void {
    this.#hasArrived = true
    const call = this.#onArrived
    this.#onArrived = null
    call?.()
  }

  #give(chunk: Buffer): void {
    this.#sink?.onBody(chunk)
    this.#stream.consume(chunk.length)
  }

  #end(): void {
    const sink = this.#sink
    this.#sink = null
    sink?.onBodyEnd(this.#trailers)
  }
}
