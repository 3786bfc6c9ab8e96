import { contentLength, hasListToken, isHost, isName } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange.ts'
import type { Peer } from './front.ts'

/** How requests' headers are treated; fixed for a proxy. */
export interface RequestHeaderPolicy {
  readonly xfwd: boolean
  /** Our name in `Via`, or empty. */
  readonly via: string
}

/** What a request's headers say, and the list that goes to backends. */
export interface RequestHeaders {
  /** For a backend: hop-by-hop and framing headers removed, forwarded ones set. */
  readonly list: HeaderList
  /** `Host` as received; empty for none. */
  readonly host: string
  readonly hasHost: boolean
  /** -1 in chunks, `null` for no body. */
  readonly bodyBytes: number | null
  readonly expectsContinue: boolean
  /** X-Forwarded-For as received, where the peer is trusted; else empty. */
  readonly forwardedFor: string
  /** It has come as far as it may (`Max-Forwards: 0`): we answer. */
  readonly isOurs: boolean
  /** What makes it impossible to pass on, or `null`. */
  readonly fault: string | null
}

/** What a client cannot nominate away in `Connection`: what we add, what the backend must see, what says how to read the content. */
const NOT_NOMINABLE = new Set([
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'content-range',
  'cache-control',
  'max-forwards',
  'origin',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'forwarded',
  'via',
  'cookie',
  'authorization',
])

/**
 * The headers of a request as a backend gets them: hop-by-hop ones and those that `Connection` nominates are
 * removed (RFC 9110 section 7.6.1), X-Forwarded-* are set by us, or added to where the peer is trusted.
 * Decides by length before it compares: most headers are looked at once and copied.
 * @param minorVersion of HTTP/1, or -1 for another version.
 */
