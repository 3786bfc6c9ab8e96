import type { Duplex } from 'node:stream'
import type { Flow, HeaderList, ProxyError, ResponseHead, ResponseSink } from '../../index.ts'
import { hangUp, nodeError } from './node-errors.ts'
import type { OutgoingRequest } from './outgoing-request.ts'
import { ProxyResponse, type Source } from './proxy-response.ts'

/** A response that goes to the listeners, which respond to the client by themselves (`selfHandleResponse`). */
export class TakenResponse implements ResponseSink, Source {
  readonly isTaken = true
  readonly #sink: ResponseSink
  readonly #proxyReq: OutgoingRequest | null
  readonly #onResponse: (response: ProxyResponse) => void
  #response: ProxyResponse | null = null
  #flow: Flow | null = null

  /** @param sink gets what does not belong to a response: failures before it, interim responses. */
  constructor(sink: ResponseSink, proxyReq: OutgoingRequest | null, onResponse: (response: ProxyResponse) => void) {
    this.#sink = sink
    this.#proxyReq = proxyReq
    this.#onResponse = onResponse
  }

  onInformational(head: ResponseHead): void {
    this.#sink.onInformational(head)
  }

  onHead({ status, reason, headers }: ResponseHead, flow: Flow): void {
    this.#flow = flow
    this.#response = new ProxyResponse(status, reason, headers, this, this.#proxyReq)
    this.#onResponse(this.#response)
  }

  onData(chunk: Buffer): boolean {
    return this.#response?.deliver(chunk) ?? true
  }

  onFlush(): void {}

  onEnd(trailers: HeaderList | null): void {
    this.#response?.finish(trailers)
  }

  onUpgrade(_head: ResponseHead, stream: Duplex): void {
    stream.destroy()
  }

  onError(error: ProxyError): void {
    this.#response?.fail(nodeError(error))
    this.#sink.onError(error)
  }

  onObserved(): void {}

  onReady(): void {
    this.#flow?.resume()
  }

  /** The client's side is closed, and nothing more comes of a response that is not complete. */
  abandon(): void {
    if (this.#response?.complete === false) this.#response.fail(hangUp())
  }
}
