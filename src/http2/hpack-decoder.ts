import { isFieldValue } from '../http1/fields.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { decodeHuffman } from './huffman.ts'
import { STATIC_TABLE } from './tables.ts'

/** Size of the dynamic table that we offer, which is the default (RFC 9113 section 6.5.2), bytes. */
export const TABLE_BYTES = 4096
/** What each field counts beside its name and value (RFC 7541 section 4.1), bytes. */
export const FIELD_OVERHEAD = 32
/** More entries than fit into the table. */
const SLOTS = 128
const SLOT = SLOTS - 1
const STATIC_COUNT = STATIC_TABLE.length
const COLON = 58
const SP = 32
const HTAB = 9

/** Bounds of a decoded list (RFC 9113 section 6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE). */
export interface ListBounds {
  /** Names, values and 32 for each field, bytes. */
  readonly maxHeadBytes: number
  /** Number of regular fields. */
  readonly maxHeaders: number
}

/** The fields of one header block. */
export class FieldBlock {
  /** Pseudo-header fields, which begin with a colon: names and values by turns. */
  readonly pseudo: string[] = []
  readonly list: HeaderList = []
  /** Names, values and 32 for each field, bytes; also of fields that were not kept. */
  bytes = 0
  /** It exceeds its bounds; the rest was not kept. */
  isTooLarge = false
  /** A name or a value is not allowed, or a pseudo-header field follows a regular one (RFC 9113 section 8.2 and 8.3). */
  isMalformed = false
}

/** Decodes the header blocks of one direction of a connection (RFC 7541). After a fault it cannot go on. */
export class HpackDecoder {
  readonly #names: string[] = new Array(SLOTS).fill('')
  readonly #values: string[] = new Array(SLOTS).fill('')
  /** Whether the entry's name is not allowed (1), or its value (2). */
  readonly #flaws = new Uint8Array(SLOTS)
  readonly #bounds: ListBounds
  #newest = 0
  #count = 0
  #bytes = 0
  #maxBytes = TABLE_BYTES
  /** Position in the block. */
  #at = 0

  constructor(bounds: ListBounds) {
    this.#bounds = bounds
  }

  /** @returns `null` for a compression error (RFC 7541 sections 2.3.3, 4.2, 5.1, 5.2, 6.1, 6.3). */
  decode(bytes: Buffer, from: number, to: number): FieldBlock | null {
    const block = new FieldBlock()
    let mayResize = true
    this.#at = from
    while (this.#at < to) {
      const first = bytes[this.#at] as number
      if ((first & 0xe0) === 0x20) {
        const size = this.#integer(bytes, to, 5)
        if (size < 0 || size > TABLE_BYTES || !mayResize) return null
        this.#maxBytes = size
        this.#evict(0)
        continue
      }
      mayResize = false
      if ((first & 0x80) !== 0 ? !this.#indexed(bytes, to, block) : !this.#literal(bytes, to, first, block)) return null
    }
    return block
  }

  /** Section 6.1. */
  #indexed(bytes: Buffer, to: number, block: FieldBlock): boolean {
    const index = this.#integer(bytes, to, 7)
    if (index <= 0) return false
    if (index <= STATIC_COUNT) {
      const [name, value] = STATIC_TABLE[index - 1] as (typeof STATIC_TABLE)[number]
      this.#keep(block, name, value, 0)
      return true
    }
    const slot = this.#slot(index)
    if (slot < 0) return false
    this.#keep(block, this.#names[slot] as string, this.#values[slot] as string, this.#flaws[slot] as number)
    return true
  }

  /** Section 6.2. */
  #literal(bytes: Buffer, to: number, first: number, block: FieldBlock): boolean {
    const isIndexed = (first & 0x40) !== 0
    const index = this.#integer(bytes, to, isIndexed ? 6 : 4)
    if (index < 0) return false
    let name: string | null
    let flaws = 0
    if (index === 0) {
      name = this.#string(bytes, to)
      if (name === null) return false
      if (!isName(name)) flaws = 1
    } else if (index <= STATIC_COUNT) {
      name = (STATIC_TABLE[index - 1] as (typeof STATIC_TABLE)[number])[0]
    } else {
      const slot = this.#slot(index)
      if (slot < 0) return false
      name = this.#names[slot] as string
      flaws = (this.#flaws[slot] as number) & 1
    }
    const value = this.#string(bytes, to)
    if (value === null) return false
    if (!isValue(value)) flaws |= 2
    if (isIndexed) this.#add(name, value, flaws)
    this.#keep(block, name, value, flaws)
    return true
  }

  #keep(block: FieldBlock, name: string, value: string, flaws: number): void {
    block.bytes += name.length + value.length + FIELD_OVERHEAD
    const { maxHeadBytes, maxHeaders } = this.#bounds
    if (block.bytes > maxHeadBytes) block.isTooLarge = true
    if (block.isTooLarge) return
    if (flaws !== 0) block.isMalformed = true
    if (name.charCodeAt(0) === COLON) {
      if (block.list.length > 0) block.isMalformed = true
      block.pseudo.push(name, value)
    } else if (block.list.length >= 2 * maxHeaders) block.isTooLarge = true
    else block.list.push(name, value)
  }