export function requestHeaders(
  raw: Readonly<HeaderList>,
  method: string,
  minorVersion: number,
  peer: Peer,
  policy: RequestHeaderPolicy,
): RequestHeaders {
  const list: HeaderList = []
  let host = ''
  let hasHost = false
  let length: string | null = null
  let bodyBytes = 0
  let coding: string | null = null
  let nominated = ''
  let expect = ''
  let via = ''
  let forwardedFor = ''
  let forwardedHost = ''
  let forwardedProto = ''
  let forwardedPort = ''
  let takesTrailers = false
  const countsForwards = method === 'OPTIONS' || method === 'TRACE'
  let forwards = -1
  let fault: string | null = null
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const value = raw[i + 1] as string
    switch (name.length) {
      case 2:
        if (isName(name, 'te')) {
          takesTrailers ||= hasListToken(value, 'trailers')
          continue
        }
        break
      case 3:
        if (isName(name, 'via')) {
          via = join(via, value)
          continue
        }
        break
      case 4:
        if (isName(name, 'host')) {
          if (hasHost) fault = 'more than one Host header'
          else if (!isHost(value)) fault = 'an invalid Host header'
          host = value
          hasHost = true
        }
        break
      case 6:
        if (isName(name, 'expect')) {
          expect = value
          continue
        }
        break
      case 7:
        if (isName(name, 'upgrade')) continue
        break
      case 9:
        if (isName(name, 'forwarded') && !peer.isTrusted) continue
        break
      case 10:
        if (isName(name, 'connection')) {
          if (!isPlainConnection(value)) nominated = join(nominated, value)
          continue
        }
        if (isName(name, 'keep-alive')) continue
        break
      case 12:
        // RFC 9110 section 7.6.2; of no meaning for other methods.
        if (countsForwards && isName(name, 'max-forwards')) {
          const left = contentLength(value)
          if (left < 0 || forwards >= 0) fault = 'a malformed Max-Forwards header'
          forwards = left
          list.push(name, String(Math.max(0, left - 1)))
          continue
        }
        break
      case 14:
        if (isName(name, 'content-length')) {
          if (length !== null && length !== value) fault = 'differing Content-Length headers'
          bodyBytes = contentLength(value)
          if (bodyBytes < 0) fault = 'a malformed Content-Length header'
          length = value
          continue
        }
        if (isName(name, 'http2-settings') || resembles(name, 'content-length')) continue
        break
      case 15:
        if (isName(name, 'x-forwarded-for')) {
          if (peer.isTrusted) forwardedFor = join(forwardedFor, value)
          continue
        }
        if (resembles(name, 'x-forwarded-for')) continue
        break
      case 16:
        if (isName(name, 'x-forwarded-host')) {
          if (peer.isTrusted) forwardedHost = value
          continue
        }
        if (isName(name, 'x-forwarded-port')) {
          if (peer.isTrusted) forwardedPort = value
          continue
        }
        if (isName(name, 'proxy-connection')) continue
        if (resembles(name, 'x-forwarded-host') || resembles(name, 'x-forwarded-port')) continue
        break
      case 17:
        if (isName(name, 'transfer-encoding')) {
          coding = join(coding ?? '', value)
          continue
        }
        if (isName(name, 'x-forwarded-proto')) {
          if (peer.isTrusted) forwardedProto = value
          continue
        }
        if (resembles(name, 'x-forwarded-proto') || resembles(name, 'transfer-encoding')) continue
        break
      case 18:
        if (isName(name, 'proxy-authenticate')) continue
        break
      case 19:
        if (isName(name, 'proxy-authorization')) continue
        break
    }
    list.push(name, value)
  }
  if (minorVersion !== 1 && minorVersion !== 0) fault = 'a version other than HTTP/1.1 and HTTP/1.0'
  else if (minorVersion === 1 && !hasHost) fault = 'no Host header'
  if (method === 'TRACE' && (coding !== null || bodyBytes > 0)) fault = 'a body, which TRACE cannot have'
  if (coding !== null) {
    if (length !== null) fault = 'both Content-Length and Transfer-Encoding'
    else if (minorVersion === 0) fault = 'Transfer-Encoding in HTTP/1.0'
    else if (coding.toLowerCase() !== 'chunked') fault = 'a Transfer-Encoding other than chunked'
  }
  if (nominated !== '') removeNominated(list, nominated)
  // Trailers are passed on, so the wish for them is too; TE is hop-by-hop (RFC 9110 section 10.1.4).
  if (takesTrailers) list.push('TE', 'trailers', 'Connection', 'TE')
  if (policy.via !== '') via = join(via, `1.${minorVersion} ${policy.via}`)
  if (via !== '') list.push('Via', via)
  if (policy.xfwd) {
    list.push('X-Forwarded-For', join(forwardedFor, peer.address))
    list.push('X-Forwarded-Proto', forwardedProto === '' ? (peer.isSecure ? 'https' : 'http') : forwardedProto)
    const shownHost = forwardedHost === '' ? host : forwardedHost
    if (shownHost !== '') list.push('X-Forwarded-Host', shownHost)
    list.push('X-Forwarded-Port', forwardedPort === '' ? String(peer.localPort) : forwardedPort)
  }
  return {
    list,
    host,
    hasHost,
    bodyBytes: coding !== null ? -1 : bodyBytes === 0 ? null : bodyBytes,
    expectsContinue: expect !== '' && hasListToken(expect, '100-continue') && minorVersion === 1,
    forwardedFor,
    isOurs: forwards === 0,
    fault,
  }
}

/**
 * Whether a backend that gets its headers by CGI's rules (every character that is no letter or digit becomes `_`), or by
 * the like of them, would take it for the other: `X_Forwarded_For`. Of the same length, and not the same.
 */
function resembles(name: string, lower: string): boolean {
  if ((name.charCodeAt(0) | 0x20) !== lower.charCodeAt(0)) return false
  const plain = name.toLowerCase()
  return plain !== lower && plain.replace(/[^a-z0-9]/g, '-') === lower
}

/** The usual values nominate nothing. */
function isPlainConnection(value: string): boolean {
  return value === 'keep-alive' || value === 'close' || value === 'Keep-Alive' || value === 'Close' || value === ''
}

function removeNominated(list: HeaderList, nominated: string): void {
  const names = new Set(nominated.split(',').map((name) => name.trim().toLowerCase()))
  for (let i = list.length - 2; i >= 0; i -= 2) {
    const lower = (list[i] as string).toLowerCase()
    if (names.has(lower) && !NOT_NOMINABLE.has(lower)) list.splice(i, 2)
  }
}

function join(list: string, value: string): string {
  return list === '' ? value : value === '' ? list : `${list}, ${value}`
}
