import type { BodySink, BodySource, Flow, Lease, ResponseSink, SetupTimes } from '../../contracts/pool.ts'
import { anticipatesContent } from '../../http1/head-writer.ts'
import { fieldsOf, readResponse, requestFieldsOf } from '../../http2/heads.ts'
import type { FieldBlock } from '../../http2/hpack-decoder.ts'
import { Pieces } from '../../http2/pieces.ts'
import { CODE, codeName } from '../../http2/protocol.ts'
import type { Session } from '../../http2/session.ts'
import type { Http2Stream, StreamSink } from '../../http2/stream.ts'
import type { ProxyError, ProxyErrorCode } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import { isIdempotent } from '../../model/idempotent.ts'
import type { RequestHead } from '../../model/message.ts'
import { type Timed, UNWATCHED } from '../../runtime/deadlines.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { addToWriteBatch, batchesWritten, type Writer } from '../../runtime/write-batch.ts'
import { CONTINUE_WAIT_MS, POLLED_BATCHES, type PoolSettings } from '../settings.ts'

/** The connection as its leases see it. */
export interface Http2LeaseOwner {
  readonly session: Session
  readonly settings: PoolSettings
  readonly isSecure: boolean
  /** Whether a request can be sent on it. */
  readonly isUsable: boolean
  /** Calls {@link Http2Lease.flush} after the bytes that are being read. */
  touch(lease: Http2Lease): void
  /** The bytes that are being read stay in use. */
  retain(): void
  /** The backend has refused a stream (REFUSED_STREAM). */
  onStreamRefused(): void
  /** Nobody waits for the rest of a response any more. @param sentAt when its request was sent, ms. */
  onGivenUp(sentAt: number): void
  /** The backend wants HTTP/1.1 (HTTP_1_1_REQUIRED). */
  onHttp1Required(): void
  onReleased(): void
  /** The error of a request on a connection that is lost. */
  lostError(hasHead: boolean): ProxyError
  /** @param streamCode see {@link ProxyError.streamCode}. */
  error(code: ProxyErrorCode, what: string, cause?: unknown, streamCode?: number): ProxyError
}

/** The right to send one request on a connection that speaks HTTP/2: one stream (RFC 9113 section 8). */
export class Http2Lease implements Lease, Flow, BodySink, StreamSink, Timed, Writer {
  readonly isReused: boolean
  readonly setup: SetupTimes | null
  /** When the body is sent without a 100. */
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  readonly #owner: Http2LeaseOwner
  #request: RequestHead | null = null
  #body: BodySource | null = null
  #sink: ResponseSink | null = null
  #stream: Http2Stream | null = null
  /** The request is sent when {@link batchesWritten} has reached this number. */
  #mayWriteAt = 0
  #awaitsContinue = false
  #interim = 0
  #sentAt = 0
  #isReleased = false
  #isTouched = false
  /** The sink asked to stop; holds until `resume()`. */
  #isPaused = false
  #isDelivering = false
  /** Came while the sink was paused; at most one window of the stream. */
  readonly #held = new Pieces()
  /** The response is complete, apart from what is held. */
  #hasEnded = false
  #trailers: HeaderList | null = null

  constructor(owner: Http2LeaseOwner, isReused: boolean, setup: SetupTimes | null) {
    this.#owner = owner
    this.isReused = isReused
    this.setup = setup
  }

