import { contentLength, hasListToken, isHost, MAX_CONNECTION_BYTES } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { HttpVersion } from '../model/message.ts'
import type { Peer } from '../model/peer.ts'
import {
  CONNECTION,
  CONTENT_LENGTH,
  classify,
  EXPECT,
  FORWARDING,
  FROM_REQUESTS,
  HOST,
  KEPT_IN_REQUESTS,
  LEFT_TO_NODE,
  MAX_FORWARDS,
  NAME,
  TE,
  TRANSFER_ENCODING,
  VIA,
  X_FORWARDED_FOR,
  X_FORWARDED_HOST,
  X_FORWARDED_PORT,
  X_FORWARDED_PROTO,
} from './facts.ts'
import { type ForwardingPolicy, isBelieved } from './forwarding.ts'
import { isPlainConnection, removeNominated } from './nominated.ts'

/** The facts that {@link requestHeaders} needs. */
const WANTED = NAME | FROM_REQUESTS | FORWARDING | LEFT_TO_NODE

/** How to treat the headers of requests; fixed for a proxy. */
export interface RequestHeaderPolicy extends ForwardingPolicy {
  readonly xfwd: boolean
  /** The proxy's name in `Via`; empty for none. */
  readonly via: string
}

/** The meaning of a request's headers, and the list for backends. */
export interface RequestHeaders {
  /** Headers for policies and logs: as received, with the application's changes. */
  readonly counted: Readonly<HeaderList>
  /** Headers for a backend: hop-by-hop and framing headers removed, forwarding headers set. */
  readonly list: HeaderList
  /** `Host` as received, or as the application has set it; empty for none. */
  readonly host: string
  readonly hasHost: boolean
  /** The application has set `Host`, which then overrides the host of an absolute-form target. */
  readonly isHostSet: boolean
  /** Length of the body; -1 for chunks, `null` for no body. */
  readonly bodyBytes: number | null
  readonly expectsContinue: boolean
  /** `Connection` has `close`. */
  readonly saysClose: boolean
  /** The socket front can serve it without node:http: no upgrade, no expectation, each framing header once. */
  readonly isPlain: boolean
  /** X-Forwarded-For from a trusted peer, or as the application has set it; otherwise empty. */
  readonly forwardedFor: string
  /** The same for X-Forwarded-Proto. */
  readonly forwardedProto: string
  /** `Max-Forwards` is 0, so the proxy responds itself. */
  readonly isOurs: boolean
  /** Why the request is refused, to follow "the request has" in a message, or `null`. */
  readonly fault: string | null
  /** Why the application's changes are invalid, or `null`. */
  readonly misuse: string | null
}

/**
 * The headers of a request, as a backend gets them. Hop-by-hop headers and those that `Connection` nominates are removed
 * (RFC 9110 section 7.6.1). X-Forwarded-* are set, or extended if the peer is trusted; other forwarding headers are removed if
 * it is not. This is the only walk over a request's headers: it also decides the framing (RFC 9112 section 6.3), and calls
 * {@link classify} once a line.
 * @param version `null` for one that nobody reads.
 * @param hasBody only of HTTP/2, where no field says so.
 * @param kept lower-case names that the application has set, so that `Connection` cannot remove them.
 */
