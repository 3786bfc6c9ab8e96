import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished, type Readable } from 'node:stream'
import type { BodySink } from '../../contracts/pool.ts'
import type { FrontBody, FrontBodySink } from '../../exchange/front.ts'

/** A request's body as node:http reads it. */
export class NodeBody implements FrontBody {
  readonly bytes: number
  readonly isDecoded = false
  readonly expectsContinue: boolean
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  #sink: BodySink | null = null
  /** The first bytes, if they came before anybody asked for them. */
  #early: Buffer | null = null
  #hasEnded = false
  #hasListened = false
  #onArrived: (() => void) | null = null
  readonly #onData = (chunk: Buffer): void => {
    if (this.#sink !== null) this.#sink.onBody(chunk)
    else {
      this.#early = chunk
      this.#req.pause()
      this.#arrived()
    }
  }
  readonly #onEnd = (): void => {
    this.#hasEnded = true
    if (this.#sink === null) this.#arrived()
    else this.#endBody(this.#sink)
  }

  /** @param bytes announced length, or -1. */
  constructor(req: IncomingMessage, res: ServerResponse, bytes: number, expectsContinue: boolean) {
    this.#req = req
    this.#res = res
    this.bytes = bytes
    this.expectsContinue = expectsContinue
  }

  start(sink: BodySink): void {
    this.#sink = sink
    const early = this.#early
    this.#early = null
    this.#onArrived = null
    // The reader wants the body, so the client may send it. node ends a connection on which the client was not asked to continue.
    if (this.expectsContinue && !this.#res.headersSent) this.#res.writeContinue()
    this.#listen()
    if (early !== null) {
      this.#req.resume()
      // Called after `resume()`: the sink may pause the request again, or want no more.
      sink.onBody(early)
    }
    if (this.#hasEnded && this.#sink === sink) this.#endBody(sink)
  }

  whenArrived(call: () => void): void {
    this.#onArrived = call
    if (this.#early !== null || this.#hasEnded) process.nextTick(() => this.#arrived())
    else this.#listen()
  }

  #listen(): void {
    if (this.#hasListened) return
    this.#hasListened = true
    this.#req.on('data', this.#onData).on('end', this.#onEnd)
  }

  #arrived(): void {
    if (this.#sink === null) this.#onArrived?.()
  }

  #endBody(sink: BodySink): void {
    const trailers = this.#req.rawTrailers
    sink.onBodyEnd(trailers.length === 0 ? null : trailers)
  }

  pause(): void {
    this.#req.pause()
  }

  resume(): void {
    this.#req.resume()
  }

  abandon(): void {
    this.#sink = null
    this.#early = null
    this.#onArrived = null
    // If nobody has begun to read the body, the application may still use it in `onError`. node drops it with the response.
    if (!this.#hasListened) return
    this.#req.off('data', this.#onData).off('end', this.#onEnd)
    // Read and drop the rest: otherwise the connection's next request would wait forever.
    this.#req.resume()
  }
}

/** A body that an earlier body parser has read, or that the application passes in. */
export class BufferedBody implements FrontBody {
  readonly bytes: number
  readonly expectsContinue = false
  readonly isDecoded: boolean
  readonly #body: Buffer

  constructor(body: Buffer, isDecoded: boolean) {
    this.#body = body
    this.isDecoded = isDecoded
    this.bytes = body.length
  }

  start(sink: BodySink): void {
    if (this.#body.length > 0) sink.onBody(this.#body)
    sink.onBodyEnd(null)
  }

  pause(): void {}
  resume(): void {}
  abandon(): void {}
}

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
