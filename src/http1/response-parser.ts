import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { ChunkedDecoder } from './chunked.ts'
import { isFieldValue, readFields } from './fields.ts'
import { CHUNKED, type Framing, hasTabInCoding, responseFraming, UNTIL_CLOSE } from './framing.ts'
import { otherProtocol } from './other-protocol.ts'

/** Callbacks of a {@link ResponseParser}; called synchronously, in the order of the wire. */
export interface ResponseHandler {
  onInformational(head: ResponseHead): void
  onHead(head: ResponseHead): void
  /** `chunk` is valid only during the call. */
  onData(chunk: Buffer): void
}

const HEAD = 0
const FIXED = 1
const CHUNKS = 2
const TO_CLOSE = 3
const DONE = 4

const LF = 10
const CR = 13
const HEAD_END = Buffer.from('\r\n\r\n')

/** Bounds of a {@link ResponseParser}. */
export interface ResponseBounds {
  /** Size of a head, bytes. */
  readonly maxResponseHeadBytes: number
  /** Interim responses (1xx) before the final one. */
  readonly maxInterimResponses: number
}

/**
 * Reads the responses of one connection (RFC 9112), one after another, from pieces of any size. It does no I/O. It is
 * strict: anything that is not valid HTTP/1.x is a fault, after which the parser cannot continue.
 */
export class ResponseParser {
  /** The fault, after {@link execute} returned -1. */
  fault = ''
  /** Trailer fields of the complete response; `null` for none. */
  trailers: HeaderList | null = null
  readonly framing: Framing = {
    bytes: 0,
    keepAlive: false,
    mayHaveStray: false,
    keepAliveSeconds: -1,
    fault: null,
  }
  readonly #handler: ResponseHandler
  readonly #bounds: ResponseBounds
  readonly #chunks = new ChunkedDecoder()
  readonly #onChunk = (chunk: Buffer): void => this.#handler.onData(chunk)
  #state = DONE
  #method = ''
  #mayUpgrade = false
  #left = 0
  #informational = 0
  /** The bytes of an incomplete head. */
  #partial: Buffer | null = null

  constructor(handler: ResponseHandler, bounds: ResponseBounds) {
    this.#handler = handler
    this.#bounds = bounds
  }

  /**
   * Expects the response to a request with this method.
   * @param mayUpgrade the request asked for an upgrade, so that a 101 is a final response.
   */
  start(method: string, mayUpgrade = false): void {
    this.#method = method
    this.#mayUpgrade = mayUpgrade
    this.#state = HEAD
    this.#informational = 0
    this.#partial = null
    this.trailers = null
  }

  /** Whether the response has been read to its end. */
  get isDone(): boolean {
    return this.#state === DONE
  }

  /** Whether the final head has been read. */
  get hasHead(): boolean {
    return this.#state !== HEAD
  }

