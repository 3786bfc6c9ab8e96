import { finished, type Readable } from 'node:stream'
import type { FrontBody, FrontBodySink } from '../../exchange/front.ts'

/** A body that the application gives as a stream. The stream may fail at any time, even before it is read. */
export class StreamBody implements FrontBody {
  readonly bytes = -1
  readonly expectsContinue = false
  readonly isDecoded = false
  readonly #stream: Readable
  #sink: FrontBodySink | null = null
  /** The stream is over: `null` for a complete body, otherwise the error. `undefined` while it is not. */
  #end: unknown

  constructor(stream: Readable) {
    this.#stream = stream
    finished(stream, { writable: false }, (error) => {
      // Also hears of a stream that is destroyed without an error before its end.
      this.#end = error ?? null
      this.#tellEnd()
    })
    // `finished` removes its listener, and a stream may emit a second error.
    stream.on('error', ignore)
  }

  start(sink: FrontBodySink): void {
    this.#sink = sink
    if (this.#end !== undefined) return this.#tellEnd()
    this.#stream.on('data', this.#onData)
  }

  readonly #onData = (chunk: unknown): void => {
    if (typeof chunk === 'string') this.#sink?.onBody(Buffer.from(chunk))
    else if (chunk instanceof Uint8Array) this.#sink?.onBody(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))
    else this.#stream.destroy(new TypeError('the stream delivers objects and not bytes'))
  }

  #tellEnd(): void {
    const sink = this.#sink
    if (sink === null || this.#end === undefined) return
    this.#sink = null
    if (this.#end === null) sink.onBodyEnd(null)
    else sink.onBodyFailed(this.#end)
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    this.#stream.resume()
  }

  abandon(): void {
    this.#sink = null
    this.#stream.destroy()
  }
}

function ignore(): void {}
