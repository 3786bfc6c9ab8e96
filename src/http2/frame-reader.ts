import { CODE, FLAG, FRAME, FRAME_HEAD_BYTES, MAX_FRAME_BYTES, PREFACE, readUint31 } from './protocol.ts'

/** Receives the frames of a connection, in the order of the wire. Bytes are valid only during the call. */
export interface FrameHandler {
  /** A frame of another type than DATA, whole. Its payload is `bytes[from, to)`. @returns a code that ends the connection, or 0. */
  onFrame(type: number, flags: number, id: number, bytes: Buffer, from: number, to: number): number
  /** A DATA frame begins. @param length its payload with padding, which counts against the windows. @returns as {@link onFrame}. */
  onDataStart(id: number, length: number, dataBytes: number, isEnd: boolean): number
  /** A piece of its data. */
  onData(bytes: Buffer, from: number, to: number): void
  /** It is over, with its padding. */
  onDataEnd(): void
}

/**
 * Cuts the bytes of one direction of a connection into frames (RFC 9113 section 4.1). DATA is passed on piece by piece as it comes,
 * everything else when it is whole. It does no I/O.
 */
export class FrameReader {
  readonly #handler: FrameHandler
  /** Bytes of the preface that are still to come; only a server reads one. */
  #prefaceLeft: number
  /** The start of a frame whose rest has not come, and how much of it there is. */
  #held: Buffer | null = null
  #heldBytes = 0
  #isInData = false
  #dataLeft = 0
  #paddingLeft = 0
  #isStopped = false

  constructor(handler: FrameHandler, isServer: boolean) {
    this.#handler = handler
    this.#prefaceLeft = isServer ? PREFACE.length : 0
  }

  /** Whether a frame has begun and is not complete. */
  get isInFrame(): boolean {
    return this.#held !== null || this.#isInData
  }

  /** Takes no more frames. */
  stop(): void {
    this.#isStopped = true
    this.#held = null
  }

  /** Reads bytes as they come, in pieces of any size. @returns a code that ends the connection, or 0. */
  execute(bytes: Buffer): number {
    let i = 0
    if (this.#prefaceLeft > 0) {
      const take = Math.min(this.#prefaceLeft, bytes.length)
      const start = PREFACE.length - this.#prefaceLeft
      if (PREFACE.compare(bytes, 0, take, start, start + take) !== 0) return CODE.PROTOCOL_ERROR
      this.#prefaceLeft -= take
      i = take
    }
    const to = bytes.length
    while (i < to && !this.#isStopped) {
      if (this.#isInData) {
        i = this.#readData(bytes, i, to)
        continue
      }
      if (this.#held === null && to - i >= FRAME_HEAD_BYTES) {
        const length = lengthOf(bytes, i)
        if (length > MAX_FRAME_BYTES) return CODE.FRAME_SIZE_ERROR
        const needed = neededBytes(bytes, i, length)
        if (to - i >= needed) {
          const code = this.#dispatch(bytes, i, length)
          if (code !== CODE.NO_ERROR) return code
          i += needed
          continue
        }
      }
      const taken = this.#hold(bytes, i, to)
      if (taken < 0) return -taken
      i += taken
    }
    return CODE.NO_ERROR
  }

  /**
   * Keeps the start of a frame until it is whole, without copying it again for each piece.
   * @returns how many bytes it has taken, or a code as a negative number.
   */
  #hold(bytes: Buffer, from: number, to: number): number {
    let held = this.#held
    if (held === null) {
      held = Buffer.allocUnsafeSlow(FRAME_HEAD_BYTES + 1)
      this.#held = held
      this.#heldBytes = 0
    }
    let taken = 0
    let needed = this.#heldBytes < FRAME_HEAD_BYTES ? FRAME_HEAD_BYTES : neededBytes(held, 0, lengthOf(held, 0))
    for (;;) {
      const take = Math.min(needed - this.#heldBytes, to - from - taken)
      bytes.copy(held, this.#heldBytes, from + taken, from + taken + take)
      this.#heldBytes += take
      taken += take
      if (this.#heldBytes < needed) return taken
      const length = lengthOf(held, 0)
      if (length > MAX_FRAME_BYTES) return -CODE.FRAME_SIZE_ERROR
      needed = neededBytes(held, 0, length)
      if (this.#heldBytes === needed) break
      if (held.length < needed) {
        const larger = Buffer.allocUnsafeSlow(needed)
        held.copy(larger, 0, 0, this.#heldBytes)
        held = larger
        this.#held = held
      }
    }
    this.#held = null
    const code = this.#dispatch(held, 0, lengthOf(held, 0))
    return code === CODE.NO_ERROR ? taken : -code
  }

  /** A whole frame, or the head of a DATA frame with the length of its padding, at `at`. */
  #dispatch(bytes: Buffer, at: number, length: number): number {
    const type = bytes[at + 3] as number
    const flags = bytes[at + 4] as number
    const id = readUint31(bytes, at + 5)
    const start = at + FRAME_HEAD_BYTES
    if (type !== FRAME.DATA) return this.#handler.onFrame(type, flags, id, bytes, start, start + length)
    const isPadded = (flags & FLAG.PADDED) !== 0
    if (isPadded && length === 0) return CODE.FRAME_SIZE_ERROR
    const padding = isPadded ? (bytes[start] as number) : 0
    const dataBytes = length - padding - (isPadded ? 1 : 0)
    // Section 6.1: padding of the length of the payload or more.
    if (dataBytes < 0) return CODE.PROTOCOL_ERROR
    const code = this.#handler.onDataStart(id, length, dataBytes, (flags & FLAG.END_STREAM) !== 0)
    if (code !== CODE.NO_ERROR) return code
    this.#isInData = true
    this.#dataLeft = dataBytes
    this.#paddingLeft = padding
    this.#endData()
    return CODE.NO_ERROR
  }

  #readData(bytes: Buffer, from: number, to: number): number {
    let i = from
    if (this.#dataLeft > 0) {
      const take = Math.min(this.#dataLeft, to - i)
      this.#dataLeft -= take
      this.#handler.onData(bytes, i, i + take)
      i += take
    }
    const take = Math.min(this.#paddingLeft, to - i)
    this.#paddingLeft -= take
    this.#endData()
    return i + take
  }

  #endData(): void {
    if (this.#dataLeft > 0 || this.#paddingLeft > 0) return
    this.#isInData = false
    this.#handler.onDataEnd()
  }
}

function lengthOf(bytes: Buffer, at: number): number {
  return ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
}

/** How many bytes must be there before a frame can be dispatched: all, but of DATA only the length of its padding. */
function neededBytes(bytes: Buffer, at: number, length: number): number {
  if (bytes[at + 3] !== FRAME.DATA) return FRAME_HEAD_BYTES + length
  return FRAME_HEAD_BYTES + (((bytes[at + 4] as number) & FLAG.PADDED) === 0 || length === 0 ? 0 : 1)
}
