import type { HeaderList } from '../model/exchange-view.ts'
import { readFields } from './fields.ts'

/** The {@link ChunkedDecoder.fault}s that have their own statuses. */
export const EXTENSIONS_TOO_LARGE = 'chunk extensions too large'
export const TRAILERS_TOO_LARGE = 'trailers too large'

const SIZE = 0
const NAME_START = 1
const NAME = 2
const VALUE_START = 3
const VALUE = 4
const QUOTED = 5
const QUOTED_PAIR = 6
const QUOTED_END = 7
const SIZE_LF = 8
const DATA = 9
const DATA_CR = 10
const DATA_LF = 11
const TRAILERS = 12

const HTAB = 9
const LF = 10
const CR = 13
const SP = 32
const QUOTE = 34
const SEMICOLON = 59
const EQUALS = 61
const BACKSLASH = 92
const DEL = 127
const CRLF_CRLF_BYTES = 4

/** Bounds of chunk extensions and trailers, bytes. */
const MAX_EXTENSION_BYTES = 4096
const MAX_TRAILER_BYTES = 16384
/** The data of a chunk up to this size is moved next to the data before it, so that both are delivered at once. */
const JOINED_BYTES = 2048
/** Up to 2^44: far beyond any chunk, and still exact in a double. */
const MAX_CHUNK_DIGITS = 11

/**
 * Decodes the chunked transfer coding (RFC 9112 section 7.1) from pieces of any size. Strict: CRLF only, no white space
 * around the size.
 */
export class ChunkedDecoder {
  /** The fault, after {@link execute} returned -1. */
  fault = ''
  /** The body is complete. */
  isDone = false
  /** Trailer fields, once {@link isDone}; `null` for none. */
  trailers: HeaderList | null = null
  #state = SIZE
  #digits = 0
  #left = 0
  #extensionBytes = 0
  #trailerText = ''
  /** The data that is not delivered yet, as a range of the bytes being read. */
  #dataFrom = 0
  #dataTo = 0

  /** Prepares for another body. */
  reset(): void {
    this.isDone = false
    this.trailers = null
    this.#state = SIZE
    this.#digits = 0
    this.#left = 0
    this.#extensionBytes = 0
    this.#trailerText = ''
  }

  /**
   * Decodes `bytes[from, to)`. It joins small chunks in place, so it overwrites parts of `bytes`.
   * @returns the position after the last byte read, which is less than `to` if the body ended before; -1 for a {@link fault}.
   */
  execute(bytes: Buffer, from: number, to: number, onData: (chunk: Buffer) => void): number {
    const read = this.#decode(bytes, from, to, onData)
    this.#deliver(bytes, onData)
    return read
  }

  #deliver(bytes: Buffer, onData: (chunk: Buffer) => void): void {
    const from = this.#dataFrom
    const to = this.#dataTo
    this.#dataFrom = 0
    this.#dataTo = 0
    if (to > from) onData(bytes.subarray(from, to))
  }

  #decode(bytes: Buffer, from: number, to: number, onData: (chunk: Buffer) => void): number {
    let i = from
    while (i < to) {
      const code = bytes[i] as number
      switch (this.#state) {
        case SIZE: {
          const digit = hexDigit(code)
          if (digit >= 0) {
            if (++this.#digits > MAX_CHUNK_DIGITS) return this.#fail('a chunk size too large')
            this.#left = this.#left * 16 + digit
          } else if (this.#digits === 0) return this.#fail('a malformed chunk size')
          else if (code === CR) this.#state = SIZE_LF
          else if (code === SEMICOLON) this.#state = NAME_START
          else return this.#fail('a malformed chunk size')
          i++
          break
        }
        case NAME_START:
        case NAME:
        case VALUE_START:
        case VALUE:
        case QUOTED:
        case QUOTED_PAIR:
        case QUOTED_END:
          if (++this.#extensionBytes > MAX_EXTENSION_BYTES) return this.#fail(EXTENSIONS_TOO_LARGE)
          this.#state = extensionState(this.#state, code)
          if (this.#state < 0) return this.#fail('a malformed chunk extension')
          i++
          break
        case SIZE_LF:
          if (code !== LF) return this.#fail('a chunk size not ended by CRLF')
          this.#state = this.#left === 0 ? TRAILERS : DATA
          i++
          break
        case DATA: {
          const take = Math.min(this.#left, to - i)
          if (take > JOINED_BYTES || this.#dataTo === 0) {
            this.#deliver(bytes, onData)
            this.#dataFrom = i
            this.#dataTo = i + take
          } else {
            bytes.copyWithin(this.#dataTo, i, i + take)
            this.#dataTo += take
          }
          i += take
          this.#left -= take
          if (this.#left === 0) this.#state = DATA_CR
          break
        }
        case DATA_CR:
          if (code !== CR) return this.#fail('a chunk longer than its size')
          this.#state = DATA_LF
          i++
          break
        case DATA_LF:
          if (code !== LF) return this.#fail('a chunk not ended by CRLF')
          this.#state = SIZE
          this.#digits = 0
          i++
          break
        default:
          i = this.#readTrailers(bytes, i, to)
          if (this.isDone || i < 0) return i
      }
    }
    return i
  }

  #readTrailers(bytes: Buffer, from: number, to: number): number {
    const before = this.#trailerText.length
    if (before === 0 && bytes[from] === CR && from + 1 < to && bytes[from + 1] === LF) {
      this.isDone = true
      return from + 2
    }
    this.#trailerText += bytes.toString('latin1', from, Math.min(to, from + MAX_TRAILER_BYTES + 4 - before))
    const text = this.#trailerText
    if (text.startsWith('\r\n')) {
      this.isDone = true
      return from + 2 - before
    }
    // The terminator may have begun in the bytes before these.
    const end = text.indexOf('\r\n\r\n', Math.max(0, before - 3))
    if (end < 0) return text.length > MAX_TRAILER_BYTES ? this.#fail(TRAILERS_TOO_LARGE) : to
    const trailers: HeaderList = []
    const fault = readFields(text, 0, end + 2, trailers)
    if (fault !== null) return this.#fail(`${fault} in the trailers`)
    this.trailers = trailers
    this.isDone = true
    return from + end + CRLF_CRLF_BYTES - before
  }

  #fail(fault: string): -1 {
    this.fault = fault
    return -1
  }
}

/**
 * The state after `code` in a chunk extension: `;name`, `;name=value` or `;name="value"`, without white space; -1 for a
 * fault.
 */
function extensionState(state: number, code: number): number {
  const isTchar = TCHARS[code] === 1
  switch (state) {
    case NAME_START:
      return isTchar ? NAME : -1
    case VALUE_START:
      return isTchar ? VALUE : code === QUOTE ? QUOTED : -1
    case QUOTED:
      return code === QUOTE ? QUOTED_END : code === BACKSLASH ? QUOTED_PAIR : isText(code) ? QUOTED : -1
    case QUOTED_PAIR:
      return isText(code) ? QUOTED : -1
  }
  if (code === CR) return SIZE_LF
  if (code === SEMICOLON) return NAME_START
  if (state === NAME && code === EQUALS) return VALUE_START
  return state !== QUOTED_END && isTchar ? state : -1
}

/** RFC 9110 section 5.6.2, by character code. */
const TCHARS = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  TCHARS[char.charCodeAt(0)] = 1

function isText(code: number): boolean {
  return code === HTAB || (code >= SP && code !== DEL)
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48
  const lower = code | 32
  return lower >= 97 && lower <= 102 ? lower - 87 : -1
}
