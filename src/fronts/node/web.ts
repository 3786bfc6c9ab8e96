import type { IncomingMessage, ServerResponse } from 'node:http'
import { headLimitFault, ownResponse } from '../../exchange/accept.ts'
import type { ExchangeOverrides } from '../../exchange/exchange.ts'
import type { Peer } from '../../exchange/front.ts'
import type { Destination, Parts } from '../../exchange/services.ts'
import type { RequestHeaders } from '../../headers/request.ts'
import type { Timeouts } from '../../model/exchange-view.ts'
import { hasSentContinue } from '../node-internals.ts'
import { consumedBody, isConsumed } from './consumed-body.ts'
import { BufferedBody, isEnding, isUpgradeNotTaken, NodeBody, NodeFront } from './front.ts'
import { isBehindAnother, waitForTurn } from './pipeline.ts'
import { receivedHeaders } from './received-headers.ts'
import { ScopedExchange } from './scoped-exchange.ts'

/** What one call of `proxy.web` may say differently, below the level of names. */
export interface WebCall extends ExchangeOverrides {
  /** Goes there in place of asking the routes. */
  readonly destination?: Destination | undefined
  /** The body, where the application has read it. */
  readonly body?: Buffer | undefined
  readonly timeouts?: Partial<Timeouts> | undefined
  /** What is wrong with the call itself. */
  readonly fault?: string | undefined
}

/** Carries one request of a node:http server. Never throws. */
export function serveWeb(
  parts: Parts,
  peer: Peer,
  req: IncomingMessage,
  res: ServerResponse,
  call: WebCall | null,
): void {
  if (isEnding(req.socket, res)) return
  const headers = receivedHeaders(req, peer, parts.headerPolicy)
  const front = new NodeFront(req, res, peer, headers.bodyBytes !== null)
  let body: NodeBody | BufferedBody | null = null
  let fault: string | null = null
  if (call?.body !== undefined) body = new BufferedBody(call.body, false)
  else if (headers.bodyBytes !== null && headers.fault === null) {
    if (isConsumed(req)) {
      const consumed = consumedBody(req)
      // A parser that took off a content coding has changed the length.
      if ('bytes' in consumed) body = new BufferedBody(consumed.bytes, consumed.bytes.length !== headers.bodyBytes)
      else fault = consumed.fault
    } else {
      // node has already answered `Expect: 100-continue` where the server has no `checkContinue` listener.
      body = new NodeBody(req, res, headers.bodyBytes, headers.expectsContinue && !hasSentContinue(res))
    }
  }
  if (isBehindAnother(req.socket, res)) wait(res, req, parts, front, headers, body, call, fault)
  else begin(req, parts, front, headers, body, call, fault)
}

/** One request at a time on a connection: the exchange begins when the response before it is out, and so do its limits of time. */
function wait(res: ServerResponse, ...way: Parameters<typeof begin>): void {
  const [{ socket }, parts, front, headers, body, call] = way
  const connect = (): void => front.connect(new ScopedExchange(parts, front, headers, body, call))
  waitForTurn(socket, res, {
    onTurn() {
      if (isEnding(socket, res)) return
      // What the application has answered by itself meanwhile is for no backend.
      if (res.headersSent || res.destroyed) front.scope.runInAsyncScope(connect)
      else front.scope.runInAsyncScope(begin, null, ...way)
    },
    onGone() {
      if (!isEnding(socket, res)) front.scope.runInAsyncScope(connect)
    },
  })
}

function begin(
  req: IncomingMessage,
  parts: Parts,
  front: NodeFront,
  headers: RequestHeaders,
  body: NodeBody | BufferedBody | null,
  call: WebCall | null,
  fault: string | null,
): void {
  const { limits } = parts
  const exchange = new ScopedExchange(parts, front, headers, body, call)
  front.connect(exchange)
  if (headers.fault !== null || isUpgradeNotTaken(req)) front.endAfterwards()
  if (limits.maxRequestsPerConnection > 0) front.countRequest(limits.maxRequestsPerConnection)
  const own = ownResponse(front.method, headers)
  const tooMuch = headLimitFault(front.target, front.headers, limits)
  if (tooMuch !== null) {
    front.endAfterwards()
    exchange.reject(...tooMuch)
  } else if (own !== null) {
    exchange.status = own.status
    front.refuse(own.status, own.headers, own.text)
  } else if (call?.fault !== undefined) exchange.reject('ERR_PROXY_HOOK', call.fault)
  else if (fault === null) exchange.begin(call?.destination ?? null)
  else {
    exchange.reject(
      'ERR_PROXY_BODY_CONSUMED',
      `the request body was read before the proxy, and ${fault}; mount the proxy before body parsers, keep the bytes in req.rawBody, or hand them to proxy.web as { body }`,
    )
  }
}
