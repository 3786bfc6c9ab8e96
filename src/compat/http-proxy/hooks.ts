import type { BodySource, ExchangeView, Interceptor, OutgoingResponse, ResponseSink, Transform } from '../../index.ts'
import type { HeaderEdits } from './outgoing-request.ts'
import { editHeader } from './request-headers.ts'

/** A call as the hooks of the engine see it: the `context` of its exchange. */
export interface HookedCall {
  /** Changes of the headers that are sent. */
  readonly edits: HeaderEdits | null
  /** The head of the response is about to go to the client. */
  onHead(response: OutgoingResponse): void
  /** Wraps the way of the body; `body` itself if nobody is interested. */
  tapBody(body: BodySource | null): BodySource | null
  /** Wraps the way of the response; `sink` itself if nobody is interested. */
  tap(sink: ResponseSink): ResponseSink
}

/** Heads, for the options and listeners of a call. */
export const heads: Transform = {
  name: 'http-proxy',
  request({ headers }, exchange) {
    const { edits } = callOf(exchange)
    if (edits !== null) for (const { name, value } of edits.values()) editHeader(headers, name, value)
  },
  response: (response, exchange) => callOf(exchange).onHead(response),
}

/** Bodies, for calls that read or copy them. A transform costs less, and can do all the rest. */
export const bodies: Interceptor = {
  name: 'http-proxy',
  wrap: (next) => (exchange, request, body, sink) => {
    const call = callOf(exchange)
    next(exchange, request, call.tapBody(body), call.tap(sink))
  },
}

/** Only calls of this folder pass by these hooks, each with itself as context. */
function callOf(exchange: ExchangeView): HookedCall {
  return exchange.context as HookedCall
}
