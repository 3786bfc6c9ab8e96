import { STATUS_CODES } from 'node:http'
import {
  type Flow,
  type HeaderList,
  headerView,
  type ProxyError,
  type ResponseHead,
  type ResponseSink,
} from '../../index.ts'
import { Tap } from './hooks.ts'
import { nodeError } from './node-errors.ts'
import type { OutgoingRequest } from './outgoing-request.ts'
import { ProxyResponse } from './proxy-response.ts'
import { editHeader } from './request-headers.ts'

/** The listeners to a response. */
export interface Audience {
  readonly proxyReq: OutgoingRequest | null
  /** Calls the listeners. @returns whether the response is theirs: they send what they like to the client. */
  onResponse(response: ProxyResponse): boolean
  /** All of it has arrived, and has been passed on. */
  onResponseEnd(response: ProxyResponse): void
}

/** The way of a response from the target past the listeners, to the client or into their hands. */
export class ShownResponse extends Tap implements Flow {
  readonly #audience: Audience
  #response: ProxyResponse | null = null
  /** The listeners have it, and nothing goes to the client from here. */
  #isTaken = false
  #flow: Flow | null = null
  #clientWaits = false
  #listenerWaits = false

  constructor(sink: ResponseSink, audience: Audience) {
    super(sink)
    this.#audience = audience
  }

  override onHead(head: ResponseHead, flow: Flow): void {
    this.#flow = flow
    const reason = head.reason === '' ? (STATUS_CODES[head.status] ?? '') : head.reason
    const response = new ProxyResponse(
      head,
      reason,
      { resume: () => this.#onListenerReady(), retain() {} },
      this.#audience.proxyReq,
    )
    this.#response = response
    this.#isTaken = this.#audience.onResponse(response)
    if (this.#isTaken) return
    this.sink.onHead(changedHead(head, reason, response), this)
    if (response.isObserved) letFlow(response)
  }

  override onData(chunk: Buffer): boolean {
    const response = this.#response as ProxyResponse
    if (this.#isTaken) return response.deliver(chunk)
    // The client's part may be written over once it has been passed on.
    const shown = response.isObserved ? Buffer.from(chunk) : null
    this.#clientWaits = !this.sink.onData(chunk)
    if (shown !== null) {
      letFlow(response)
      this.#listenerWaits = !response.deliver(shown)
    }
    return !this.#clientWaits && !this.#listenerWaits
  }

  override onFlush(): void {
    if (!this.#isTaken) this.sink.onFlush()
  }

  override onEnd(trailers: HeaderList | null): void {
    const response = this.#response as ProxyResponse
    if (!this.#isTaken) this.sink.onEnd(trailers)
    response.finish(trailers)
    this.#audience.onResponseEnd(response)
  }

  override onError(error: ProxyError): void {
    this.#response?.fail(nodeError(error))
    this.sink.onError(error)
  }

  /** The exchange has ended, whatever is missing. */
  abandon(error: Error): void {
    this.#response?.fail(error)
  }

  // Flow, for the client:

  resume(): void {
    this.#clientWaits = false
    this.#goOn()
  }

  retain(): void {
    this.#flow?.retain()
  }

  #onListenerReady(): void {
    this.#listenerWaits = false
    this.#goOn()
  }

  #goOn(): void {
    if (!this.#clientWaits && !this.#listenerWaits) this.#flow?.resume()
  }
}

/** http-proxy pipes the response to the client, so it flows whether a listener reads it or not. */
function letFlow(response: ProxyResponse): void {
  if (response.readableFlowing !== true && response.listenerCount('readable') === 0) response.resume()
}

/** The head with what listeners have changed. Framing and the connection stay the proxy's. */
function changedHead(head: ResponseHead, reason: string, response: ProxyResponse): ResponseHead {
  const { statusCode, statusMessage, changedHeaders } = response
  const isSame = statusCode === head.status && statusMessage === reason
  if (isSame && changedHeaders.length === 0) return head
  const headers = [...head.headers]
  const view = headerView(headers)
  let { bodyBytes } = head
  for (const [name, value] of changedHeaders) {
    // They will change the length in a way of their own, such as a `res.write` that they have replaced.
    if (name.toLowerCase() === 'content-length') bodyBytes = -1
    editHeader(view, name, textOf(value))
  }
  return {
    status: statusCode,
    reason: isSame ? head.reason : statusMessage === reason ? '' : statusMessage,
    headers,
    bodyBytes,
  }
}

/** Listeners set numbers, too. */
function textOf(value: string | string[] | undefined): string | string[] | undefined {
  if (Array.isArray(value)) return value.map(String)
  return value === undefined ? undefined : String(value)
}
