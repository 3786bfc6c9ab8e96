import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { ExchangeCall } from '../../exchange/call.ts'
import { Exchange } from '../../exchange/exchange.ts'
import type { FrontBody } from '../../exchange/front.ts'
import type { Core } from '../../exchange/services.ts'
import type { RequestHeaders } from '../../headers/request.ts'
import { fieldValue } from '../../http1/fields.ts'
import { ProxyError } from '../../model/errors.ts'
import type { Peer } from '../../model/peer.ts'
import { hasSentContinue } from '../node-internals.ts'
import { BufferedBody, NodeBody, StreamBody } from './bodies.ts'
import { consumedBody, isConsumed } from './consumed-body.ts'
import { isEnding, isUpgradeNotTaken, NodeFront } from './front.ts'
import { isBehindAnother, waitForTurn } from './pipeline.ts'
import { receivedHeaders } from './received-headers.ts'

/** Options of one `proxy.web` call, after names have been resolved. */
export interface WebCall extends ExchangeCall {
  /** The body, if it is not the request's own. */
  readonly body?: Uint8Array | string | Readable | undefined
}

/** A request that is ready to be carried. */
interface Received {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly front: NodeFront
  readonly headers: RequestHeaders
  readonly body: FrontBody | null
  readonly call: ExchangeCall | null
}

/** Carries one request of a node:http server. Never throws. */
export function serveWeb(
  core: Core,
  peer: Peer,
  req: IncomingMessage,
  res: ServerResponse,
  call: WebCall | null,
): void {
  if (isEnding(req.socket, res)) return
  const headers = receivedHeaders(req, peer, core.snapshot.forwarding.requestHeaders)
  const front = new NodeFront(req, res, peer, headers.bodyBytes !== null)
  const body = bodyOf(req, res, headers, call)
  const received =
    body instanceof ProxyError
      ? { req, res, front, headers, body: null, call: { ...call, fault: call?.fault ?? body } }
      : { req, res, front, headers, body, call }
  if (isBehindAnother(req.socket, res)) wait(core, received)
  else begin(core, received)
}

function bodyOf(
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

/** One request at a time on a connection: the exchange and its time limits begin when the response before it has been sent. */
function wait(core: Core, received: Received): void {
  const { req, res, front } = received
  const connect = (): void => void connected(core, received)
  waitForTurn(req.socket, res, {
    onTurn() {
      if (isEnding(req.socket, res)) return
      // The application has responded in the meantime: no backend is needed.
      if (res.headersSent || res.destroyed) front.scope.runInAsyncScope(connect)
      else front.scope.runInAsyncScope(begin, null, core, received)
    },
    onGone() {
      if (!isEnding(req.socket, res)) front.scope.runInAsyncScope(connect)
    },
  })
}

function connected(core: Core, { front, headers, body, call }: Received): Exchange {
  const exchange = new Exchange(core, front, headers, body, call)
  front.connect(exchange.events)
  return exchange
}

function begin(core: Core, received: Received): void {
  const { maxRequestsPerConnection, maxConnectionAgeMs } = core.snapshot.limits
  const { front, req } = received
  const exchange = connected(core, received)
  if (isUpgradeNotTaken(req)) front.isLast = true
  if (maxRequestsPerConnection > 0) front.countRequest(maxRequestsPerConnection)
  if (maxConnectionAgeMs > 0) front.limitAge(core)
  exchange.begin()
}