  send(request: RequestHead, body: BodySource | null, sink: ResponseSink): void {
    this.#request = request
    this.#body = body
    this.#sink = sink
    // As in HTTP/1: a connection that was idle may be closed already. For a request that may not be sent twice, the socket is polled
    // before it is written to.
    if (this.isReused && !isIdempotent(request.method)) this.#mayWriteAt = batchesWritten() + POLLED_BATCHES
    if (this.#mayWriteAt > 0 || !this.#owner.isUsable) addToWriteBatch(this)
    else this.#open(request)
  }

  writeOut(): void {
    if (this.#sink === null || this.#request === null) return
    if (!this.#owner.isUsable)
      this.#fail(this.#owner.error('ERR_PROXY_REFUSED', 'ended the connection before it had the request'))
    else if (batchesWritten() < this.#mayWriteAt) addToWriteBatch(this)
    else this.#open(this.#request)
  }

  onWriteThrew(error: unknown): void {
    this.#fail(this.#owner.error('ERR_PROXY_HOOK', `could not be written to: ${describeError(error)}`, error))
  }

  #open({ method, authority, path, headers }: RequestHead): void {
    const { session, isSecure } = this.#owner
    const body = this.#body
    const fields = requestFieldsOf(headers)
    if (body !== null ? body.bytes >= 0 : anticipatesContent(method))
      fields.push('content-length', String(body?.bytes ?? 0))
    const pseudo = [':method', method, ':scheme', isSecure ? 'https' : 'http', ':path', path]
    if (authority !== '') pseudo.push(':authority', authority)
    const stream = session.open()
    this.#sentAt = this.#owner.settings.clock.now()
    stream.sink = this
    this.#stream = stream
    stream.sendHead(pseudo, fields, body === null)
    if (body === null) return
    if (!body.expectsContinue) return this.#startBody()
    const { clock, deadlines } = this.#owner.settings
    this.#awaitsContinue = true
    this.deadline = clock.now() + CONTINUE_WAIT_MS
    deadlines.add(this)
    body.whenArrived?.(() => this.#continue())
  }

  // The request's body:

  onDeadline(): void {
    this.#continue()
  }

  #continue(): void {
    if (this.#awaitsContinue && this.#sink !== null) this.#startBody()
  }

  #stopWaiting(): void {
    if (!this.#awaitsContinue) return
    this.#awaitsContinue = false
    this.#owner.settings.deadlines.remove(this)
  }

  #startBody(): void {
    this.#stopWaiting()
    try {
      this.#body?.start(this)
    } catch (thrown) {
      // The body comes through a front, which an application may have wrapped.
      const what = `was not sent the request's body, which threw: ${describeError(thrown)}`
      this.#fail(this.#owner.error('ERR_PROXY_HOOK', what, thrown))
    }
  }

  onBody(chunk: Buffer): boolean {
    return chunk.length === 0 || (this.#stream?.write(chunk) ?? true)
  }

  onBodyEnd(trailers: HeaderList | null): void {
    this.#stream?.end(trailers === null ? null : fieldsOf(trailers))
  }

  onWritable(): void {
    this.#body?.resume()
  }

  onSent(): void {}

  // The response:

  onHead(block: FieldBlock, isEnd: boolean): void {
    const { maxResponseHeadBytes, maxInterimResponses } = this.#owner.settings
    const request = this.#request as RequestHead
    if (block.isTooLarge) return this.#refuse(`a head of more than ${maxResponseHeadBytes} bytes`)
    const read = readResponse(block)
    if (typeof read === 'string') return this.#refuse(read)
    const { status, expectedBytes } = read
    if (status < 200) {
      if (isEnd) return this.#refuse(`a ${status} that ends the response`)
      if (status === 101) return this.#refuse('a 101, which HTTP/2 does not have')
      if (++this.#interim > maxInterimResponses)
        return this.#refuse(`more than ${maxInterimResponses} interim responses`)
      if (status === 100) this.#continue()
      else this.#sink?.onInformational({ status, reason: '', headers: block.list, bodyBytes: 0 })
      return
    }
    const stream = this.#stream as Http2Stream
    const mayHaveBody = request.method !== 'HEAD' && status !== 204 && status !== 304
    if (isEnd && mayHaveBody && expectedBytes > 0) return this.#refuse('less than its Content-Length')
    stream.hasHead = true
    stream.expectedBytes = mayHaveBody ? expectedBytes : 0
    this.#stopWaiting()
    this.#touch()
    const bodyBytes = isEnd || !mayHaveBody ? 0 : expectedBytes
    this.#sink?.onHead({ status, reason: '', headers: block.list, bodyBytes }, this)
    if (isEnd) this.onEnd(null)
  }

  onData(bytes: Buffer): void {
    this.#touch()
    if (this.#isPaused || !this.#held.isEmpty) this.#held.push(bytes)
    else this.#deliver(bytes)
  }

  /** The sink will be told when all that came with this has been delivered. */
  #touch(): void {
    if (this.#isTouched) return
    this.#isTouched = true
    this.#owner.touch(this)
  }

  /** The bytes that came together have been delivered. */
  flush(): void {
    this.#isTouched = false
    this.#sink?.onFlush()
  }

  onEnd(trailers: HeaderList | null): void {
    this.#hasEnded = true
    this.#trailers = trailers
    if (this.#held.isEmpty) this.#complete()
  }

  onReset(code: number, isOurs: boolean): void {
    const stream = this.#stream as Http2Stream
    // The backend has answered, and does not want the rest of the request's body.
    if (this.#sink === null || this.#hasEnded) return
    if (this.#owner.session.isClosed) return this.#fail(this.#owner.lostError(stream.hasHead))
    this.#fail(stream.hasHead ? this.#cutError(code, isOurs) : this.#resetError(code, isOurs))
  }

  /** RST_STREAM in the middle of the response: with any code, it is not complete. */
  #cutError(code: number, isOurs: boolean): ProxyError {
    const what = isOurs
      ? 'sent a body that does not fit its head, or its windows'
      : `reset the stream in the middle of the response (${codeName(code)})`
    return this.#owner.error('ERR_PROXY_TRUNCATED', what, undefined, isOurs ? -1 : code)
  }

  #resetError(code: number, isOurs: boolean): ProxyError {
    const owner = this.#owner
    if (isOurs) return owner.error('ERR_PROXY_BAD_RESPONSE', `sent a malformed response (${codeName(code)})`)
    switch (code) {
      case CODE.REFUSED_STREAM:
        owner.onStreamRefused()
        return owner.error('ERR_PROXY_REFUSED', 'did not process the request (REFUSED_STREAM)')
      case CODE.HTTP_1_1_REQUIRED:
        owner.onHttp1Required()
        return owner.error('ERR_PROXY_REFUSED', 'wants HTTP/1.1 for this request (HTTP_1_1_REQUIRED)')
      case CODE.NO_ERROR:
        return owner.error('ERR_PROXY_BAD_RESPONSE', 'ended the stream without a response')
      default:
        return owner.error('ERR_PROXY_RESET', `reset the stream before it answered (${codeName(code)})`)
    }
  }

  #deliver(bytes: Buffer): void {
    // A `resume()` from within the call undoes this, and stays in effect.
    this.#isPaused = true
    if (this.#sink?.onData(bytes) !== false) this.#isPaused = false
    this.#stream?.consume(bytes.length)
  }

  resume(): void {
    this.#isPaused = false
    if (this.#isDelivering || this.#held.isEmpty) return
    this.#isDelivering = true
    while (!this.#held.isEmpty && !this.#isPaused) this.#deliver(this.#held.shift())
    this.#isDelivering = false
    this.#sink?.onFlush()
    if (this.#hasEnded && this.#held.isEmpty) this.#complete()
  }

  retain(): void {
    this.#owner.retain()
  }

  #complete(): void {
    const sink = this.#sink
    this.#sink = null
    sink?.onEnd(this.#trailers)
  }

  #refuse(what: string): void {
    this.#stream?.reset(CODE.PROTOCOL_ERROR)
    this.#fail(this.#owner.error('ERR_PROXY_BAD_RESPONSE', `sent ${what}`))
  }

  #fail(error: ProxyError): void {
    this.#stopWaiting()
    const sink = this.#sink
    this.#sink = null
    sink?.onError(error)
  }

  release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#stopWaiting()
    this.#sink = null
    this.#body = null
    this.#held.clear()
    this.#stream?.reset(CODE.CANCEL)
    if (this.#stream !== null && !this.#hasEnded) this.#owner.onGivenUp(this.#sentAt)
    this.#owner.onReleased()
  }
}
