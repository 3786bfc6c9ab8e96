import type { Duplex } from 'node:stream'
import type { Flow, ResponseSink } from '../../contracts/pool.ts'
import type { ProxyError } from '../../model/errors.ts'
import type { ExchangeView, HeaderList } from '../../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../../model/message.ts'

/** Takes the body of a response, and from then on speaks to the sink itself. */
export interface TakenBody {
  onData(chunk: Buffer): boolean
  onFlush(): void
  onEnd(trailers: HeaderList | null): void
  onError(error: ProxyError): void
}

/** One call of an interceptor's handler. */
export interface Call {
  readonly exchange: ExchangeView
  /** The sink outside of the interceptor. */
  readonly sink: ResponseSink
  /** Ends this call alone: after it is aborted the sink must get nothing more. */
  readonly signal: AbortSignal | undefined
}

/**
 * Decides at the head of a response who gets its body. It may change the head in place. @returns `null` to pass the response on,
 * with the head as it is then.
 */
export type Divert = (call: Call, head: ResponseHead, flow: Flow) => TakenBody | null

/** A sink that passes responses on to `sink`, or their bodies to what {@link Divert} returns. Cheap for those that are passed on. */
export class DivertedSink implements ResponseSink, Call {
  readonly exchange: ExchangeView
  readonly sink: ResponseSink
  readonly signal: AbortSignal | undefined
  readonly #divert: Divert
  #target: TakenBody
  /** Announced length of a diverted body; -1: none. */
  #announced = -1
  #received = 0

  constructor(exchange: ExchangeView, request: RequestHead, sink: ResponseSink, divert: Divert) {
    this.exchange = exchange
    this.signal = request.signal
    this.sink = sink
    this.#divert = divert
    this.#target = sink
  }

  onInformational(head: ResponseHead): void {
    this.sink.onInformational(head)
  }

  onHead(head: ResponseHead, flow: Flow): void {
    const { bodyBytes } = head
    const body = this.#divert(this, head, flow)
    if (body === null) return this.sink.onHead(head, flow)
    this.#target = body
    this.#announced = bodyBytes
  }

  onData(chunk: Buffer): boolean {
    this.#received += chunk.length
    return this.#target.onData(chunk)
  }

  onFlush(): void {
    this.#target.onFlush()
  }

  onEnd(trailers: HeaderList | null): void {
    // Another interceptor has sent it. What comes out has another length, so that nobody after this could notice.
    if (this.#announced >= 0 && this.#received !== this.#announced)
      throw new TypeError(`the body has ${this.#received} bytes, and bodyBytes is ${this.#announced}`)
    this.#target.onEnd(trailers)
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    this.sink.onUpgrade(head, stream, rest)
  }

  onError(error: ProxyError): void {
    this.#target.onError(error)
  }
}

/** Takes the rest of a body for which an error was reported. */
export const IGNORED: TakenBody = { onData: () => true, onFlush() {}, onEnd() {}, onError() {} }
