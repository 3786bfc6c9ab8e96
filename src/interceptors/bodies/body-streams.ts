import type { Duplex } from 'node:stream'
import type { Flow, ResponseSink } from '../../contracts/pool.ts'
import { hookError, type ProxyError } from '../../model/errors.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { ResponseHead } from '../../model/message.ts'
import type { Call, TakenBody } from './diverted-sink.ts'
import { trailersOfChangedBody } from './old-bytes.ts'

/** One stream that a body passes through. */
export interface Stage {
  /** The stream, or a function that creates it for the first bytes. Without any bytes such a stage is left out. */
  readonly stream: Duplex | ((first: Buffer) => Duplex)
  /** The error of the exchange if the stream fails. */
  fault(cause: unknown): ProxyError
  /** Makes the stream deliver what it holds back. Only for the last stage. */
  flush?(done: () => void): void
}

/**
 * A body on its way through streams to a sink:
 *
 *     onData -> stages[0] -> ... -> stages[n - 1] -> sink
 *
 * Backpressure goes the other way: `pause()` and 'drain' between stages, {@link Flow} at both ends. The head is held back until
 * the first bytes come out, or until the streams have taken all bytes that have arrived, so that most errors become a clean
 * response. After that an error truncates the response. All streams are destroyed when the body or the exchange has ended.
 *
 * Bytes that have arrived are flushed at the end of the event loop's turn, whether or not `onFlush` is called.
 */
export class BodyStreams implements TakenBody, Flow {
  readonly #sink: ResponseSink
  readonly #flow: Flow
  readonly #stages: readonly Stage[]
  readonly #streams: (Duplex | null)[]
  readonly #signals: readonly AbortSignal[]
  /** The head, until it is sent. */
  #head: ResponseHead | null
  #trailers: HeaderList | null = null
  /** Chunks that a stage has not taken completely, and flushes that are not done. */
  #busy = 0
  #isFlushWanted = false
  /** The last stage may hold back bytes. */
  #isUnflushed = false
  /** The sink may hold back bytes. */
  #hasOutput = false
  /** `#onTurnEnd` will be called. */
  #isDue = false
  #hasResumed = false
  /** The input is complete. */
  #isEnding = false
  #isOver = false

