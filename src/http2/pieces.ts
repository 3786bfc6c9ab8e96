/** Smaller pieces that wait are copied together: each alone would take more memory than its bytes. */
const SMALL_BYTES = 1024
const BLOCK_BYTES = 4096

/** Copies of data that waits for its reader. */
export class Pieces {
  #pieces: Buffer[] = []
  /** The buffer of the last one, if it has room for more, and how many of its bytes are used. */
  #block: Buffer | null = null
  #blockBytes = 0

  get isEmpty(): boolean {
    return this.#pieces.length === 0
  }

  push(bytes: Buffer): void {
    const { length } = bytes
    const last = this.#pieces.length - 1
    if (length >= SMALL_BYTES) {
      this.#block = null
      this.#pieces.push(Buffer.from(bytes))
    } else if (this.#block !== null && last >= 0 && this.#blockBytes + length <= BLOCK_BYTES) {
      this.#blockBytes += bytes.copy(this.#block, this.#blockBytes)
      this.#pieces[last] = this.#block.subarray(0, this.#blockBytes)
    } else {
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      this.#blockBytes = bytes.copy(this.#block)
      this.#pieces.push(this.#block.subarray(0, length))
    }
  }

  shift(): Buffer {
    return this.#pieces.shift() as Buffer
  }

  /** Forgets all. @returns how many bytes they were. */
  clear(): number {
    let bytes = 0
    for (const piece of this.#pieces.splice(0)) bytes += piece.length
    return bytes
  }
}