  /**
   * @returns the position after the last byte read, which is less than `to` if bytes follow the response; -1 for a
   * {@link fault}.
   */
  execute(bytes: Buffer, from: number, to: number): number {
    let i = from
    while (i < to && this.#state !== DONE) {
      switch (this.#state) {
        case HEAD:
          i = this.#readHead(bytes, i, to)
          if (i < 0) return -1
          break
        case FIXED: {
          const take = Math.min(this.#left, to - i)
          this.#left -= take
          if (this.#left === 0) this.#state = DONE
          this.#handler.onData(bytes.subarray(i, i + take))
          i += take
          break
        }
        case CHUNKS:
          i = this.#chunks.execute(bytes, i, to, this.#onChunk)
          if (i < 0) return this.#fail(this.#chunks.fault)
          if (this.#chunks.isDone) {
            this.trailers = this.#chunks.trailers
            this.#state = DONE
          }
          break
        default:
          this.#handler.onData(bytes.subarray(i, to))
          i = to
      }
    }
    return i
  }

  /** The connection has ended. @returns whether the response is complete. */
  finish(): boolean {
    if (this.#state === TO_CLOSE) this.#state = DONE
    return this.#state === DONE
  }

  #readHead(bytes: Buffer, from: number, to: number): number {
    let source = bytes
    let start = from
    let end: number
    const partial = this.#partial
    if (partial === null) {
      end = bytes.indexOf(HEAD_END, from)
      // The buffer may hold older bytes after `to`.
      if (end + 4 > to) end = -1
    } else {
      source = Buffer.concat([partial, bytes.subarray(from, to)])
      start = 0
      end = source.indexOf(HEAD_END, Math.max(0, partial.length - 3))
    }
    const length = (end < 0 ? (partial === null ? to : source.length) : end) - start
    const { maxResponseHeadBytes } = this.#bounds
    if (length > maxResponseHeadBytes) return this.#fail(`a head larger than ${maxResponseHeadBytes} bytes`)
    if (end < 0) {
      // Rejects garbage by its first bytes: the end of the head may never come.
      if (!mayBeStatusLine(source.toString('latin1', start, start + Math.min(length, 8))))
        return this.#fail(notHttp1(source.subarray(start, start + length)))
      // Lines that end with LF alone would never end the head either.
      if (hasBareLf(source, partial === null ? start : Math.max(0, partial.length - 1), start + length))
        return this.#fail('a line not ended by CRLF')
      this.#partial = partial === null ? Buffer.from(bytes.subarray(from, to)) : source
      return to
    }
    this.#partial = null
    if (!this.#parseHead(source.toString('latin1', start, end + 2))) return -1
    const consumed = end + 4 - start
    return partial === null ? from + consumed : from + consumed - partial.length
  }

  #parseHead(text: string): boolean {
    const lineEnd = text.indexOf('\r\n')
    // HTTP/1.1 200 OK
    const minor = text.charCodeAt(7) - 48
    const status = statusCode(text)
    if (!text.startsWith('HTTP/1.') || (minor !== 0 && minor !== 1) || text[8] !== ' ' || status < 0)
      return this.#refuse(notHttp1(Buffer.from(text, 'latin1')))
    if (lineEnd > 12 && text[12] !== ' ') return this.#refuse(notHttp1(Buffer.from(text, 'latin1')))
    const reason = lineEnd > 13 ? text.slice(13, lineEnd) : ''
    if (!isFieldValue(reason)) return this.#refuse('a control character in the status line')
    const headers: HeaderList = []
    const fault = readFields(text, lineEnd + 2, text.length, headers)
    if (fault !== null) return this.#refuse(fault)
    const framing = responseFraming(this.#method, status, minor, headers, this.framing)
    if (framing.fault !== null) return this.#refuse(framing.fault)
    if (framing.bytes === CHUNKED && hasTabInCoding(text)) return this.#refuse('a tab in its Transfer-Encoding')
    if (status === 101 && !this.#mayUpgrade) return this.#refuse('101 Switching Protocols without a request for it')
    if (status < 200 && status !== 101) {
      const { maxInterimResponses } = this.#bounds
      if (++this.#informational > maxInterimResponses)
        return this.#refuse(`more than ${maxInterimResponses} interim responses`)
      this.#handler.onInformational({ status, reason, headers, bodyBytes: 0 })
      return true
    }
    this.#left = framing.bytes
    if (framing.bytes === CHUNKED) {
      this.#chunks.reset()
      this.#state = CHUNKS
    } else if (framing.bytes === UNTIL_CLOSE) this.#state = TO_CLOSE
    else this.#state = framing.bytes === 0 ? DONE : FIXED
    this.#handler.onHead({ status, reason, headers, bodyBytes: framing.bytes < 0 ? -1 : framing.bytes })
    return true
  }

  #refuse(fault: string): false {
    this.fault = fault
    return false
  }

  #fail(fault: string): -1 {
    this.fault = fault
    return -1
  }
}

function hasBareLf(bytes: Buffer, from: number, to: number): boolean {
  for (let i = bytes.indexOf(LF, from); i >= 0 && i < to; i = bytes.indexOf(LF, i + 1)) {
    if (i > 0 && bytes[i - 1] !== CR) return true
  }
  return false
}

function mayBeStatusLine(first: string): boolean {
  return 'HTTP/1.0'.startsWith(first) || 'HTTP/1.1'.startsWith(first)
}

/** What a backend has sent in place of a status line. */
function notHttp1(bytes: Uint8Array): string {
  const other = otherProtocol(bytes)
  if (other === 'TLS') return 'TLS in place of a response; is it an https:// backend?'
  if (other === 'HTTP/2') return "HTTP/2 in place of a response of HTTP/1.x; is its protocol 'h2'?"
  return 'something else than an HTTP/1.x status line'
}

/** The three digits at position 9, or -1. */
function statusCode(text: string): number {
  let status = 0
  for (let i = 9; i < 12; i++) {
    const digit = text.charCodeAt(i) - 48
    if (!(digit >= 0 && digit <= 9)) return -1
    status = status * 10 + digit
  }
  return status >= 100 ? status : -1
}
