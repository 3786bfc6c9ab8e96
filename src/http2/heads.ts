import { contentLength, isToken, isVisible, removeField } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import type { FieldBlock } from './hpack-decoder.ts'

/** A request as its fields say (RFC 9113 section 8.3.1). */
export interface RequestFields {
  readonly method: string
  /** `:path`. */
  readonly target: string
  /** `:protocol` of an extended CONNECT (RFC 8441), in lower case; empty for none. */
  readonly protocol: string
  /** The regular fields, with `host` first. */
  readonly headers: HeaderList
  /** Bytes that Content-Length announces; -1 without one. */
  readonly expectedBytes: number
  /** Why the request is refused, to follow "the request has", or `null`. */
  readonly fault: string | null
}

/** Fields of connections of HTTP/1.1 (RFC 9113 section 8.2.2). */
const CONNECTION_FIELDS = new Set(['connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'upgrade'])

/** @returns `null` for a malformed request, whose stream is reset (RFC 9113 section 8.1.1). */
export function readRequest(block: FieldBlock, isEnd: boolean): RequestFields | null {
  let method: string | undefined
  let scheme: string | undefined
  let authority: string | undefined
  let path: string | undefined
  let protocol: string | undefined
  const { pseudo } = block
  for (let i = 0; i < pseudo.length; i += 2) {
    const value = pseudo[i + 1] as string
    switch (pseudo[i]) {
      case ':method':
        if (method !== undefined) return null
        method = value
        break
      case ':scheme':
        if (scheme !== undefined) return null
        scheme = value
        break
      case ':authority':
        if (authority !== undefined) return null
        authority = value
        break
      case ':path':
        if (path !== undefined) return null
        path = value
        break
      case ':protocol':
        if (protocol !== undefined) return null
        protocol = value
        break
      default:
        return null
    }
  }
  if (block.isTooLarge) {
    // They may be among what was not kept. It is refused for its size.
    method ??= 'GET'
    scheme ??= 'http'
    path ??= '/'
  }
  if (method === undefined || !isToken(method)) return null
  const isPlainConnect = method === 'CONNECT' && protocol === undefined
  if (
    isPlainConnect
      ? scheme !== undefined || path !== undefined
      : scheme === undefined || path === undefined || path === ''
  )
    return null
  if (protocol !== undefined && method !== 'CONNECT') return null
  const fields = readFields(block.list, authority)
  if (fields === null || (isEnd && fields.expectedBytes > 0)) return null
  const fault = isPlainConnect
    ? 'the method CONNECT, which is for forward proxies'
    : (fields.fault ??
      schemeFault(scheme as string) ??
      targetFault(method, path as string) ??
      (protocol !== undefined && fields.expectedBytes >= 0 ? 'a Content-Length, which CONNECT cannot have' : null))
  const { headers, expectedBytes } = fields
  return {
    method,
    target: path ?? authority ?? '',
    protocol: protocol?.toLowerCase() ?? '',
    headers,
    expectedBytes,
    fault,
  }
}

function schemeFault(scheme: string): string | null {
  return /^https?$/i.test(scheme) ? null : 'a scheme other than http and https'
}

function targetFault(method: string, path: string): string | null {
  if (path === '*') return method === 'OPTIONS' ? null : 'the path *, which is for OPTIONS'
  if (!path.startsWith('/')) return 'a path that does not begin with /'
  return isVisible(path) ? null : 'a path with white space'
}

/** The regular fields of a request. @returns `null` if they are malformed. */
function readFields(
  list: Readonly<HeaderList>,
  authority: string | undefined,
): { headers: HeaderList; expectedBytes: number; fault: string | null } | null {
  const headers: HeaderList = authority === undefined ? [] : ['host', authority]
  let expectedBytes = -1
  let cookieAt = -1
  let hasHost = false
  let fault: string | null = null
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] as string
    const value = list[i + 1] as string
    switch (name) {
      case 'host':
        if (hasHost || (authority !== undefined && value.toLowerCase() !== authority.toLowerCase()))
          fault = 'a Host header that differs from its authority, or more than one'
        hasHost = true
        if (authority === undefined) headers.unshift(name, value)
        continue
      case 'cookie':
        // Section 8.2.3.
        if (cookieAt >= 0) {
          headers[cookieAt] += `; ${value}`
          continue
        }
        cookieAt = headers.length + 1
        break
      case 'content-length': {
        const bytes = contentLength(value)
        if (bytes < 0) return null
        if (expectedBytes >= 0 && bytes !== expectedBytes) fault = 'differing Content-Length headers'
        expectedBytes = bytes
        break
      }
      case 'te':
        if (value.toLowerCase() !== 'trailers') return null
        break
      case 'http2-settings':
        continue
      default:
        if (CONNECTION_FIELDS.has(name)) return null
    }
    headers.push(name, value)
  }
  return { headers, expectedBytes, fault }
}

