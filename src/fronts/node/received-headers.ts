import type { IncomingMessage } from 'node:http'
import { editedRequestHeaders } from '../../headers/edited-request.ts'
import { headerEdits } from '../../headers/edits.ts'
import { type RequestHeaderPolicy, type RequestHeaders, requestHeaders } from '../../headers/request.ts'
import { fieldValue, isHost } from '../../http1/fields.ts'
import type { HttpVersion } from '../../model/message.ts'
import type { Peer } from '../../model/peer.ts'

/** The headers of a request that node has read, with the application's changes. */
export function receivedHeaders(req: IncomingMessage, peer: Peer, policy: RequestHeaderPolicy): RequestHeaders {
  const { method = 'GET', rawHeaders } = req
  const version = versionOf(req)
  const edits = headerEdits(req)
  return edits === null
    ? requestHeaders(rawHeaders, method, version, peer, policy)
    : editedRequestHeaders(rawHeaders, edits, method, version, peer, policy)
}

/** The client's version of HTTP. @returns `null` for one that nobody reads. */
export function versionOf({ httpVersionMajor, httpVersionMinor, socket }: IncomingMessage): HttpVersion | null {
  // A stream of HTTP/2 that node has read as HTTP/1.1.
  if ((socket as { httpVersion?: HttpVersion }).httpVersion === '2') return '2'
  if (httpVersionMajor !== 1 || httpVersionMinor > 1) return null
  return httpVersionMinor === 0 ? '1.0' : '1.1'
}

/** The host of {@link receivedHeaders} alone. An invalid one counts as none: a route may match, and the exchange refuses it. */
export function receivedHost(req: IncomingMessage): { readonly host: string; readonly isHostSet: boolean } {
  if (req.httpVersionMajor === 2) {
    const given = req.headers.host
    const host = given ?? String(req.headers[':authority'] ?? '')
    return { host: isHost(host) ? host : '', isHostSet: false }
  }
  const edit = headerEdits(req)?.changed.get('host')
  const host = edit === undefined ? fieldValue(req.rawHeaders, 'host') : edit.values[0]
  return { host: host !== undefined && isHost(host) ? host : '', isHostSet: edit !== undefined && host !== undefined }
}
