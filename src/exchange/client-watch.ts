import { ProxyError } from '../model/errors.ts'
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
    this.#waitsFor = NOTHING
    this.deadline = this.#totalAt
  }

  #stopAwaitingBody(): void {
    if (this.#waitsFor === BODY) this.stopAwaiting()
  }

  awaitInterceptors(): void {
    const { intercept } = this.#exchange.timeouts
    if (intercept > 0) this.#waitFor(INTERCEPTORS, this.#exchange.services.clock.now() + intercept)
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
    exchange.attempt?.onBodyProgress(exchange.services.clock.now())
  }

  onBodyAwaited(): void {
    this.#awaitedAt = this.#exchange.services.clock.now()
    this.#awaitedBytes = 0
    this.#checkBody()
    this.#exchange.attempt?.onBodyProgress(this.#awaitedAt)
  }

  onBodyHeld(): void {
    this.#stopAwaitingBody()
    this.#exchange.attempt?.onBodyProgress(this.#exchange.services.clock.now())
  }

  onBodyComplete(): void {
    this.#stopAwaitingBody()
    this.#exchange.attempt?.onBodyComplete()
  }

  onBodyThrew(thrown: unknown): void {
    this.#exchange.attempt?.onPoolThrew(thrown)
  }

  #checkBody(): void {
    const { attempt, snapshot } = this.#exchange
    if (snapshot.limits.minBodyBytesPerSecond === 0) return
    if (attempt?.isSending === true) this.#waitFor(BODY, this.#slowAt)
    else this.#stopAwaitingBody()
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
      const message = `the interceptors of the route took more than ${exchange.timeouts.intercept} ms`
      exchange.fail(new ProxyError('ERR_PROXY_INTERCEPT_TIMEOUT', message))
    } else if (this.#waitsFor === BODY) {
      this.#blame(`the client sent less than ${minBodyBytesPerSecond} bytes a second`)
    } else if (this.#blockedAt >= 0 && now >= this.#unreadAt) {
      this.#blame(`the client took less than ${minReadBytesPerSecond} bytes a second`)
    } else this.onIdle()
  }

  /** The client, which is waited for, has moved no byte. */
  onIdle(): void {
    this.#blame(`the client moved no byte for ${this.#exchange.timeouts.idle} ms`)
  }

  #blame(message: string): void {
    const { backend, attempts } = this.#exchange
    this.#exchange.fail(new ProxyError('ERR_PROXY_CLIENT_TIMEOUT', message, { backend, attempt: attempts }), 'aborted')
  }

  /** The limit on the whole comes before every other that is reached with it. @returns whether it is reached. */
  endIfTotalReached(now: number): boolean {
    if (now < this.#totalAt) return false
    const { timeouts, attempt, backend, attempts } = this.#exchange
    const message = `the exchange took more than ${timeouts.total} ms`
    // It counts as no head in time if the backend has had the whole request for most of it.
    const blamesBackend = attempt?.hasAwaitedHeadFor(timeouts.total, now) ?? false
    this.#exchange.fail(
      new ProxyError('ERR_PROXY_TOTAL_TIMEOUT', message, { backend, attempt: attempts, blamesBackend }),
    )
    return true
  }
}
