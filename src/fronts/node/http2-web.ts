import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import { Exchange } from '../../exchange/exchange.ts'
import type { Core } from '../../exchange/services.ts'
import { editedRequestHeaders } from '../../headers/edited-request.ts'
import { headerEdits } from '../../headers/edits.ts'
import { requestHeaders } from '../../headers/request.ts'
import { type RequestFields, readRequest } from '../../http2/heads.ts'
import { CODE } from '../../http2/protocol.ts'
import { ProxyError } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { Peer } from '../../model/peer.ts'
import { Http2CompatFront } from './http2-front.ts'
import { bodyOf, type WebCall } from './web-body.ts'

/** A request of the compatibility API; node's types do not say what it shares with one of node:http. */
type CompatRequest = IncomingMessage & Http2ServerRequest & { readonly stream: ServerHttp2Stream }

/** Carries one request of an application's node:http2 server (the compatibility API). Never throws. */
export function serveHttp2(
  core: Core,
  peer: Peer,
  given: IncomingMessage,
  givenResponse: ServerResponse,
  call: WebCall | null,
): void {
  const req = given as CompatRequest
  const res = givenResponse as unknown as Http2ServerResponse
  const { stream } = req
  // Its errors say what 'close' says too, and one that nobody hears ends the process.
  stream.on('error', ignore)
  req.on('error', ignore)
  res.on('error', ignore)
  if (stream.destroyed) return
  const isEnd = stream.endAfterHeaders
  const fields = readFields(req, isEnd)
  if (fields === null) return stream.close(CODE.PROTOCOL_ERROR)
  const { method, headers: raw } = fields
  const policy = core.snapshot.forwarding.requestHeaders
  const edits = headerEdits({ headers: viewOf(req), rawHeaders: raw })
  const read =
    edits === null
      ? requestHeaders(raw, method, '2', peer, policy, null, !isEnd)
      : editedRequestHeaders(raw, edits, method, '2', peer, policy, !isEnd)
  const headers = { ...read, fault: fields.fault ?? read.fault }
  const front = new Http2CompatFront(fields, req, res, peer)
  const body = bodyOf(req, givenResponse, headers, call)
  const fault = body instanceof ProxyError ? { ...call, fault: call?.fault ?? body } : call
  const exchange = new Exchange(core, front, headers, body instanceof ProxyError ? null : body, fault)
  front.connect(exchange.events)
  exchange.begin()
}

/** The head as the application has it: it may have changed the method, and the URL (below a mount path). */
function readFields(req: CompatRequest, isEnd: boolean): RequestFields | null {
  const { rawHeaders } = req
  const pseudo: HeaderList = []
  const list: HeaderList = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const value = rawHeaders[i + 1] as string
    if (!name.startsWith(':')) list.push(name, value)
    else pseudo.push(name, name === ':method' ? (req.method ?? value) : name === ':path' ? (req.url ?? value) : value)
  }
  return readRequest({ pseudo, list, bytes: 0, isTooLarge: false, isMalformed: false }, isEnd)
}

/** `req.headers` as they are with HTTP/1.1: no pseudo fields, and a host. */
function viewOf({ headers }: CompatRequest): Record<string, unknown> {
  const view: Record<string, unknown> = {}
  const host = headers.host ?? headers[':authority']
  if (host !== undefined) view.host = host
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(':') && name !== 'host' && name !== 'http2-settings') view[name] = value
  }
  return view
}

function ignore(): void {}
