import type { BodySink, BodySource } from '../contracts/pool.ts'
import { passableTrailers } from '../headers/trailers.ts'
import { hookError, ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { catchRejection, isPromise } from '../runtime/callbacks.ts'
import type { Attempts } from './attempts.ts'
import { checkHeaders } from './checked-sink.ts'
import type { Exchange } from './exchange.ts'

/**
 * The body that an interceptor passed to `next`: the client's, a wrapper around it, or another. It notifies only the attempts that
 * send it. Its length is enforced, because the backend would read surplus bytes as another request.
 */
export class ForwardedBody implements BodySource, BodySink {
  readonly bytes: number
  /** The attempts that send it. */
  attempts: Attempts | null = null
  readonly #exchange: Exchange
  readonly #source: BodySource
  readonly #head: Readonly<HeaderList>
  readonly #name: string
  #sink: BodySink | null = null
  #isReading = false
  #isPaused = false
  /** Announced bytes that have not arrived; -1: no announced length. */
  #left = -1

  /** @param head headers of its request. @param name of the interceptor. */
  constructor(exchange: Exchange, source: BodySource, head: Readonly<HeaderList>, name: string) {
    const { bytes } = source
    if (!Number.isSafeInteger(bytes) || bytes < -1) throw new TypeError(`${bytes} is not a valid length of a body`)
    if (typeof source.start !== 'function') throw new TypeError('next() was called with an invalid body')
    this.bytes = bytes
    this.#exchange = exchange
    this.#source = source
    this.#head = head
    this.#name = name
  }

  get expectsContinue(): boolean {
    return this.#source.expectsContinue === true
  }

  get isReplayable(): boolean {
    return this.#source.isReplayable === true
  }

  /** The backend has taken all bytes so far, and waits for more. */
  get isWaiting(): boolean {
    return this.#isReading && !this.#isPaused
  }

  start(sink: BodySink): void {
    for (let one = this.#exchange.running; one !== null; one = one.earlier) {
      const { body } = one
      if (body !== this && body instanceof ForwardedBody && body.#source === this.#source) body.#lose()
    }
    this.#sink = sink
    this.#isReading = true
    this.#isPaused = false
    this.#left = this.bytes
    this.#noteProgress()
    try {
      this.#exchange.enter(this.#startSource, this)
    } catch (thrown) {
      // The body was perhaps not kept (ERR_PROXY_BODY_CONSUMED): only this attempt fails.
      if (!(thrown instanceof ProxyError)) return this.#onThrew(thrown)
      this.#isReading = false
      this.attempts?.current?.onPoolThrew(thrown)
    }
  }

  #startSource(): void {
    this.#catch(this.#source.start(this))
  }

  /** Stops reading, because a body has only one reader and a later one has begun. */
  #lose(): void {
    if (!this.#isReading) return
    this.#isReading = false
    const message = 'the request body is read by a later call of next(), before the backend had all of it'
    this.attempts?.onBodyLost(new ProxyError('ERR_PROXY_BODY_CONSUMED', message))
  }

  resume(): void {
    if (!this.#isReading) return
    this.#isPaused = false
    this.#noteProgress()
    try {
      this.#exchange.enter(this.#resumeSource, this)
    } catch (thrown) {
      this.#onThrew(thrown)
    }
  }

  #resumeSource(): void {
    this.#catch(this.#source.resume())
  }

  stop(): void {
    if (!this.#isReading) return
    this.#isReading = false
    this.#sink = null
    this.#catch(this.#source.stop())
  }

  whenArrived(call: () => void): void {
    this.#source.whenArrived?.(call)
  }

  onBody(chunk: Buffer): boolean {
    const sink = this.#sink
    if (!this.#isReading || sink === null) return false
    if (!Buffer.isBuffer(chunk)) {
      this.#onThrew(new TypeError('onBody() takes a Buffer'))
      return false
    }
    if (this.#left >= 0) {
      if (chunk.length > this.#left) {
        this.#onThrew(new TypeError('the request body is longer than it says'))
        return false
      }
      this.#left -= chunk.length
    }
    let goOn = false
    try {
      const returned: unknown = sink.onBody(chunk)
      if (isPromise(returned)) catchRejection(returned, (thrown) => this.attempts?.current?.onPoolThrew(thrown))
      goOn = returned !== false
    } catch (thrown) {
      this.attempts?.current?.onPoolThrew(thrown)
    }
    this.#isPaused = !goOn
    this.#noteProgress()
    return goOn
  }

  onBodyEnd(trailers: HeaderList | null): void {
    const sink = this.#sink
    if (!this.#isReading || sink === null) return
    try {
      if (this.#left > 0) throw new TypeError('the request body is shorter than it says')
      if (trailers != null) checkHeaders(trailers)
    } catch (thrown) {
      return this.#onThrew(thrown)
    }
    this.#isReading = false
    this.attempts?.current?.onBodyComplete()
    try {
      const returned: unknown = sink.onBodyEnd(trailers == null ? null : passableTrailers(trailers, this.#head))
      if (isPromise(returned)) catchRejection(returned, (thrown) => this.attempts?.current?.onPoolThrew(thrown))
    } catch (thrown) {
      this.attempts?.current?.onPoolThrew(thrown)
    }
  }

  #noteProgress(): void {
    this.attempts?.current?.onBodyProgress(this.#exchange.services.clock.now())
  }

  #catch(returned: unknown): void {
    if (isPromise(returned)) catchRejection(returned, (thrown) => this.#onThrew(thrown))
  }

  /** The source threw, or delivered something invalid. */
  #onThrew(thrown: unknown): void {
    this.#isReading = false
    this.#exchange.fail(hookError(`the request body of ${this.#name}`, thrown, null, 'intercept'), 'aborted')
  }
}
