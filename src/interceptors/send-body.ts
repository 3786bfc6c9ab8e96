import type { Flow, ResponseSink } from '../contracts/pool.ts'

/** A body that is read piece by piece: the reader of a `ReadableStream`, or a view of an iterator. */
export interface BodyReader {
  read(): Promise<{ readonly done?: boolean | undefined; readonly value?: unknown }>
  /** Ends the body before its end. Frees what is behind it, and ends a `read()` that waits. */
  cancel(): void
}

/** Sends the body of a response to a sink at the sink's pace. It is the flow of the response. */
export class BodySender implements Flow {
  #isPaused = false
  #goOn: () => void = ignore

  resume(): void {
    this.#isPaused = false
    this.#goOn()
  }

  /** Nothing to do: chunks are not used again. */
  retain(): void {}

  /**
   * Sends all of it, up to the end of the response. Cancels the body if `signal` is aborted first.
   * @returns a promise that rejects if the body fails, or has a piece that is not bytes.
   */
  async send(reader: BodyReader, sink: ResponseSink, signal: AbortSignal): Promise<void> {
    const cancel = (): void => {
      reader.cancel()
      this.resume()
    }
    if (signal.aborted) return cancel()
    signal.addEventListener('abort', cancel, { once: true })
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (signal.aborted) return
        if (done === true) return sink.onEnd(null)
        this.#isPaused = true
        if (sink.onData(bytesOf(value))) this.#isPaused = false
        // Another interceptor may hold bytes back, such as one that compresses.
        sink.onFlush()
        if (this.#isPaused) {
          await new Promise<void>((resolve) => {
            this.#goOn = resolve
          })
        }
      }
    } catch (error) {
      reader.cancel()
      throw error
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }
}

/** The chunk without a copy. @throws TypeError if it is not a view of bytes. */
function bytesOf(value: unknown): Buffer {
  // Not instanceof: it may come from another realm.
  if (!ArrayBuffer.isView(value)) throw new TypeError(`the body has a piece that is ${typeof value}, not bytes`)
  return Buffer.from(value.buffer as ArrayBuffer, value.byteOffset, value.byteLength)
}

function ignore(): void {}
