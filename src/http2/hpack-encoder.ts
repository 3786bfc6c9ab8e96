import { FIELD_OVERHEAD, TABLE_BYTES } from './hpack-decoder.ts'
import { STATIC_TABLE } from './tables.ts'

const SLOTS = 128
const SLOT = SLOTS - 1
const STATIC_COUNT = STATIC_TABLE.length
/** Longer fields are not worth a place in the table, bytes. */
const LONGEST_INDEXED = 1024
/** Most bytes that a field needs beside its name and its value: an index and two lengths. */
const FIELD_BYTES = 18
/** Most bytes of the table size updates at the start of a block. */
const RESIZE_BYTES = 10
/** Up to this length, bytes are written faster one by one. */
const SHORT = 24

/** Fields that differ from message to message, or would let one client guess what another one sends (RFC 7541 section 7.1). */
const UNINDEXED = new Set([
  ':path',
  'age',
  'content-length',
  'content-range',
  'cookie',
  'etag',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'range',
  'set-cookie',
])

/** Fields that no hop may put into a table (RFC 7541 section 7.1.3). */
const SECRET = new Set(['authorization', 'proxy-authorization'])

/** The first index of each name of the static table, and the indexes of its pairs. */
const STATIC_NAMES = new Map<string, number>()
const STATIC_PAIRS = new Map<string, Map<string, number>>()
STATIC_TABLE.forEach(([name, value], i) => {
  if (!STATIC_NAMES.has(name)) STATIC_NAMES.set(name, i + 1)
  if (value !== '') keep(STATIC_PAIRS, name, value, i + 1)
})

/**
 * Encodes the header blocks of one direction of a connection (RFC 7541). Strings are not Huffman coded: most fields are in the table after
 * their first use, and the code costs more than the bytes that it saves.
 */
export class HpackEncoder {
  /** Number of the insertion, by name and value. */
  readonly #inserted = new Map<string, Map<string, number>>()
  readonly #names: string[] = new Array(SLOTS).fill('')
  readonly #values: string[] = new Array(SLOTS).fill('')
  #insertions = 0
  #count = 0
  #bytes = 0
  #maxBytes = TABLE_BYTES
  /** The smallest size since the last block, which the peer must hear of first (RFC 7541 section 4.2); -1: no change. */
  #smallest = -1

  /** Sets the size that the peer allows (SETTINGS_HEADER_TABLE_SIZE). We use no more than {@link TABLE_BYTES}. */
  resize(bytes: number): void {
    const maxBytes = Math.min(bytes, TABLE_BYTES)
    if (maxBytes === this.#maxBytes) return
    this.#smallest = this.#smallest < 0 ? maxBytes : Math.min(this.#smallest, maxBytes)
    this.#maxBytes = maxBytes
    this.#evict(0)
  }

  /** Most bytes that the block of a list takes. */
  static mostBytes(list: readonly string[]): number {
    let bytes = RESIZE_BYTES
    for (let i = 0; i < list.length; i += 2) {
      bytes += (list[i] as string).length + (list[i + 1] as string).length + FIELD_BYTES
    }
    return bytes
  }

  /** Writes what must precede the fields of a block. @returns the position after it. */
  begin(out: Buffer, at: number): number {
    if (this.#smallest < 0) return at
    let i = writeInteger(out, at, 0x20, 5, this.#smallest)
    if (this.#maxBytes > this.#smallest) i = writeInteger(out, i, 0x20, 5, this.#maxBytes)
    this.#smallest = -1
    return i
  }

  /** Writes a field, whose name is in lower case. @returns the position after it. */
  field(out: Buffer, at: number, name: string, value: string): number {
    const fixed = STATIC_PAIRS.get(name)?.get(value)
    if (fixed !== undefined) {
      out[at] = 0x80 | fixed
      return at + 1
    }
    const inserted = this.#inserted.get(name)?.get(value)
    if (inserted !== undefined) return writeInteger(out, at, 0x80, 7, STATIC_COUNT + 1 + this.#insertions - inserted)
    const index = STATIC_NAMES.get(name) ?? 0
    let i: number
    if (SECRET.has(name)) i = writeInteger(out, at, 0x10, 4, index)
    else if (UNINDEXED.has(name) || name.length + value.length > LONGEST_INDEXED) i = writeInteger(out, at, 0, 4, index)
    else {
      i = writeInteger(out, at, 0x40, 6, index)
      this.#insert(name, value)
    }
    if (index === 0) i = writeString(out, i, name)
    return writeString(out, i, value)
  }

  #insert(name: string, value: string): void {
    const bytes = name.length + value.length + FIELD_OVERHEAD
    this.#evict(bytes)
    if (bytes > this.#maxBytes) return
    const number = ++this.#insertions
    this.#names[number & SLOT] = name
    this.#values[number & SLOT] = value
    this.#count++
    this.#bytes += bytes
    keep(this.#inserted, name, value, number)
  }

  #evict(room: number): void {
    while (this.#count > 0 && this.#bytes + room > this.#maxBytes) {
      const slot = (this.#insertions - this.#count + 1) & SLOT
      const name = this.#names[slot] as string
      const value = this.#values[slot] as string
      this.#bytes -= name.length + value.length + FIELD_OVERHEAD
      this.#count--
      // A pair is inserted only if it is not in the table.
      const values = this.#inserted.get(name) as Map<string, number>
      if (values.size > 1) values.delete(value)
      else this.#inserted.delete(name)
    }
  }
}

function keep(index: Map<string, Map<string, number>>, name: string, value: string, number: number): void {
  const values = index.get(name)
  if (values === undefined) index.set(name, new Map([[value, number]]))
  else values.set(value, number)
}

/** RFC 7541 section 5.1. */
function writeInteger(out: Buffer, at: number, flags: number, prefix: number, value: number): number {
  const mask = (1 << prefix) - 1
  if (value < mask) {
    out[at] = flags | value
    return at + 1
  }
  out[at] = flags | mask
  let i = at + 1
  let rest = value - mask
  while (rest >= 128) {
    out[i++] = (rest & 127) | 128
    rest >>>= 7
  }
  out[i] = rest
  return i + 1
}

/** RFC 7541 section 5.2: latin1, as it is. */
function writeString(out: Buffer, at: number, text: string): number {
  const { length } = text
  const start = writeInteger(out, at, 0, 7, length)
  if (length > SHORT) out.write(text, start, 'latin1')
  else for (let i = 0; i < length; i++) out[start + i] = text.charCodeAt(i)
  return start + length
}
