import type { HeaderList } from '../model/exchange-view.ts'
import { readFields } from './fields.ts'
import { hasTabInCoding } from './framing.ts'

/** {@link RequestParser.parse} found no end of the head yet. */
export const INCOMPLETE = 0
/** The request is not plain: another parser must read it. */
export const NOT_PLAIN = -1

const LF = 10
const CR = 13
const HEAD_END = Buffer.from('\r\n\r\n')
const VERSION = ' HTTP/1.1\r\n'

/** Methods without a special meaning for proxies. */
const METHODS = ['GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']

/** Characters of a plain target: visible ASCII without `#` and backslash. */
const TARGET_CHAR = new Uint8Array(256)
for (let code = 0x21; code < 0x7f; code++) TARGET_CHAR[code] = code === 0x23 || code === 0x5c ? 0 : 1

/**
 * Reads plain request heads: HTTP/1.1, a well-known method, a path as the target, and header lines without folding, bare LFs
 * or control characters. Everything else is {@link NOT_PLAIN}. It accepts a subset of what node's parser accepts, and
 * reads it the same way (test/fuzz). It does not interpret the headers, not even framing.
 */
export class RequestParser {
  // Of the last head:
  method = ''
  target = ''
  headers: HeaderList = []
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
    return this.headers.length > 2 * this.#maxHeaders || hasTabInCoding(text) ? NOT_PLAIN : end + 4 - from
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

  /**
   * Whether an incomplete head can still become plain. If its first bytes rule that out, the client must not wait for
   * the rest.
   */
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
