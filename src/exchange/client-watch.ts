import { hookError, ProxyError } from '../model/errors.ts'
import { type Timed, UNWATCHED } from '../runtime/deadlines.ts'
import { bodyLimitFault } from './accept.ts'
import type { Exchange } from './exchange.ts'
import type { BodyWatcher } from './replayable-body.ts'

/** How late a client may be at first where a least rate is asked for, ms. */
const RATE_GRACE_MS = 5000

/** What is waited for, besides a backend. */
const NOTHING = 0
const INTERCEPTORS = 1
/** More of the request's body, at `limits.minBodyBytesPerSecond`. */
const BODY = 2
/** The client takes no more of the response: `limits.minReadBytesPerSecond`. */
const READER = 3
/** The whole response is with the client's connection, which has to take it: `timeouts.idle`. */
const LAST_BYTES = 4

/** The limits of time of one exchange that are not a backend's: the whole, its interceptors, and its client. */
export class ClientWatch implements BodyWatcher, Timed {
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  /** An upgraded connection has limits of its own. */
  tunnel: { onLate(): void } | null = null
  readonly #exchange: Exchange
  #totalAt = Number.POSITIVE_INFINITY
  #waitsFor = NOTHING
  /** When the client was asked for what it sends now, and how much has come since. */
  #awaitedAt = 0
  #awaitedBytes = 0
  /** Since when the client takes no more of the response, and how long it did so before. */
  #blockedAt = -1
  #blockedMs = 0

  constructor(exchange: Exchange) {
    this.#exchange = exchange
  }

  /** The limit on the whole exchange is known. */
  beginTotal(): void {
    const { startedAt, timeouts } = this.#exchange
    if (timeouts.total > 0) this.#totalAt = startedAt + timeouts.total
    this.deadline = this.#totalAt
  }

  #waitFor(what: number, at: number): void {
    this.#waitsFor = what
    this.deadline = Math.min(this.#totalAt, at)
  }

