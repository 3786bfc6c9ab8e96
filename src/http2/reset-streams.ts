/** A frame on a stream that we have reset: the peer could not know yet, it should know by now, or we have not reset the stream. */
export type Lateness = 'late' | 'too late' | 'not reset'

/** The last streams of a connection that we have reset: their frames may still be on their way. */
export class ResetStreams {
  /** In a ring. */
  readonly #ids: Int32Array
  /** What each of them may still bring, bytes. */
  readonly #bytes: Int32Array
  #count = 0

  constructor(remembered: number) {
    this.#ids = new Int32Array(remembered)
    this.#bytes = new Int32Array(remembered)
  }

  /** @param bytes so many may be on their way. */
  add(id: number, bytes: number): void {
    const at = this.#count++ % this.#ids.length
    this.#ids[at] = id
    this.#bytes[at] = bytes
  }

  /** A frame has come. @param bytes what it counts; without any it is always too late. */
  take(id: number, bytes: number): Lateness {
    const at = this.#ids.indexOf(id)
    if (at < 0) return 'not reset'
    const left = (this.#bytes[at] as number) - bytes
    this.#bytes[at] = Math.max(0, left)
    return bytes > 0 && left >= 0 ? 'late' : 'too late'
  }
}
