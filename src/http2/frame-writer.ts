import type { Writable } from 'node:stream'
import { HpackEncoder } from './hpack-encoder.ts'
import { FIRST_WINDOW, FLAG, FRAME, FRAME_HEAD_BYTES, MAX_FRAME_BYTES } from './protocol.ts'

/** Size of the buffers that are used again and again, bytes. */
const BUFFER_BYTES = FIRST_WINDOW + 1 + 1024
const MAX_FREE = 64
const free: Buffer[] = []

/** Bytes to be written to the connection. */
export interface Output {
  readonly buffer: Buffer
  /** How many of its bytes, from the start. */
  readonly bytes: number
}

/** A buffer with room for so many bytes. Large ones are used again and again: to collect them costs more than to fill them. */
export function borrowBuffer(bytes: number): Buffer {
  if (bytes > BUFFER_BYTES) return Buffer.allocUnsafeSlow(bytes)
  return free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES)
}

/** Gives a buffer back that is not used any more. */
export function returnBuffer(buffer: Buffer): void {
  if (buffer.length === BUFFER_BYTES && free.length < MAX_FREE) free.push(buffer)
}

/** Gives a buffer back whose bytes have been written, or copied. */
export function releaseOutput({ buffer }: Output): void {
  returnBuffer(buffer)
}

/** Up to this size output is written as one string, and its buffer is free at once. */
const SMALL_BYTES = 8192

/** Writes to the connection, and gives the buffer back as soon as that may be. */
export function writeOutput(to: Writable, output: Output, written: (error?: Error | null) => void): void {
  const { buffer, bytes } = output
  if (bytes <= SMALL_BYTES) {
    to.write(buffer.toString('latin1', 0, bytes), 'latin1', written)
    releaseOutput(output)
    return
  }
  to.write(buffer.subarray(0, bytes), (error) => {
    releaseOutput(output)
    written(error)
  })
}

/** Where the flags of a frame are, so that END_STREAM can still be set. */
export interface FramePlace {
  flagsAt: number
  /** Value of {@link FrameWriter.serial} when it was written. */
  serial: number
}

/** Writes the frames of one direction of a connection into borrowed buffers. */
export class FrameWriter {
  readonly encoder = new HpackEncoder()
  /** Grows whenever what was written can no longer be changed. */
  serial = 0
  #full: Output[] = []
  #fullBytes = 0
  #out: Buffer | null = null
  #length = 0

  /** Bytes that wait for {@link take}. */
  get bytes(): number {
    return this.#fullBytes + this.#length
  }

  /** Takes what has been written. The caller writes it in this order, and then calls {@link releaseOutput}. */
  take(): Output[] {
    this.#close()
    const taken = this.#full
    this.#full = []
    this.#fullBytes = 0
    return taken
  }

  /** The head of a frame, with room for its payload. */
  frame(type: number, flags: number, id: number, length: number): void {
    const out = this.#room(FRAME_HEAD_BYTES + length)
    this.#head(out, this.#length, type, flags, id, length)
    this.#length += FRAME_HEAD_BYTES
  }

  bytes8(bytes: Buffer): void {
    const out = this.#out as Buffer
    this.#length += bytes.copy(out, this.#length)
  }

