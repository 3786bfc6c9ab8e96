import type { AsyncResource } from 'node:async_hooks'
import type { BodySink, BodySource } from '../contracts/pool.ts'
import { passableTrailers } from '../headers/trailers.ts'
import { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { catchRejection, isPromise } from '../runtime/callbacks.ts'
import type { FrontBody, FrontBodySink } from './front.ts'

/** Smaller pieces are copied together. Each alone would keep the whole buffer that it was read into alive. */
const SMALL_BYTES = 1024
const BLOCK_BYTES = 4096

const GONE =
  'the request body was sent before, and is not kept: it is longer than limits.replayBytes, or the response has begun'

/** Events of which a {@link ReplayableBody} notifies its exchange. */
export interface BodyWatcher {
  /** The async context in which the body reaches its reader; `null`: any. */
  readonly scope: AsyncResource | null
  /** Bytes have arrived from the client. */
  onBodyProgress(bytes: number): void
  onBodyComplete(): void
  /** The body now waits for the client, which may send. */
  onBodyAwaited(): void
  /** The body no longer waits for the client: the backend takes no more, or has stopped reading. */
  onBodyHeld(): void
  /** The rest of the body cannot be had. */
  onBodyFailed(error: unknown): void
  /** The reader of the body (perhaps a connection of a custom pool) threw. */
  onBodyThrew(thrown: unknown): void
}

/**
 * A request's body on its way to a backend. It keeps its first bytes so that another attempt can send them too.
 * Beyond `replayBytes`, or after the response has begun, it keeps none and cannot be replayed.
 */
export class ReplayableBody implements BodySource, FrontBodySink {
  readonly bytes: number
  readonly #source: FrontBody
  readonly #watcher: BodyWatcher
  readonly #replayBytes: number
  readonly #head: Readonly<HeaderList>
  #kept: Buffer[] | null = []
  #keptBytes = 0
  /** The last buffer of `#kept`, if it has room for more, and how many of its bytes are used. */
  #block: Buffer | null = null
  #blockBytes = 0
  #hasStarted = false
  #isEnded = false
  #isPaused = false
  #trailers: HeaderList | null = null
  #sink: BodySink | null = null

  /** @param head the request's headers, as received. */
  constructor(source: FrontBody, replayBytes: number, watcher: BodyWatcher, head: Readonly<HeaderList>) {
    this.#source = source
    this.bytes = source.bytes
    this.#replayBytes = replayBytes
    this.#watcher = watcher
    this.#head = head
  }

  get expectsContinue(): boolean {
    return this.#source.expectsContinue && !this.#hasStarted
  }

  /** Another attempt can send all of it. */
  get isReplayable(): boolean {
    return this.#kept !== null
  }

  /** The backend has taken all bytes so far, and waits for more from the client. */
  get isWaitingForClient(): boolean {
    return this.#hasStarted && !this.#isEnded && !this.#isPaused
  }

  start(sink: BodySink): void {
    // An interceptor may have called `next` a second time.
    if (this.#hasStarted && this.#kept === null) throw new ProxyError('ERR_PROXY_BODY_CONSUMED', GONE)
    this.#sink = sink
    if (!this.#hasStarted) {
      this.#hasStarted = true
      this.#watcher.onBodyAwaited()
      this.#source.start(this)
      return
    }
    let goOn = true
    this.#endBlock()
    for (const chunk of this.#kept ?? []) goOn = sink.onBody(chunk)
    if (this.#isEnded) {
      this.#watcher.onBodyComplete()
      sink.onBodyEnd(this.#trailers)
    } else if (goOn) this.resume()
  }

  resume(): void {
    if (this.#sink === null || !this.#hasStarted) return
    if (this.#isPaused) {
      this.#isPaused = false
      this.#watcher.onBodyAwaited()
    }
    this.#source.resume()
  }

  whenArrived(call: () => void): void {
    this.#source.whenArrived?.(call)
  }

  stop(): void {
    this.#sink = null
    if (this.#hasStarted && !this.#isEnded) this.#pause()
  }

  #pause(): void {
    this.#isPaused = true
    this.#watcher.onBodyHeld()
    this.#source.pause()
  }

  /** Drops the kept bytes: no retry will follow. */
  forget(): void {
    this.#kept = null
    this.#block = null
  }

  /** Drops the kept bytes and the rest of the body: it will not be read further. */
  abandon(): void {
    this.#sink = null
    this.forget()
    if (!this.#isEnded) this.#source.abandon()
  }

  onBody(chunk: Buffer): boolean {
    const { scope } = this.#watcher
    return scope === null ? this.#onBody(chunk) : scope.runInAsyncScope(this.#onBody, this, chunk)
  }

  #onBody(chunk: Buffer): boolean {
    this.#watcher.onBodyProgress(chunk.length)
    if (this.#kept !== null) {
      this.#keptBytes += chunk.length
      if (this.#keptBytes > this.#replayBytes) this.forget()
      else this.#keep(this.#kept, chunk)
    }
    const goOn = this.#give(chunk)
    if (!goOn) this.#pause()
    return goOn
  }

  #keep(kept: Buffer[], chunk: Buffer): void {
    // Most bodies are one piece.
    if (chunk.length >= SMALL_BYTES || kept.length === 0) {
      this.#endBlock()
      kept.push(chunk)
      return
    }
    if (this.#block === null || this.#blockBytes + chunk.length > BLOCK_BYTES) {
      this.#endBlock()
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      this.#blockBytes = 0
      kept.push(this.#block)
    }
    this.#blockBytes += chunk.copy(this.#block, this.#blockBytes)
  }

  /** Closes the current block: the next small piece starts a new one. */
  #endBlock(): void {
    const kept = this.#kept
    if (this.#block !== null && kept !== null) kept[kept.length - 1] = this.#block.subarray(0, this.#blockBytes)
    this.#block = null
  }

  onBodyEnd(trailers: HeaderList | null): void {
    const { scope } = this.#watcher
    if (scope === null) this.#onBodyEnd(trailers)
    else scope.runInAsyncScope(this.#onBodyEnd, this, trailers)
  }

  #onBodyEnd(trailers: HeaderList | null): void {
    this.#isEnded = true
    this.#trailers = trailers === null ? null : passableTrailers(trailers, this.#head)
    this.#watcher.onBodyComplete()
    try {
      const returned: unknown = this.#sink?.onBodyEnd(this.#trailers)
      if (isPromise(returned)) catchRejection(returned, (thrown) => this.#watcher.onBodyThrew(thrown))
    } catch (thrown) {
      this.#watcher.onBodyThrew(thrown)
    }
  }

  onBodyFailed(error: unknown): void {
    this.#watcher.onBodyFailed(error)
  }

  #give(chunk: Buffer): boolean {
    try {
      const goOn: unknown = this.#sink?.onBody(chunk) ?? false
      if (isPromise(goOn)) catchRejection(goOn, (thrown) => this.#watcher.onBodyThrew(thrown))
      return goOn !== false
    } catch (thrown) {
      this.#watcher.onBodyThrew(thrown)
      return false
    }
  }
}
