import type { HeaderList } from '../model/exchange-view.ts'
import { contentLength, hasListToken, isHost, isName, readFields } from './fields.ts'
import { CHUNKED, hasTabInCoding } from './framing.ts'

/** {@link RequestParser.parse} found no end of the head yet. */
export const INCOMPLETE = 0
/** What is there, or may come of it, is for another parser to judge. */
export const NOT_PLAIN = -1

const LF = 10
const CR = 13
const HEAD_END = Buffer.from('\r\n\r\n')
const VERSION = ' HTTP/1.1\r\n'

/** Methods that carry requests to backends and mean nothing to proxies. */
const METHODS = ['GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']

/** What may stand in a target that passes as it is: visible ASCII, neither a fragment nor a backslash. */
const TARGET_CHAR = new Uint8Array(256)
for (let code = 0x21; code < 0x7f; code++) TARGET_CHAR[code] = code === 0x23 || code === 0x5c ? 0 : 1

/** Whether trailers speak of the connection, as only a head may: node ends it then. */
export function mentionsConnection(trailers: Readonly<HeaderList>): boolean {
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if (isName(name, 'connection') || isName(name, 'proxy-connection') || isName(name, 'upgrade')) return true
  }
  return false
}

/** Whether trailers say again how long the body is, for a receiver that merges them into the head: node refuses them. */
export function mentionsFraming(trailers: Readonly<HeaderList>): boolean {
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if (isName(name, 'content-length') || isName(name, 'transfer-encoding')) return true
  }
  return false
}

/**
 * Reads request heads that leave nothing to guess: HTTP/1.1, a well-known method, a path as the target, one valid Host,
 * no Upgrade, no Expect, and a body of one known length, in chunks, or none. Everything else is {@link NOT_PLAIN}. It takes
 * less than node's parser does, and never anything with another meaning (test/fuzz).
 */
export class RequestParser {
  // What the last head said:
  method = ''
  target = ''
  headers: HeaderList = []
  /** -1 in chunks, `null` for no body. */
  bodyBytes: number | null = null
  /** The client means to send another request on this connection. */
  keepAlive = true
  readonly #maxHeadBytes: number
  readonly #maxHeaders: number

  constructor(maxHeadBytes: number, maxHeaders: number) {
    this.#maxHeadBytes = maxHeadBytes
    this.#maxHeaders = maxHeaders
  }

  /** Reads a head at `from`. @returns its length, {@link INCOMPLETE} or {@link NOT_PLAIN}. */
  parse(bytes: Buffer, from: number, to: number): number {
    const end = bytes.indexOf(HEAD_END, from)
    if (end < 0 || end + 4 > to) return this.#mayBecomePlain(bytes, from, to) ? INCOMPLETE : NOT_PLAIN
    if (end + 4 - from > this.#maxHeadBytes) return NOT_PLAIN
    const text = bytes.toString('latin1', from, end + 2)
    const fields = this.#readRequestLine(text)
    if (fields < 0) return NOT_PLAIN
    this.headers = []
    if (readFields(text, fields, text.length, this.headers) !== null) return NOT_PLAIN
    if (!this.#readHeaders()) return NOT_PLAIN
    return this.bodyBytes === CHUNKED && hasTabInCoding(text) ? NOT_PLAIN : end + 4 - from
  }

  /** @returns where the header lines begin, or -1. */
  #readRequestLine(text: string): number {
    const methodEnd = text.indexOf(' ')
    const method = text.slice(0, methodEnd)
    if (methodEnd < 0 || !METHODS.includes(method) || text[methodEnd + 1] !== '/') return -1
    let i = methodEnd + 1
    while (TARGET_CHAR[text.charCodeAt(i)] === 1) i++
    if (!text.startsWith(VERSION, i)) return -1
    this.method = method
    this.target = text.slice(methodEnd + 1, i)
    return i + VERSION.length
  }

  #readHeaders(): boolean {
    const { headers } = this
    let hasHost = false
    let length: string | null = null
    let isChunked = false
    this.keepAlive = true
    if (headers.length > 2 * this.#maxHeaders) return false
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string
      const value = headers[i + 1] as string
      switch (name.length) {
        case 4:
          if (isName(name, 'host')) {
            if (hasHost || !isHost(value)) return false
            hasHost = true
          }
          break
        case 6:
          if (isName(name, 'expect')) return false
          break
        case 7:
          if (isName(name, 'upgrade')) return false
          break
        case 10:
          if (isName(name, 'connection')) {
            if (hasListToken(value, 'upgrade')) return false
            if (hasListToken(value, 'close')) this.keepAlive = false
          }
          break
        case 12:
          if (isName(name, 'max-forwards')) return false
          break
        case 14:
          if (isName(name, 'content-length')) {
            if (length !== null || contentLength(value) < 0) return false
            length = value
          }
          break
        case 16:
          // node takes it for Connection.
          if (isName(name, 'proxy-connection')) return false
          break
        case 17:
          if (isName(name, 'transfer-encoding')) {
            if (isChunked || value.toLowerCase() !== 'chunked') return false
            isChunked = true
          }
          break
      }
    }
    if (!hasHost || (isChunked && length !== null)) return false
    const bytes = length === null ? 0 : contentLength(length)
    this.bodyBytes = isChunked ? CHUNKED : bytes === 0 ? null : bytes
    return true
  }

  /** Of what is told by its first bytes, nobody should have to wait for an end. */
  #mayBecomePlain(bytes: Buffer, from: number, to: number): boolean {
    if (to - from >= this.#maxHeadBytes) return false
    const lf = bytes.indexOf(LF, from)
    if (lf < 0 || lf >= to) {
      const start = bytes.toString('latin1', from, Math.min(to, from + 9))
      return METHODS.some((method) => `${method} /`.startsWith(start) || start.startsWith(`${method} /`))
    }
    if (this.#readRequestLine(bytes.toString('latin1', from, lf + 1)) < 0) return false
    for (let i = bytes.indexOf(LF, lf + 1); i >= 0 && i < to; i = bytes.indexOf(LF, i + 1)) {
      if (bytes[i - 1] !== CR) return false
    }
    return true
  }
}
