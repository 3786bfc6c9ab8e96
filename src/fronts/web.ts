import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Timeouts } from '../model/exchange.ts'
import { Exchange, type ExchangeOverrides } from '../request/exchange.ts'
import type { Peer } from '../request/front.ts'
import type { Destination, Parts } from '../request/parts.ts'
import { consumedBody, isConsumed } from './consumed-body.ts'
import { BufferedBody, isEnding, isUpgradeNotTaken, NodeBody, NodeFront } from './node-front.ts'
import { excess, ownAnswer } from './own-answer.ts'
import { receivedHeaders } from './received-headers.ts'

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
  if (isEnding(req.socket, req)) return
  const { limits } = parts
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
      const wasContinued = (res as { _sent100?: boolean })._sent100 === true
      body = new NodeBody(req, res, headers.bodyBytes, headers.expectsContinue && !wasContinued)
    }
  }
  const exchange = new Exchange(parts, front, headers, body, call)
  front.connect(exchange)
  if (headers.fault !== null || isUpgradeNotTaken(req)) front.endAfterwards()
  if (limits.maxRequestsPerConnection > 0) front.countRequest(limits.maxRequestsPerConnection)
  const own = ownAnswer(front.method, headers)
  const tooMuch = excess(front.target, req.rawHeaders, limits)
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