  /** @param at on the clock's scale. */
  awaitUntil(at: number): void {
    this.deadline = Math.min(this.#totalAt, at)
  }

  stopAwaiting(): void {
    if (this.#exchange.awaitsInterceptors) return this.awaitInterceptors()
    this.#waitsFor = NOTHING
    this.deadline = this.#totalAt
  }

  #stopAwaitingBody(): void {
    if (this.#waitsFor === BODY) this.stopAwaiting()
  }

  /** No attempt runs: they have to respond, to go on with the response, or to send a request. */
  awaitInterceptors(): void {
    const ms = this.#interceptMs
    this.#waitFor(INTERCEPTORS, ms > 0 ? this.#exchange.services.clock.now() + ms : Number.POSITIVE_INFINITY)
  }

  /** A response that has begun may take as long as it moves. */
  get #interceptMs(): number {
    const { events, timeouts } = this.#exchange
    return events.hasBegun ? timeouts.idle : timeouts.intercept
  }

  // The request's body:

  onBodyProgress(bytes: number): void {
    const { scope } = this.#exchange.front
    if (scope === null) this.#onBodyProgress(bytes)
    else scope.runInAsyncScope(this.#onBodyProgress, this, bytes)
  }

  #onBodyProgress(bytes: number): void {
    const exchange = this.#exchange
    exchange.requestBytes += bytes
    const fault = bodyLimitFault(exchange.requestBytes, exchange.snapshot.limits)
    if (fault !== null) return exchange.fail(fault, 'aborted')
    this.#awaitedBytes += bytes
    this.#checkBody()
    this.#noteProgress(exchange.services.clock.now())
  }

  /** The client has sent, or taken, something: whatever waits for it goes on. */
  #noteProgress(now: number): void {
    if (this.#waitsFor === INTERCEPTORS) this.awaitInterceptors()
    for (let one = this.#exchange.running; one !== null; one = one.earlier) one.current?.onBodyProgress(now)
  }

  onBodyAwaited(): void {
    this.#awaitedAt = this.#exchange.services.clock.now()
    this.#awaitedBytes = 0
    this.#checkBody()
    this.#noteProgress(this.#awaitedAt)
  }

  onBodyHeld(): void {
    this.#stopAwaitingBody()
    this.#noteProgress(this.#exchange.services.clock.now())
  }

  onBodyComplete(): void {
    this.#stopAwaitingBody()
    const { body, running } = this.#exchange
    // Else an interceptor stands between, and knows when the backend has all.
    if (running?.body === body) running?.current?.onBodyComplete()
    else if (this.#waitsFor === INTERCEPTORS) this.awaitInterceptors()
  }

  onBodyThrew(thrown: unknown): void {
    const { body, running } = this.#exchange
    if (running?.body === body) running?.current?.onPoolThrew(thrown)
    else this.#exchange.fail(hookError('the reader of the request body', thrown, null, 'intercept'), 'aborted')
  }

  #checkBody(): void {
    if (this.#exchange.snapshot.limits.minBodyBytesPerSecond === 0) return
    if (this.#isSending) this.#waitFor(BODY, this.#slowAt)
    else this.#stopAwaitingBody()
  }

  /** Somebody reads the body: a backend, or an interceptor. */
  get #isSending(): boolean {
    for (let one = this.#exchange.running; one !== null; one = one.earlier)
      if (one.current?.isSending === true) return true
    return this.#exchange.awaitsInterceptors
  }

  /** When the client is too slow if nothing more comes. */
  get #slowAt(): number {
    const { minBodyBytesPerSecond } = this.#exchange.snapshot.limits
    return this.#awaitedAt + RATE_GRACE_MS + (this.#awaitedBytes * 1000) / minBodyBytesPerSecond
  }

  /** The client takes no more of the response for now, or is known to have taken too little. */
  onBlocked(isBlocked: boolean): void {
    const { limits } = this.#exchange.snapshot
    if (this.#waitsFor === INTERCEPTORS) this.awaitInterceptors()
    if (limits.minReadBytesPerSecond === 0 || (!isBlocked && this.#blockedAt < 0)) return
    if (this.#blockedAt < 0) this.#blockedAt = this.#exchange.services.clock.now()
    this.#waitFor(READER, this.#unreadAt)
  }

  /** The client takes more. */
  onDrain(isOver: boolean): void {
    const now = this.#exchange.services.clock.now()
    if (this.#blockedAt >= 0) {
      this.#blockedMs += now - this.#blockedAt
      this.#blockedAt = -1
    }
    if (isOver) this.awaitLastBytes()
    else this.stopAwaiting()
    // The flow of an interceptor may lie between the client and the backend.
    if (this.#exchange.route?.handler != null) this.#noteProgress(now)
  }

  /** When the client has read too slowly if it takes nothing more. Time in which it waits for the backend is not counted. */
  get #unreadAt(): number {
    const { responseBytes, snapshot } = this.#exchange
    const allowedMs = RATE_GRACE_MS + (responseBytes * 1000) / snapshot.limits.minReadBytesPerSecond
    return this.#blockedAt - this.#blockedMs + allowedMs
  }

  /** Anything that is late from now on, it is not the backend. */
  awaitLastBytes(): void {
    const { services, timeouts } = this.#exchange
    const idleAt = timeouts.idle > 0 ? services.clock.now() + timeouts.idle : Number.POSITIVE_INFINITY
    this.#waitFor(LAST_BYTES, this.#blockedAt >= 0 ? Math.min(idleAt, this.#unreadAt) : idleAt)
  }

  onDeadline(): void {
    this.#exchange.enter(this.#onLate, this)
  }

  #onLate(): void {
    const exchange = this.#exchange
    exchange.services.deadlines.add(this)
    const now = exchange.services.clock.now()
    if (this.endIfTotalReached(now)) return
    if (this.tunnel !== null) return this.tunnel.onLate()
    const { minBodyBytesPerSecond, minReadBytesPerSecond } = exchange.snapshot.limits
    if (this.#waitsFor === INTERCEPTORS) {
      if (exchange.isWaitingForClient(!exchange.events.hasBegun)) return this.onIdle(this.#interceptMs)
      const message = `the interceptors of the route did nothing for ${this.#interceptMs} ms`
      exchange.fail(new ProxyError('ERR_PROXY_INTERCEPT_TIMEOUT', message))
    } else if (this.#waitsFor === BODY) {
      this.#blame(`the client sent less than ${minBodyBytesPerSecond} bytes a second`)
    } else if (this.#blockedAt >= 0 && now >= this.#unreadAt) {
      this.#blame(`the client took less than ${minReadBytesPerSecond} bytes a second`)
    } else this.onIdle()
  }

  /** The client, which is waited for, has moved no byte. */
  onIdle(ms = this.#exchange.timeouts.idle): void {
    this.#blame(`the client moved no byte for ${ms} ms`)
  }

  #blame(message: string): void {
    const { backend, attempts } = this.#exchange
    this.#exchange.fail(new ProxyError('ERR_PROXY_CLIENT_TIMEOUT', message, { backend, attempt: attempts }), 'aborted')
  }

  /** The limit on the whole comes before every other that is reached with it. @returns whether it is reached. */
  endIfTotalReached(now: number): boolean {
    if (now < this.#totalAt) return false
    const { timeouts, running, backend, attempts } = this.#exchange
    const message = `the exchange took more than ${timeouts.total} ms`
    // It counts as no head in time if the backend has had the whole request for most of it.
    const blamesBackend = running?.current?.hasAwaitedHeadFor(timeouts.total, now) ?? false
    this.#exchange.fail(
      new ProxyError('ERR_PROXY_TOTAL_TIMEOUT', message, { backend, attempt: attempts, blamesBackend }),
    )
    return true
  }
}
