import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { ExchangeCall } from '../../exchange/call.ts'
import type { FrontBody } from '../../exchange/front.ts'
import type { RequestHeaders } from '../../headers/request.ts'
import { fieldValue } from '../../http1/fields.ts'
import { ProxyError } from '../../model/errors.ts'
import { hasSentContinue } from '../node-internals.ts'
import { BufferedBody, NodeBody, StreamBody } from './bodies.ts'
import { consumedBody, isConsumed } from './consumed-body.ts'

/** Options of one `proxy.web` call, after names have been resolved. */
export interface WebCall extends ExchangeCall {
  /** The body, if it is not the request's own. */
  readonly body?: Uint8Array | string | Readable | undefined
}

/** The body of a request that node has read. */
export function bodyOf(
  req: IncomingMessage,
  res: ServerResponse,
  { bodyBytes, counted, expectsContinue, fault }: RequestHeaders,
  call: WebCall | null,
): FrontBody | ProxyError | null {
  if (res.headersSent && !res.writableEnded) {
    return new ProxyError('ERR_PROXY_HOOK', 'the application had begun a response before it called the proxy')
  }
  const given = call?.body
  if (typeof given === 'string' || given instanceof Uint8Array) return new BufferedBody(Buffer.from(given), false)
  // A stream belongs to the exchange even if the call is refused: it is then destroyed with it.
  if (given !== undefined && given !== req && typeof (given as Partial<Readable>).pipe === 'function')
    return new StreamBody(given)
  if (bodyBytes === null || fault !== null) return null
  // node has responded to `Expect: 100-continue` by itself if the server has no `checkContinue` listener.
  if (!isConsumed(req)) return new NodeBody(req, res, bodyBytes, expectsContinue && !hasSentContinue(res))
  const consumed = consumedBody(req, counted)
  if ('bytes' in consumed) {
    const coding = fieldValue(req.rawHeaders, 'content-encoding')
    // A parser that removed the coding has changed the length. A coding that the application has set is that of its own bytes.
    const isDecoded = coding === fieldValue(counted, 'content-encoding') && consumed.bytes.length !== bodyBytes
    return new BufferedBody(consumed.bytes, isDecoded)
  }
  return new ProxyError(
    'ERR_PROXY_BODY_CONSUMED',
    `the request body was read before the proxy, and ${consumed.fault}; mount the proxy before body parsers, keep the bytes in req.rawBody, or hand them to proxy.web as { body }`,
  )
}