export function requestHeaders(
  raw: Readonly<HeaderList>,
  method: string,
  version: HttpVersion | null,
  peer: Peer,
  policy: RequestHeaderPolicy,
  kept: ReadonlySet<string> | null = null,
  hasBody = false,
): RequestHeaders {
  const list: HeaderList = []
  let host = ''
  let hasHost = false
  let length: string | null = null
  let bodyBytes = 0
  let coding: string | null = null
  let nominated = ''
  let expectsContinue = false
  let saysClose = false
  let isPlain = true
  let via = ''
  let forwardedFor = ''
  let forwardedHost = ''
  let forwardedProto = ''
  let forwardedPort = ''
  let takesTrailers = false
  const countsForwards = method === 'OPTIONS'
  let forwards = -1
  let fault: string | null = null
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const value = raw[i + 1] as string
    const facts = classify(name, WANTED)
    switch (facts & NAME) {
      case HOST:
        if (hasHost) fault = 'more than one Host header'
        else if (!isHost(value)) fault = 'an invalid Host header'
        host = value
        hasHost = true
        list.push(name, value)
        break
      case CONNECTION:
        if (isPlainConnection(value)) {
          // The value is `close`, not `keep-alive`.
          if (value.length === 5) saysClose = true
          break
        }
        nominated = join(nominated, value)
        if (nominated.length > MAX_CONNECTION_BYTES)
          fault = `a Connection header of more than ${MAX_CONNECTION_BYTES} bytes`
        if (hasListToken(value, 'close')) saysClose = true
        if (hasListToken(value, 'upgrade')) isPlain = false
        break
      case CONTENT_LENGTH:
        if (length !== null) {
          isPlain = false
          if (length !== value) fault = 'differing Content-Length headers'
        }
        bodyBytes = contentLength(value)
        if (bodyBytes < 0) fault = 'a malformed Content-Length header'
        length = value
        break
      case TRANSFER_ENCODING:
        if (coding !== null) isPlain = false
        coding = join(coding ?? '', value)
        break
      case TE:
        takesTrailers ||= hasListToken(value, 'trailers')
        break
      case EXPECT:
        expectsContinue ||= version !== '1.0' && hasListToken(value, '100-continue')
        isPlain = false
        break
      case VIA:
        via = join(via, value)
        break
      case MAX_FORWARDS:
        isPlain = false
        // RFC 9110 section 7.6.2; it has no meaning for other methods.
        if (countsForwards) {
          const left = contentLength(value)
          if (left < 0 || forwards >= 0) fault = 'a malformed Max-Forwards header'
          forwards = left
          list.push(name, String(Math.max(0, left - 1)))
        } else list.push(name, value)
        break
      case X_FORWARDED_FOR:
        if (isBelieved(facts, name, peer, policy)) forwardedFor = join(forwardedFor, value)
        break
      case X_FORWARDED_HOST:
        if (isBelieved(facts, name, peer, policy)) forwardedHost = value
        break
      case X_FORWARDED_PORT:
        if (isBelieved(facts, name, peer, policy)) forwardedPort = value
        break
      case X_FORWARDED_PROTO:
        if (isBelieved(facts, name, peer, policy)) forwardedProto = value
        break
      default:
        if ((facts & LEFT_TO_NODE) !== 0) isPlain = false
        if ((facts & FROM_REQUESTS) !== 0) break
        if ((facts & FORWARDING) === 0 || isBelieved(facts, name, peer, policy)) list.push(name, value)
    }
  }
  if (version === null) fault = 'a version other than HTTP/1.1 and HTTP/1.0'
  else if (version !== '1.0' && !hasHost) fault = 'no Host header'
  if (method === 'TRACE' && (coding !== null || bodyBytes > 0)) fault = 'a body, which TRACE cannot have'
  if (coding !== null) {
    if (length !== null) fault = 'both Content-Length and Transfer-Encoding'
    else if (version === '1.0') fault = 'Transfer-Encoding in HTTP/1.0'
    else if (coding.toLowerCase() !== 'chunked') fault = 'a Transfer-Encoding other than chunked'
  }
  if (nominated !== '' && fault === null) removeNominated(list, nominated, KEPT_IN_REQUESTS, kept)
  // The proxy passes on trailers, so it asks for them too; TE is hop-by-hop (RFC 9110 section 10.1.4).
  if (takesTrailers) list.push('TE', 'trailers', 'Connection', 'TE')
  if (policy.via !== '') via = join(via, `${version} ${policy.via}`)
  if (via !== '') list.push('Via', via)
  if (policy.xfwd) {
    const path = join(forwardedFor, peer.address)
    // A unix socket has neither an address nor a port.
    if (path !== '') list.push('X-Forwarded-For', path)
    list.push('X-Forwarded-Proto', forwardedProto === '' ? (peer.isSecure ? 'https' : 'http') : forwardedProto)
    const shownHost = forwardedHost === '' ? host : forwardedHost
    if (shownHost !== '') list.push('X-Forwarded-Host', shownHost)
    const shownPort = forwardedPort === '' && peer.localPort > 0 ? String(peer.localPort) : forwardedPort
    if (shownPort !== '') list.push('X-Forwarded-Port', shownPort)
  }
  const certificate = peer.identity?.fields ?? null
  if (certificate !== null) list.push(...certificate)
  return {
    counted: raw,
    list,
    host,
    hasHost,
    isHostSet: false,
    bodyBytes: coding !== null || (hasBody && length === null) ? -1 : bodyBytes === 0 ? null : bodyBytes,
    expectsContinue,
    saysClose,
    isPlain,
    forwardedFor,
    forwardedProto,
    isOurs: forwards === 0,
    fault,
    misuse: null,
  }
}

function join(list: string, value: string): string {
  return list === '' ? value : value === '' ? list : `${list}, ${value}`
}