  /** Section 5.1. @returns -1 for more than 28 bits, or an incomplete number. */
  #integer(bytes: Buffer, to: number, prefix: number): number {
    const mask = (1 << prefix) - 1
    let value = (bytes[this.#at++] as number) & mask
    if (value < mask) return value
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= to) return -1
      const byte = bytes[this.#at++] as number
      value += (byte & 127) << shift
      if (byte < 128) return value
    }
    return -1
  }

  /** Section 5.2, as latin1. */
  #string(bytes: Buffer, to: number): string | null {
    if (this.#at >= to) return null
    const isCoded = ((bytes[this.#at] as number) & 0x80) !== 0
    const length = this.#integer(bytes, to, 7)
    const start = this.#at
    const end = start + length
    if (length < 0 || end > to) return null
    this.#at = end
    return isCoded ? decodeHuffman(bytes, start, end) : bytes.toString('latin1', start, end)
  }

  /** The place of an entry of the dynamic table; -1 if there is none. */
  #slot(index: number): number {
    const age = index - STATIC_COUNT - 1
    return age < this.#count ? (this.#newest - age) & SLOT : -1
  }

  /** Sections 4.4 and 4.1: an entry that is too large empties the table. */
  #add(name: string, value: string, flaws: number): void {
    const bytes = name.length + value.length + FIELD_OVERHEAD
    this.#evict(bytes)
    if (bytes > this.#maxBytes) return
    const slot = (this.#newest + 1) & SLOT
    this.#newest = slot
    this.#names[slot] = name
    this.#values[slot] = value
    this.#flaws[slot] = flaws
    this.#count++
    this.#bytes += bytes
  }

  /** Removes the oldest entries until there is room for so many bytes. */
  #evict(room: number): void {
    while (this.#count > 0 && this.#bytes + room > this.#maxBytes) {
      const slot = (this.#newest - this.#count + 1) & SLOT
      this.#bytes -= (this.#names[slot] as string).length + (this.#values[slot] as string).length + FIELD_OVERHEAD
      this.#count--
    }
  }
}

/** `tchar` in lower case (RFC 9113 section 8.2.1), by character code. */
const NAME_CHAR = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME_CHAR[char.charCodeAt(0)] = 1

/** A name in lower case, with or without the colon of a pseudo-header field. */
function isName(name: string): boolean {
  const start = name.charCodeAt(0) === COLON ? 1 : 0
  for (let i = start; i < name.length; i++) if (NAME_CHAR[name.charCodeAt(i)] !== 1) return false
  return name.length > start
}

/** No control characters, and no white space at its ends (RFC 9113 section 8.2.1). */
function isValue(value: string): boolean {
  return isFieldValue(value) && !isBlank(value.charCodeAt(0)) && !isBlank(value.charCodeAt(value.length - 1))
}

function isBlank(code: number): boolean {
  return code === SP || code === HTAB
}
