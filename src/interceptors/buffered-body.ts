import type { Interceptor } from '../contracts/interceptor.ts'
import type { Flow, ResponseSink } from '../contracts/pool.ts'
import type { OutgoingResponse } from '../contracts/transform.ts'
import { headerView } from '../headers/view.ts'
import { hookError, type ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { isPromise } from '../runtime/callbacks.ts'
import { BodyStreams, type Stage } from './bodies/body-streams.ts'
import { askForDecodable, badBody, codingsOf, decodersFor, HAS_ZSTD } from './bodies/decoders.ts'
import { type Call, type Divert, DivertedSink, IGNORED, type TakenBody } from './bodies/diverted-sink.ts'
import { mediaTypes } from './bodies/media-types.ts'
import { forgetContent, hasWholeBody } from './bodies/old-bytes.ts'
import { checkWhole, optionError, withDefaults } from './option-checks.ts'
import { respond } from './respond.ts'
import { wrapSink } from './wrap-sink.ts'

/** What {@link BufferedBodyOptions.edit} may return. */
export type EditedBody = Buffer | string

/** Options of {@link bufferedBody}. */
export interface BufferedBodyOptions {
  /**
   * Most bytes of a decoded body. A larger one is an error (502, ERR_PROXY_BAD_RESPONSE): it is neither sent unedited nor kept in
   * memory. Default 1 MiB.
   */
  readonly maxBytes?: number | undefined
  /**
   * Media types of the responses to edit: `text/html`, `text/*` or `application/*+json`. No pattern with `*` matches
   * `text/event-stream`. Default: text, JSON, XML, JavaScript.
   */
  readonly contentTypes?: readonly string[] | undefined
  /**
   * Edits one body, decoded, and may change status and headers. Those that describe the old bytes are removed before the call. Text is
   * sent as UTF-8. `timeouts.intercept` limits the time of a promise.
   */
  readonly edit: (body: Buffer, response: OutgoingResponse, exchange: ExchangeView) => EditedBody | Promise<EditedBody>
}

const NAME = 'buffered-body'

/** The defaults of {@link BufferedBodyOptions}. */
export const BUFFERED_BODY_DEFAULTS = Object.freeze({
  maxBytes: 1024 * 1024,
  contentTypes: Object.freeze([
    'text/*',
    'application/json',
    'application/*+json',
    'application/xml',
    'application/*+xml',
    'application/javascript',
  ]),
})

/**
 * Edits bodies of responses as a whole. The response is held back until it is edited, so that an error in `edit`, a body that cannot
 * be decoded, or one that is too large, becomes a clean 500 or 502.
 *
 * Decodes gzip, br, deflate and zstd (Node 22.15 and later); any other content coding is an error. `Accept-Encoding` of the request is
 * reduced to those. Writes `Content-Length`, and removes `Content-Encoding`, `ETag`, `Last-Modified`, `Accept-Ranges`, digests and
 * trailers. Passes on unchanged: other media types, parts of bodies (206, Content-Range), empty bodies, and upgrades. HEAD gets the
 * headers of GET.
 * @throws TypeError for an invalid option.
 */
export function bufferedBody(options: BufferedBodyOptions): Interceptor {
  const { maxBytes, contentTypes, edit } = withDefaults(NAME, options, BUFFERED_BODY_DEFAULTS, ['edit'])
  if (typeof edit !== 'function') throw optionError(NAME, 'edit', edit, 'a function')
  checkWhole(NAME, 'maxBytes', maxBytes, { least: 1, example: BUFFERED_BODY_DEFAULTS.maxBytes })
  const isMeant = mediaTypes(contentTypes, NAME, 'contentTypes')

  const divert: Divert = (call, head, flow) => {
    const { exchange, sink, signal } = call
    const headers = headerView(head.headers)
    if (!hasWholeBody(head, headers, exchange) || !isMeant(headers.get('Content-Type'))) return null
    const decoders = decodersFor(head.headers, exchange)
    const forgetOld = (): void => {
      forgetContent(headers)
      headers.delete('Content-Encoding')
    }
    if (exchange.method === 'HEAD') {
      forgetOld()
      head.bodyBytes = -1
      return null
    }
    if (decoders === null) return refuse(sink, badBody(unknownCoding(head), exchange))
    if (decoders.length === 0 && head.bodyBytes > maxBytes) return refuse(sink, badBody(tooLarge(maxBytes), exchange))

    const onBody = (body: Buffer): void => {
      forgetOld()
      const response: OutgoingResponse = { status: head.status, headers }
      const send = (edited: EditedBody): void => {
        if (signal?.aborted !== true)
          respond(sink, { status: response.status, headers: head.headers, body: checked(edited) })
      }
      const onThrew = (thrown: unknown): void =>
        sink.onError(hookError(`edit() of interceptor ${NAME}`, thrown, exchange.backend, 'intercept'))
      try {
        const edited = edit(body, response, exchange)
        if (isPromise(edited)) Promise.resolve(edited).then(send).catch(onThrew)
        else send(edited)
      } catch (thrown) {
        onThrew(thrown)
      }
    }
    return collect(call, head, flow, decoders, maxBytes, onBody)
  }

  return {
    name: NAME,
    wrap: (next) => (exchange, request, body, sink) =>
      next(exchange, askForDecodable(request), body, new DivertedSink(exchange, request, sink, divert)),
  }
}

/** Calls `onBody` with the decoded body. An empty one is passed on as it came. */
function collect(
  call: Call,
  head: ResponseHead,
  flow: Flow,
  decoders: readonly Stage[],
  maxBytes: number,
  onBody: (body: Buffer) => void,
): TakenBody {
  const { sink } = call
  const chunks: Buffer[] = []
  let bytes = 0
  const collector = wrapSink(sink, {
    onHead() {},
    onData(chunk) {
      bytes += chunk.length
      if (bytes <= maxBytes) chunks.push(chunk)
      else streams.onError(badBody(tooLarge(maxBytes), call.exchange))
      return true
    },
    onFlush() {},
    onEnd(trailers) {
      if (bytes > 0) return onBody(Buffer.concat(chunks))
      sink.onHead(head, flow)
      sink.onEnd(trailers)
    },
  })
  const streams = new BodyStreams({ ...call, sink: collector }, head, flow, decoders)
  return streams
}

/** @throws TypeError if `edit` has returned something else. */
function checked(edited: EditedBody): EditedBody {
  if (typeof edited === 'string' || Buffer.isBuffer(edited)) return edited
  throw new TypeError(`it returned ${edited === null ? 'null' : typeof edited}: return text or a Buffer`)
}

function refuse(sink: ResponseSink, error: ProxyError): TakenBody {
  sink.onError(error)
  return IGNORED
}

function tooLarge(maxBytes: number): string {
  return `the body is larger than maxBytes of interceptor ${NAME} (${maxBytes}): raise it, or leave such responses out (contentTypes, or another route)`
}

function unknownCoding({ headers }: ResponseHead): string {
  const codings = codingsOf(headers).join(', ')
  return `interceptor ${NAME} cannot decode Content-Encoding ${JSON.stringify(codings)}: let the backend send gzip, br, deflate, ${HAS_ZSTD ? 'zstd ' : ''}or none`
}
