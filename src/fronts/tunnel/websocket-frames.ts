/** A close frame with status 1001 "going away" (RFC 6455 section 7.4.1), as a server sends it. */
export const CLOSE_TO_CLIENT: Uint8Array = Uint8Array.of(0x88, 0x02, 0x03, 0xe9)
/** The same as a client sends it: masked, with zeros. */
export const CLOSE_TO_BACKEND: Uint8Array = Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9)

/** Follows the bytes of one direction of a WebSocket to know where a frame ends (RFC 6455 section 5.2). */
export class FrameFollower {
  /** Bytes of mask and payload to come. */
  #left = 0
  /** Bytes of the frame's length to come; -1 before the byte that says how many; -2 between frames. */
  #lengthBytes = -2
  #maskBytes = 0

  /** A frame of our own may be inserted here. */
  get isBetweenFrames(): boolean {
    return this.#left === 0 && this.#lengthBytes === -2
  }

  follow(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length; ) {
      if (this.#lengthBytes === -2 && this.#left > 0) {
        const skipped = Math.min(this.#left, chunk.length - i)
        this.#left -= skipped
        i += skipped
      } else this.#readHead(chunk[i++] as number)
    }
  }

  #readHead(byte: number): void {
    if (this.#lengthBytes === -2) {
      this.#lengthBytes = -1
      return
    }
    if (this.#lengthBytes === -1) {
      const length = byte & 0x7f
      this.#maskBytes = byte & 0x80 ? 4 : 0
      this.#lengthBytes = length === 126 ? 2 : length === 127 ? 8 : 0
      this.#left = this.#lengthBytes === 0 ? length : 0
    } else {
      this.#left = this.#left * 256 + byte
      this.#lengthBytes--
    }
    if (this.#lengthBytes > 0) return
    this.#left += this.#maskBytes
    this.#lengthBytes = -2
  }
}
