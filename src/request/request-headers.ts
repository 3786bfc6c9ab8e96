import { contentLength, hasListToken, isName } from '../http1/fields.ts'
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
  /** What makes it impossible to pass on, or `null`. */
  readonly fault: string | null
}

/** What a client cannot nominate away in `Connection`: what we add, and what the backend must see. */
const NOT_NOMINABLE = new Set([
  'host',
  'content-length',
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
 */
export function requestHeaders(
  raw: Readonly<HeaderList>,
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
      case 14:
        if (isName(name, 'content-length')) {
          if (length !== null && length !== value) fault = 'differing Content-Length headers'
          bodyBytes = contentLength(value)
          if (bodyBytes < 0) fault = 'a malformed Content-Length header'
          length = value
          continue
        }
        break
      case 15:
        if (isName(name, 'x-forwarded-for')) {
          if (peer.isTrusted) forwardedFor = join(forwardedFor, value)
          continue
        }
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
  if (coding !== null) {
    if (length !== null) fault = 'both Content-Length and Transfer-Encoding'
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
    fault,
  }
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
