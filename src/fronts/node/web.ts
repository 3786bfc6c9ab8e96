import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ExchangeCall } from '../../exchange/call.ts'
import { Exchange } from '../../exchange/exchange.ts'
import type { FrontBody } from '../../exchange/front.ts'
import type { Core } from '../../exchange/services.ts'
import type { RequestHeaders } from '../../headers/request.ts'
import { ProxyError } from '../../model/errors.ts'
import type { Peer } from '../../model/peer.ts'
import { isEnding, isUpgradeNotTaken, NodeFront } from './front.ts'
import { serveHttp2 } from './http2-web.ts'
import { isBehindAnother, waitForTurn } from './pipeline.ts'
import { receivedHeaders } from './received-headers.ts'
import { bodyOf, type WebCall } from './web-body.ts'

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
  // node:http takes the version that a request line claims.
  if (req.httpVersionMajor === 2 && 'stream' in req) return serveHttp2(core, peer, req, res, call)
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
