import { contentLength, hasListToken, isHost, MAX_CONNECTION_BYTES } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
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

/** The facts on which {@link requestHeaders} acts. */
const READ = NAME | FROM_REQUESTS | FORWARDING | LEFT_TO_NODE

/** How requests' headers are treated; fixed for a proxy. */
export interface RequestHeaderPolicy extends ForwardingPolicy {
  readonly xfwd: boolean
  /** Our name in `Via`, or empty. */
  readonly via: string
}

/** What a request's headers say, and the list that goes to backends. */
export interface RequestHeaders {
  /** What counts for policies and logs: as received, with what the application has changed. */
  readonly counted: Readonly<HeaderList>
  /** For a backend: hop-by-hop and framing headers removed, forwarded ones set. */
  readonly list: HeaderList
  /** `Host` as received, or as the application has set it; empty for none. */
  readonly host: string
  readonly hasHost: boolean
  /** The application has set it: it counts for more than the host of an absolute-form target. */
  readonly isHostSet: boolean
  /** -1 in chunks, `null` for no body. */
  readonly bodyBytes: number | null
  readonly expectsContinue: boolean
  /** `Connection` has `close`. */
  readonly saysClose: boolean
  /** Nothing in it is read in more than one way, or is for node:http: no upgrade, no expectation, each framing header once. */
  readonly isPlain: boolean
  /** X-Forwarded-For as received where the peer is trusted, or as the application has set it; else empty. */
  readonly forwardedFor: string
  /** It has come as far as it may (`Max-Forwards: 0`): we answer. */
  readonly isOurs: boolean
  /** What makes it impossible to pass on, or `null`. */
  readonly fault: string | null
  /** What is wrong with the application's changes, or `null`. */
  readonly misuse: string | null
}

/**
 * The headers of a request as a backend gets them: hop-by-hop ones and those that `Connection` nominates are
 * removed (RFC 9110 section 7.6.1), X-Forwarded-* are set by us, or added to if the peer is trusted; everything else that only
 * a trusted peer may say is removed if it is not. The one walk over a request's headers: framing, too, is decided here
 * (RFC 9112 section 6.3), and {@link classify} is called once a line.
 * @param minorVersion of HTTP/1, or -1 for another version.
 * @param kept lower-case names that `Connection` does not nominate away: the application has set them.
 */
export function requestHeaders(
  raw: Readonly<HeaderList>,
  method: string,
  minorVersion: number,
  peer: Peer,
  policy: RequestHeaderPolicy,
  kept: ReadonlySet<string> | null = null,
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
    const facts = classify(name, READ)
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
          // `close`, and not `keep-alive`.
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
        expectsContinue ||= minorVersion === 1 && hasListToken(value, '100-continue')
        isPlain = false
        break
      case VIA:
        via = join(via, value)
        break
      case MAX_FORWARDS:
        isPlain = false
        // RFC 9110 section 7.6.2; of no meaning for other methods.
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
  if (minorVersion !== 1 && minorVersion !== 0) fault = 'a version other than HTTP/1.1 and HTTP/1.0'
  else if (minorVersion === 1 && !hasHost) fault = 'no Host header'
  if (method === 'TRACE' && (coding !== null || bodyBytes > 0)) fault = 'a body, which TRACE cannot have'
  if (coding !== null) {
    if (length !== null) fault = 'both Content-Length and Transfer-Encoding'
    else if (minorVersion === 0) fault = 'Transfer-Encoding in HTTP/1.0'
    else if (coding.toLowerCase() !== 'chunked') fault = 'a Transfer-Encoding other than chunked'
  }
  if (nominated !== '' && fault === null) removeNominated(list, nominated, KEPT_IN_REQUESTS, kept)
  // Trailers are passed on, so the wish for them is too; TE is hop-by-hop (RFC 9110 section 10.1.4).
  if (takesTrailers) list.push('TE', 'trailers', 'Connection', 'TE')
  if (policy.via !== '') via = join(via, `1.${minorVersion} ${policy.via}`)
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
  return {
    counted: raw,
    list,
    host,
    hasHost,
    isHostSet: false,
    bodyBytes: coding !== null ? -1 : bodyBytes === 0 ? null : bodyBytes,
    expectsContinue,
    saysClose,
    isPlain,
    forwardedFor,
    isOurs: forwards === 0,
    fault,
    misuse: null,
  }
}

function join(list: string, value: string): string {
  return list === '' ? value : value === '' ? list : `${list}, ${value}`
}
