import type { Duplex } from 'node:stream'
import type { Interceptor } from '../contracts/interceptor.ts'
import type { OutgoingResponse } from '../contracts/transform.ts'
import { headerView } from '../headers/view.ts'
import { hookError, type ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import { assertSync } from '../runtime/callbacks.ts'
import { BodyStreams, type Stage } from './bodies/body-streams.ts'
import { askForDecodable, decodersFor } from './bodies/decoders.ts'
import { type Divert, DivertedSink } from './bodies/diverted-sink.ts'
import { guardedStream } from './bodies/guarded-stream.ts'
import { forgetContent, hasWholeBody } from './bodies/old-bytes.ts'
import { optionError, withDefaults } from './option-checks.ts'

/** Options of {@link responseBody}. */
export interface ResponseBodyOptions {
  /**
   * Whether to change this response. Called when its head has come; synchronous. It gets the head as the backend has sent it. Default:
   * every response with a body.
   */
  readonly when?: ((response: OutgoingResponse, exchange: ExchangeView) => boolean) | undefined
  /**
   * Creates the stream that changes the body of one response; synchronous. It may change the status and the headers, from which those
   * that describe the old bytes are removed. Not called for HEAD. The proxy destroys the stream if the exchange ends before it.
   */
  readonly transform: (response: OutgoingResponse, exchange: ExchangeView) => Duplex
  /**
   * Decode gzip, br, deflate and zstd (Node 22.15 and later) first. The client then gets the body without a content coding. Default
   * `true`; `false` gives the stream the bytes as the backend has sent them.
   */
  readonly decode?: boolean | undefined
}

const NAME = 'response-body'

/** The defaults of {@link ResponseBodyOptions}. */
export const RESPONSE_BODY_DEFAULTS = Object.freeze({ decode: true })

/**
 * Changes bodies of responses while they stream, through a `Transform` of node:stream, with backpressure.
 *
 * Removes `Content-Length`, `Content-Encoding` if the body was decoded, `ETag`, `Last-Modified`, `Accept-Ranges` and digests. Passes on
 * unchanged: parts of bodies (206, Content-Range), responses without a body, bodies with a content coding that is not known, and
 * upgrades. HEAD gets the headers of GET. With `decode`, `Accept-Encoding` of the request is reduced to codings that can be decoded.
 *
 * An error of the stream, or a body that cannot be decoded, ends the exchange: with a clean 500 or 502 if nothing was sent, else the
 * response is truncated.
 * @throws TypeError for an option of the wrong type.
 */
export function responseBody(options: ResponseBodyOptions): Interceptor {
  const { when, transform, decode } = withDefaults(NAME, options, RESPONSE_BODY_DEFAULTS, ['when', 'transform'])
  if (typeof transform !== 'function') throw optionError(NAME, 'transform', transform, 'a function')
  if (when !== undefined && typeof when !== 'function') throw optionError(NAME, 'when', when, 'a function')
  if (typeof decode !== 'boolean') throw optionError(NAME, 'decode', decode, 'true or false')

  const divert: Divert = (call, head, flow) => {
    const { exchange } = call
    const headers = headerView(head.headers)
    if (!hasWholeBody(head, headers, exchange)) return null
    const response: OutgoingResponse = { status: head.status, headers }
    if (when !== undefined) {
      const isMeant: unknown = when(response, exchange)
      assertSync(isMeant)
      if (!isMeant) return null
    }
    const decoders = decode ? decodersFor(head.headers, exchange) : []
    if (decoders === null) return null
    forgetContent(headers)
    if (decoders.length > 0) headers.delete('Content-Encoding')
    head.bodyBytes = -1
    if (exchange.method === 'HEAD') return null
    const stream = transform(response, exchange)
    assertSync(stream)
    const stage: Stage = { stream: guardedStream(stream), fault: (cause) => failedStream(cause, exchange) }
    if (response.status !== head.status) {
      head.status = response.status
      head.reason = ''
    }
    return new BodyStreams(call, head, flow, [...decoders, stage])
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) =>
      next(
        exchange,
        decode ? askForDecodable(request) : request,
        body,
        new DivertedSink(exchange, request, sink, divert),
      ),
  }
}

function failedStream(cause: unknown, { backend }: ExchangeView): ProxyError {
  return hookError(`the stream of interceptor ${NAME}`, cause, backend, 'intercept')
}
