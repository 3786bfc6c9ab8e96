import {
  contentLength,
  fieldValue,
  hasListToken,
  isHost,
  isName,
  listMembers,
  MAX_CONNECTION_BYTES,
  removeField,
  removeFields,
} from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { Peer } from '../model/peer.ts'
import type { HeaderEdits } from './edits.ts'
import { forwardingName, plainName, WRITTEN } from './facts.ts'

/** How requests' headers are treated; fixed for a proxy. */
export interface RequestHeaderPolicy {
  readonly xfwd: boolean
  /** Our name in `Via`, or empty. */
  readonly via: string
  /** Of the headers that only trusted proxies may send, those that anybody may; in lower case. */
  readonly pass: ReadonlySet<string>
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
  /** X-Forwarded-For as received where the peer is trusted, or as the application has set it; else empty. */
  readonly forwardedFor: string
  /** It has come as far as it may (`Max-Forwards: 0`): we answer. */
  readonly isOurs: boolean
  /** What makes it impossible to pass on, or `null`. */
  readonly fault: string | null
  /** What is wrong with the application's changes, or `null`. */
  readonly misuse: string | null
}

/** What a client cannot nominate away in `Connection`, besides the family of {@link forwardingName}: what the backend must see, what says how to read the content. */
const NOT_NOMINABLE = new Set([
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'content-range',
  'cache-control',
  'max-forwards',
  'origin',
  'via',
  'cookie',
  'authorization',
])

/**
 * The headers of a request as a backend gets them: hop-by-hop ones and those that `Connection` nominates are
 * removed (RFC 9110 section 7.6.1), X-Forwarded-* are set by us, or added to where the peer is trusted; what else only
 * a trusted peer may say is removed where it is not. Decides by length before it compares: most headers are looked at
 * once and copied.
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
  let expect = ''
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
    const forwarding = forwardingName(name)
    if (forwarding !== null) {
      if (!isPassed(forwarding, name, peer, policy)) continue
      switch (forwarding) {
        case 'x-forwarded-for':
          forwardedFor = join(forwardedFor, value)
          continue
        case 'x-forwarded-host':
          forwardedHost = value
          continue
        case 'x-forwarded-port':
          forwardedPort = value
          continue
        case 'x-forwarded-proto':
          forwardedProto = value
          continue
      }
      list.push(name, value)
      continue
    }
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
      case 10:
        if (isName(name, 'connection')) {
          if (isPlainConnection(value)) continue
          nominated = join(nominated, value)
          if (nominated.length > MAX_CONNECTION_BYTES)
            fault = `a Connection header of more than ${MAX_CONNECTION_BYTES} bytes`
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
      case 16:
        if (isName(name, 'proxy-connection')) continue
        break
      case 17:
        if (isName(name, 'transfer-encoding')) {
          coding = join(coding ?? '', value)
          continue
        }
        if (resembles(name, 'transfer-encoding')) continue
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
  if (nominated !== '' && fault === null) removeNominated(list, nominated, kept)
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
    expectsContinue: expect !== '' && hasListToken(expect, '100-continue') && minorVersion === 1,
    forwardedFor,
    isOurs: forwards === 0,
    fault,
    misuse: null,
  }
}

/** Whether a header of the family of {@link forwardingName} counts. A name that only resembles one never does. */
function isPassed(forwarding: string, name: string, peer: Peer, { pass }: RequestHeaderPolicy): boolean {
  if (forwarding === 'proxy' || (name !== forwarding && name.toLowerCase() !== forwarding)) return false
  return peer.isTrusted || (pass.size > 0 && pass.has(forwarding))
}

/**
 * {@link requestHeaders} of a request in which the application has changed headers: what it set is its word, and goes as
 * it is. Who a client is, it says in place of us, and nobody adds to it.
 */
export function editedRequestHeaders(
  raw: Readonly<HeaderList>,
  edits: HeaderEdits,
  method: string,
  minorVersion: number,
  peer: Peer,
  policy: RequestHeaderPolicy,
): RequestHeaders {
  const counted: HeaderList = []
  /** What goes the way of received headers. */
  const ordinary: HeaderList = []
  const own: HeaderList = []
  const kept = new Set<string>()
  /** Names under which some backends would take a client's header for the application's. */
  const plain = new Set<string>()
  for (const [lower, { values }] of edits.changed) {
    plain.add(plainName(lower))
    if (values.length > 0) kept.add(lower)
  }
  const done = new Set<string>()
  const write = (lower: string, name: string, values: readonly string[]): void => {
    if (done.has(lower)) return
    done.add(lower)
    const forwarding = forwardingName(name)
    for (const value of values) {
      counted.push(name, value)
      if (forwarding === null) ordinary.push(name, value)
      else if (forwarding !== 'proxy') own.push(name, value)
    }
  }
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string
    const value = raw[i + 1] as string
    const lower = name.toLowerCase()
    const edit = edits.changed.get(lower)
    if (edit !== undefined) {
      // What the client sent is checked all the same: that it is there, and only once.
      if (lower === 'host' && (edit.values.length === 0 || done.has(lower))) ordinary.push(name, value)
      write(lower, name, edit.values)
    } else if (!plain.has(plainName(name))) {
      counted.push(name, value)
      ordinary.push(name, value)
    }
  }
  for (const [lower, { name, values }] of edits.changed) write(lower, name, values)
  const headers = requestHeaders(ordinary, method, minorVersion, peer, policy, kept)
  const { list } = headers
  const host = edits.changed.get('host')
  if (host?.values.length === 0) {
    removeField(list, 'host')
    if (fieldValue(list, 'x-forwarded-host') === headers.host) removeField(list, 'x-forwarded-host')
  }
  const forwardedFor = edits.changed.get('x-forwarded-for')?.values.join(', ') ?? ''
  for (const name of WRITTEN) if (kept.has(name)) removeField(list, name)
  list.push(...own)
  return {
    ...headers,
    counted,
    forwardedFor: forwardedFor === '' ? headers.forwardedFor : forwardedFor,
    isHostSet: kept.has('host'),
    ...(host?.values.length === 0 ? { host: '', hasHost: false } : {}),
    misuse: edits.fault,
  }
}

/** Whether a backend that gets its headers by CGI's rules would take it for the other: `Content_Length`. Of the same length, and not the same. */
function resembles(name: string, lower: string): boolean {
  return (
    (name.charCodeAt(0) | 0x20) === lower.charCodeAt(0) && plainName(name) === lower && name.toLowerCase() !== lower
  )
}

/** The usual values nominate nothing. */
function isPlainConnection(value: string): boolean {
  return value === 'keep-alive' || value === 'close' || value === 'Keep-Alive' || value === 'Close' || value === ''
}

function removeNominated(list: HeaderList, nominated: string, kept: ReadonlySet<string> | null): void {
  const names = listMembers(nominated)
  removeFields(
    list,
    (lower) =>
      names.has(lower) && !NOT_NOMINABLE.has(lower) && forwardingName(lower) === null && kept?.has(lower) !== true,
  )
}

function join(list: string, value: string): string {
  return list === '' ? value : value === '' ? list : `${list}, ${value}`
}
