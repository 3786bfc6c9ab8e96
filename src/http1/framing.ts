import type { HeaderList } from '../model/exchange-view.ts'
import { isBoundChallenge } from './connection-auth.ts'
import { contentLength, hasListToken, isName, MAX_CONNECTION_BYTES } from './fields.ts'

/** {@link Framing.bytes} of a chunked body. */
export const CHUNKED = -1
/** {@link Framing.bytes} of a body that ends with the connection. */
export const UNTIL_CLOSE = -2

/** How a message's body is delimited, and whether the connection persists (RFC 9112 sections 6 and 9). */
export interface Framing {
  /** Length of the body; 0 for none, {@link CHUNKED} or {@link UNTIL_CLOSE}. */
  bytes: number
  keepAlive: boolean
  /** There is no body, but an incorrect backend may send one: after HEAD or a 304. */
  mayHaveStray: boolean
  /** Seconds that the peer announced in `Keep-Alive: timeout=`, or -1. */
  keepAliveSeconds: number
  /** Why the message is ambiguous, or `null`. */
  fault: string | null
}

/**
 * Whether a head has a tab in a Transfer-Encoding line. A tab is white space by RFC 9110 section 5.6.3, but node's parser
 * reads `chunked` with a tab as another coding.
 */
export function hasTabInCoding(head: string): boolean {
  return head.includes('\t') && TAB_IN_CODING.test(head)
}

const TAB_IN_CODING = /^transfer-encoding:[^\r\n]*\t/im
const TIMEOUT = /(?:^|[,;\s])timeout\s*=\s*(\d{1,9})/i

/**
 * The framing of a response (RFC 9112 section 6.3). Ambiguous framing (both headers, differing lengths, a coding other
 * than `chunked`) is a fault.
 * @param into is filled and returned, so that a connection can reuse one object for all its responses.
 */
export function responseFraming(
  method: string,
  status: number,
  minorVersion: number,
  headers: Readonly<HeaderList>,
  into: Framing,
): Framing {
  let length: string | null = null
  let bytes = 0
  let coding: string | null = null
  let connectionBytes = 0
  let isBound = false
  into.keepAlive = minorVersion === 1
  into.keepAliveSeconds = -1
  into.mayHaveStray = false
  into.fault = null
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    switch (name.length) {
      case 10: // connection, keep-alive
        if (isName(name, 'connection')) {
          connectionBytes += value.length
          if (connectionBytes > MAX_CONNECTION_BYTES)
            into.fault = `a Connection header of more than ${MAX_CONNECTION_BYTES} bytes`
          else if (hasListToken(value, 'close')) into.keepAlive = false
          else if (minorVersion === 0 && hasListToken(value, 'keep-alive')) into.keepAlive = true
        } else if (isName(name, 'keep-alive')) {
          const seconds = TIMEOUT.exec(value)?.[1]
          if (seconds !== undefined) into.keepAliveSeconds = Number(seconds)
        }
        break
      case 14: // content-length
        if (isName(name, 'content-length')) {
          if (length !== null && length !== value) into.fault = 'differing Content-Lengths'
          bytes = contentLength(value)
          if (bytes < 0) into.fault = 'a malformed Content-Length'
          length = value
        }
        break
      case 16: // www-authenticate
        if (isName(name, 'www-authenticate') && isBoundChallenge(value)) isBound = true
        break
      case 17: // transfer-encoding
        if (isName(name, 'transfer-encoding')) coding = coding === null ? value : `${coding}, ${value}`
        break
    }
  }
  // From now on the connection may be authenticated for one user.
  if (isBound) into.keepAlive = false
  if (into.fault !== null) return into
  if (coding !== null) {
    if (length !== null) into.fault = 'both Content-Length and Transfer-Encoding'
    else if (minorVersion === 0) into.fault = 'Transfer-Encoding in HTTP/1.0'
    else if (coding.toLowerCase() !== 'chunked') into.fault = `an unknown Transfer-Encoding (${coding})`
    if (into.fault !== null) return into
  }
  if (method === 'HEAD' || status === 204 || status === 304 || status < 200) {
    into.bytes = 0
    // A backend that announces a body here may send it, and it would be read as the next response.
    if (status === 204 && (coding !== null || bytes > 0)) into.keepAlive = false
    into.mayHaveStray = method === 'HEAD' || (status === 304 && (coding !== null || bytes > 0))
  } else if (coding !== null) into.bytes = CHUNKED
  else if (length !== null) into.bytes = bytes
  else {
    into.bytes = UNTIL_CLOSE
    into.keepAlive = false
  }
  return into
}