const MAX_NAMES = 1000
const lowerNames = new Map<string, string>()

/** A name in lower case. Names are few; those of a hostile backend are not remembered for ever. */
function lowerName(name: string): string {
  const known = lowerNames.get(name)
  if (known !== undefined) return known
  const lower = name.toLowerCase()
  if (lowerNames.size >= MAX_NAMES) lowerNames.clear()
  lowerNames.set(name, lower)
  return lower
}

/** The fields of a head or a trailer section, without those of HTTP/1.1's connections. The list is the caller's. */
export function fieldsOf(headers: Readonly<HeaderList>): HeaderList {
  const fields: HeaderList = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = lowerName(headers[i] as string)
    if (!CONNECTION_FIELDS.has(name)) fields.push(name, trimmed(headers[i + 1] as string))
  }
  return fields
}

/** Without the white space at its ends that no value may have (RFC 9113 section 8.2.1); of other bytes some would be white space in Unicode. */
function trimmed(value: string): string {
  return /^[ \t]|[ \t]$/.test(value) ? value.replace(/^[ \t]+|[ \t]+$/g, '') : value
}

/**
 * The fields of a request to a backend: without `host`, which goes as `:authority`, and of `te` only `trailers` (RFC 9113 section
 * 8.2.2).
 */
export function requestFieldsOf(headers: Readonly<HeaderList>): HeaderList {
  const fields = fieldsOf(headers)
  let to = 0
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    if (name === 'host' || (name === 'te' && fields[i + 1]?.toLowerCase() !== 'trailers')) continue
    fields[to] = name
    fields[to + 1] = fields[i + 1] as string
    to += 2
  }
  fields.length = to
  return fields
}

/** The fields of a response to a client. */
export function responseFieldsOf({ status, headers }: Pick<ResponseHead, 'status' | 'headers'>): HeaderList {
  const fields = fieldsOf(headers)
  // RFC 9110 section 8.6. A transform may have made it 204.
  if (status === 204) removeField(fields, 'content-length')
  return fields
}

/** A response as its fields say (RFC 9113 section 8.3.2). */
export interface ResponseFields {
  readonly status: number
  /** Bytes that Content-Length announces; -1 without one. */
  readonly expectedBytes: number
}

/** @returns what is wrong, to follow "sent", as text. */
export function readResponse(block: FieldBlock): ResponseFields | string {
  const { pseudo, list } = block
  const status = pseudo[1] as string
  if (pseudo.length !== 2 || pseudo[0] !== ':status' || !/^[1-9]\d\d$/.test(status)) return 'a head without one :status'
  let expectedBytes = -1
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] as string
    if (CONNECTION_FIELDS.has(name)) return `a head with ${name}, which HTTP/2 does not have`
    if (name !== 'content-length') continue
    const bytes = contentLength(list[i + 1] as string)
    if (bytes < 0) return 'an invalid Content-Length'
    if (expectedBytes >= 0 && bytes !== expectedBytes) return 'differing Content-Length headers'
    expectedBytes = bytes
  }
  return { status: Number(status), expectedBytes }
}
