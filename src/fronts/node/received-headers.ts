import type { IncomingMessage } from 'node:http'
import { editedRequestHeaders } from '../../headers/edited-request.ts'
import { headerEdits } from '../../headers/edits.ts'
import { type RequestHeaderPolicy, type RequestHeaders, requestHeaders } from '../../headers/request.ts'
import type { Peer } from '../../model/peer.ts'

/** The headers of a request that node has read, with the application's changes. */
export function receivedHeaders(req: IncomingMessage, peer: Peer, policy: RequestHeaderPolicy): RequestHeaders {
  const { method = 'GET', rawHeaders } = req
  const minorVersion = req.httpVersionMajor === 1 ? req.httpVersionMinor : -1
  const edits = headerEdits(req)
  return edits === null
    ? requestHeaders(rawHeaders, method, minorVersion, peer, policy)
    : editedRequestHeaders(rawHeaders, edits, method, minorVersion, peer, policy)
}