  /** @param head is sent as it is then: the caller has changed its headers and its `bodyBytes`. */
  constructor({ exchange, sink, signal }: Call, head: ResponseHead, flow: Flow, stages: readonly Stage[]) {
    this.#sink = sink
    this.#head = head
    this.#flow = flow
    this.#stages = stages
    this.#streams = stages.map(() => null)
    // The signal of the exchange costs 3 us, and without streams there is nothing to destroy.
    this.#signals = stages.length === 0 ? [] : signal === undefined ? [exchange.signal] : [exchange.signal, signal]
    for (const one of this.#signals) one.addEventListener('abort', this.#onAbort, { once: true })
    for (const [i, { stream }] of stages.entries()) if (typeof stream !== 'function') this.#connect(i, stream)
    // An aborted signal tells nobody.
    if (this.#signals.some(({ aborted }) => aborted)) this.destroy()
    else this.#flushLater()
  }

  // The body, from the backend:

  onData(chunk: Buffer): boolean {
    this.#flushLater()
    return this.#deliver(0, chunk)
  }

  onFlush(): void {}

  onEnd(trailers: HeaderList | null): void {
    this.#trailers = trailers === null ? null : trailersOfChangedBody(trailers)
    this.#isEnding = true
    this.#endInput(0)
  }

  onError(error: ProxyError): void {
    this.#fail(error)
  }

  // Flow, called by the sink:

  resume(): void {
    this.#hasResumed = true
    if (this.#stages.length === 0) this.#resumeSource()
    else this.#streams.at(-1)?.resume()
  }

  /** The bytes that come out belong to the sink. */
  retain(): void {}

  /** Ends everything: nothing more goes to the sink. */
  destroy(): void {
    this.#isOver = true
    for (const one of this.#signals) one.removeEventListener('abort', this.#onAbort)
    for (const stream of this.#streams) stream?.destroy()
  }

  readonly #onAbort = (): void => this.destroy()

  #connect(i: number, stream: Duplex): Duplex {
    this.#streams[i] = stream
    // 'error' may also come after the end, and without a listener it would end the process.
    stream
      .on('error', (error) => this.#failAt(i, error))
      .on('data', (chunk: unknown) => {
        if (!this.#deliver(i + 1, chunk)) stream.pause()
      })
      .on('drain', () => {
        if (i === 0) this.#resumeSource()
        else this.#streams[i - 1]?.resume()
      })
      .on('end', () => this.#endInput(i + 1))
      .on('close', () => {
        if (!stream.readableEnded) this.#failAt(i, new Error('the stream was closed before its end'))
      })
    if (stream.destroyed) this.#failAt(i, new Error('the stream was destroyed before its start'))
    return stream
  }

  /** Passes a chunk to a stage, or from the last one to the sink. @returns whether it takes more. */
  #deliver(i: number, chunk: unknown): boolean {
    if (this.#isOver) return true
    try {
      const bytes = bytesOf(chunk)
      if (bytes.length === 0) return true
      return i < this.#stages.length ? this.#write(i, bytes) : this.#send(bytes)
    } catch (thrown) {
      this.#failAt(Math.min(i, this.#stages.length - 1), thrown)
      return true
    }
  }

  #write(i: number, chunk: Buffer): boolean {
    const { stream: source } = this.#stages[i] as Stage
    const stream = this.#streams[i] ?? (typeof source === 'function' ? this.#connect(i, source(chunk)) : source)
    // The stage has ended by itself, and the rest of its input is left out.
    if (stream.readableEnded || stream.destroyed) return true
    this.#busy++
    this.#isUnflushed = true
    return stream.write(chunk, this.#onTaken)
  }

  #send(chunk: Buffer): boolean {
    this.#sendHead()
    // At the head another interceptor may have ended this call.
    if (this.#isOver) return true
    this.#hasOutput = true
    this.#flushLater()
    this.#hasResumed = false
    // The sink may call resume() from within.
    return this.#sink.onData(chunk) || this.#hasResumed
  }

  #sendHead(): void {
    const head = this.#head
    this.#head = null
    if (head !== null) this.#sink.onHead(head, this)
  }

  #resumeSource(): void {
    if (this.#isOver) return
    try {
      this.#flow.resume()
    } catch (thrown) {
      // It may be the flow of another interceptor, and this is an event of a stream.
      this.#fail(hookError('resume() of the flow of a response', thrown, null, 'intercept'))
    }
  }

  /** A stage's input is complete, or the last one's output. */
  #endInput(i: number): void {
    if (this.#isOver) return
    if (i === this.#stages.length) return this.#finish()
    const stream = this.#streams[i] ?? null
    if (stream === null) this.#endInput(i + 1)
    else stream.end()
  }

  #finish(): void {
    this.#sendHead()
    if (this.#isOver) return
    this.destroy()
    this.#sink.onEnd(this.#trailers)
  }

  // Flushing:

  readonly #onTaken = (): void => {
    this.#busy--
    this.#flushIfTaken()
  }

  /** An immediate, and not the write batch: it keeps the async context of the request. */
  #flushLater(): void {
    if (this.#isDue) return
    this.#isDue = true
    setImmediate(this.#onTurnEnd)
  }

  readonly #onTurnEnd = (): void => {
    this.#isDue = false
    if (this.#isOver) return
    this.#isFlushWanted = true
    this.#flushIfTaken()
    if (!this.#hasOutput) return
    this.#hasOutput = false
    this.#sink.onFlush()
  }

  /** Flushes the last stage, or sends the head alone, if all bytes that have arrived have passed through the stages before it. */
  #flushIfTaken(): void {
    if (!this.#isFlushWanted || this.#busy > 0 || this.#isOver || this.#isEnding) return
    const last = this.#stages.length - 1
    for (let i = 0; i < last; i++) if ((this.#streams[i]?.readableLength ?? 0) > 0) return
    const flush = this.#stages[last]?.flush
    if (flush !== undefined && this.#isUnflushed) {
      this.#isUnflushed = false
      this.#busy++
      return flush(this.#onTaken)
    }
    this.#isFlushWanted = false
    if (this.#head === null) return
    this.#sendHead()
    this.#sink.onFlush()
  }

  // Failures:

  #failAt(i: number, cause: unknown): void {
    if (!this.#isOver) this.#fail((this.#stages[i] as Stage).fault(cause))
  }

  #fail(error: ProxyError): void {
    if (this.#isOver) return
    this.destroy()
    this.#sink.onError(error)
  }
}

/** @throws TypeError if a stream has delivered something else than text or bytes. */
function bytesOf(chunk: unknown): Buffer {
  if (Buffer.isBuffer(chunk)) return chunk
  if (typeof chunk === 'string') return Buffer.from(chunk)
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  throw new TypeError(`the stream delivered ${chunk === null ? 'null' : typeof chunk}, which is neither text nor bytes`)
}