  uint16(value: number): void {
    const out = this.#out as Buffer
    out[this.#length++] = value >>> 8
    out[this.#length++] = value
  }

  uint32(value: number): void {
    const out = this.#out as Buffer
    out[this.#length++] = value >>> 24
    out[this.#length++] = value >>> 16
    out[this.#length++] = value >>> 8
    out[this.#length++] = value
  }

  /** Bytes without a frame: the preface. */
  raw(bytes: Buffer): void {
    this.#room(bytes.length)
    this.bytes8(bytes)
  }

  /** One DATA frame of `bytes[from, to)`, which fits into a frame. */
  data(id: number, bytes: Buffer, from: number, to: number, place: FramePlace): void {
    const length = to - from
    this.frame(FRAME.DATA, 0, id, length)
    this.#note(place, this.#length - FRAME_HEAD_BYTES)
    bytes.copy(this.#out as Buffer, this.#length, from, to)
    this.#length += length
  }

  /** Most bytes of data for which the current buffer has room, at least one frame of them. */
  get room(): number {
    const left = this.#out === null ? BUFFER_BYTES : BUFFER_BYTES - this.#length
    return left > FRAME_HEAD_BYTES ? left - FRAME_HEAD_BYTES : BUFFER_BYTES - FRAME_HEAD_BYTES
  }

  /** A header block: HEADERS, and CONTINUATION if it does not fit into a frame. @param list names in lower case, and values, by turns. */
  headers(id: number, isEnd: boolean, place: FramePlace, pseudo: readonly string[], list: readonly string[]): void {
    const most = HpackEncoder.mostBytes(pseudo) + HpackEncoder.mostBytes(list)
    const frames = Math.ceil(most / MAX_FRAME_BYTES)
    const out = this.#room(most + frames * FRAME_HEAD_BYTES)
    const start = this.#length
    const first = start + FRAME_HEAD_BYTES
    const at = this.#fields(out, this.#fields(out, this.encoder.begin(out, first), pseudo), list)
    this.#length = this.#split(out, start, at - first, id, isEnd)
    this.#note(place, start)
  }

  #fields(out: Buffer, start: number, list: readonly string[]): number {
    let at = start
    for (let i = 0; i < list.length; i += 2) {
      at = this.encoder.field(out, at, list[i] as string, list[i + 1] as string)
    }
    return at
  }

  /** Sets END_STREAM of a frame that is still here. @returns `false` if it has been taken. */
  endInPlace({ flagsAt, serial }: FramePlace): boolean {
    if (serial !== this.serial || flagsAt < 0) return false
    const out = this.#out as Buffer
    out[flagsAt] = (out[flagsAt] as number) | FLAG.END_STREAM
    return true
  }

  /** Cuts an encoded block of `length` bytes into frames. @returns the position after them. */
  #split(out: Buffer, start: number, length: number, id: number, isEnd: boolean): number {
    const max = MAX_FRAME_BYTES
    const count = Math.max(1, Math.ceil(length / max))
    // From the end, so that nothing is overwritten.
    for (let i = count - 1; i >= 0; i--) {
      const from = start + FRAME_HEAD_BYTES + i * max
      const bytes = Math.min(max, length - i * max)
      const headAt = start + i * (FRAME_HEAD_BYTES + max)
      if (i > 0) out.copyWithin(headAt + FRAME_HEAD_BYTES, from, from + bytes)
      const flags = (i === count - 1 ? FLAG.END_HEADERS : 0) | (i === 0 && isEnd ? FLAG.END_STREAM : 0)
      this.#head(out, headAt, i === 0 ? FRAME.HEADERS : FRAME.CONTINUATION, flags, id, bytes)
    }
    return start + length + count * FRAME_HEAD_BYTES
  }

  #head(out: Buffer, at: number, type: number, flags: number, id: number, length: number): void {
    out[at] = length >>> 16
    out[at + 1] = length >>> 8
    out[at + 2] = length
    out[at + 3] = type
    out[at + 4] = flags
    out[at + 5] = id >>> 24
    out[at + 6] = id >>> 16
    out[at + 7] = id >>> 8
    out[at + 8] = id
  }

  #note(place: FramePlace, headAt: number): void {
    place.flagsAt = headAt + 4
    place.serial = this.serial
  }

  /** A buffer with room for so many bytes from {@link #length} on. */
  #room(bytes: number): Buffer {
    if (this.#out !== null && this.#length + bytes > this.#out.length) this.#close()
    this.#out ??= borrowBuffer(bytes)
    return this.#out
  }

  #close(): void {
    if (this.#out === null) return
    this.serial++
    this.#full.push({ buffer: this.#out, bytes: this.#length })
    this.#fullBytes += this.#length
    this.#out = null
    this.#length = 0
  }
}
