import { hookError, ProxyError } from '../model/errors.ts'
import { type Timed, UNWATCHED } from '../runtime/deadlines.ts'
import { bodyLimitFault } from './accept.ts'
import type { Exchange } from './exchange.ts'
import type { Front } from './front.ts'
import type { BodyWatcher } from './replayable-body.ts'

/** Grace period before a minimum rate applies to a client, ms. */
const RATE_GRACE_MS = 5000

/** Things that an exchange waits for, besides a backend. */
const NOTHING = 0
const INTERCEPTORS = 1
/** The client must send more of the request's body: `limits.minBodyBytesPerSecond`. */
const BODY = 2
/** The client must take more of the response: `limits.minReadBytesPerSecond`. */
const READER = 3
/** The whole response is written, and the client's connection must take it: `timeouts.idle`. */
const LAST_BYTES = 4

/** The time limits of one exchange other than the backend's: those of the whole exchange, its interceptors, and its client. */
export class ClientWatch implements BodyWatcher, Timed {
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  /** The upgraded connection, which has its own time limits; `null` before an upgrade. */
  tunnel: { onLate(): void } | null = null
  readonly #exchange: Exchange
  #totalAt = Number.POSITIVE_INFINITY
  #waitsFor = NOTHING
  /** When the client was last asked to send, and how many bytes have arrived since. */
  #awaitedAt = 0
  #awaitedBytes = 0
  /** Since when the client has taken no more of the response (-1: it is taking it), and for how long in total before that. */
  #blockedAt = -1
  #blockedMs = 0

  constructor(exchange: Exchange) {
    this.#exchange = exchange
  }

  /** Starts the limit on the whole exchange. Called when the route, and so the limit, is known, and when it changes. */
  beginTotal(): void {
    const { startedAt, timeouts } = this.#exchange
    this.#totalAt = timeouts.total > 0 ? startedAt + timeouts.total : Number.POSITIVE_INFINITY
    this.deadline = this.#totalAt
  }

  #waitFor(what: number, at: number): void {
    this.#waitsFor = what
    this.deadline = Math.min(this.#totalAt, at)
  }

  /** Sets the deadline of the current wait. @param at on the clock's scale. */
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

  /** No attempt runs: the interceptors must respond, continue the response, or send a request. */
  awaitInterceptors(): void {
    const ms = this.#interceptMs
    this.#waitFor(INTERCEPTORS, ms > 0 ? this.#exchange.services.clock.now() + ms : Number.POSITIVE_INFINITY)
  }

  /** The limit on waiting for interceptors, ms. A response that has begun may go on as long as bytes move. */
  get #interceptMs(): number {
    const { events, timeouts } = this.#exchange
    return events.hasBegun ? timeouts.idle : timeouts.intercept
  }

  // The request's body:

  get scope(): Front['scope'] {
    return this.#exchange.front.scope
  }

  onBodyProgress(bytes: number): void {
    const exchange = this.#exchange
    exchange.requestBytes += bytes
    const { requestBytes, snapshot } = exchange
    const fault =
      bodyLimitFault(requestBytes, snapshot.limits) ?? this.#lengthFault(requestBytes, Number.POSITIVE_INFINITY)
    if (fault !== null) return exchange.fail(fault, 'aborted')
    this.#awaitedBytes += bytes
    this.#checkBody()
    this.#noteProgress(exchange.services.clock.now())
  }

  /** The client has sent or taken bytes: extends the deadlines of everything that waits for it. */
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
    const { body, requestBytes, running } = this.#exchange
    const fault = this.#lengthFault(0, requestBytes)
    if (fault !== null) return this.#exchange.fail(fault, 'aborted')
    // Otherwise an interceptor supplies the attempt's body, and reports when the backend has all of it.
    if (running?.body === body) running?.current?.onBodyComplete()
    else if (this.#waitsFor === INTERCEPTORS) this.awaitInterceptors()
  }

  /** The backend would read the rest of a longer body as another request. @returns the error, or `null`. */
  #lengthFault(least: number, most: number): ProxyError | null {
    const announced = this.#exchange.body?.bytes ?? -1
    if (announced < 0 || (least <= announced && announced <= most)) return null
    return new ProxyError(
      'ERR_PROXY_HOOK',
      'the application has changed the length of the request body in req.rawHeaders',
    )
  }

  onBodyFailed(error: unknown): void {
    this.#exchange.enter(this.#exchange.fail, this.#exchange, hookError('the body of the call', error), 'aborted')
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

  /** A backend or an interceptor reads the body. */
  get #isSending(): boolean {
    for (let one = this.#exchange.running; one !== null; one = one.earlier)
      if (one.current?.isSending === true) return true
    return this.#exchange.awaitsInterceptors
  }

  /** When the client becomes too slow if no more bytes arrive. */
  get #slowAt(): number {
    const { minBodyBytesPerSecond } = this.#exchange.snapshot.limits
    return this.#awaitedAt + RATE_GRACE_MS + (this.#awaitedBytes * 1000) / minBodyBytesPerSecond
  }

  /** The front has written bytes. @param isBlocked the client takes no more for now. */
  onBlocked(isBlocked: boolean): void {
    const { limits } = this.#exchange.snapshot
    if (this.#waitsFor === INTERCEPTORS) this.awaitInterceptors()
    if (limits.minReadBytesPerSecond === 0 || (!isBlocked && this.#blockedAt < 0)) return
    if (this.#blockedAt < 0) this.#blockedAt = this.#exchange.services.clock.now()
    this.#waitFor(READER, this.#unreadAt)
  }

  /** The client takes more of the response. @param isOver all of the response is written. */
  onDrain(isOver: boolean): void {
    const now = this.#exchange.services.clock.now()
    if (this.#blockedAt >= 0) {
      this.#blockedMs += now - this.#blockedAt
      this.#blockedAt = -1
    }
    if (isOver) this.awaitLastBytes()
    else this.stopAwaiting()
    // An interceptor's flow may be between the client and the backend.
    if (this.#exchange.route?.handler != null) this.#noteProgress(now)
  }

  /** When the client becomes too slow a reader if it takes no more bytes. Time during which it waits for the backend does not count. */
  get #unreadAt(): number {
    const { responseBytes, snapshot } = this.#exchange
    const allowedMs = RATE_GRACE_MS + (responseBytes * 1000) / snapshot.limits.minReadBytesPerSecond
    return this.#blockedAt - this.#blockedMs + allowedMs
  }

  /** All of the response is written: from now on only the client can be late. */
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

  /** The client was waited for, and has moved no byte. */
  onIdle(ms = this.#exchange.timeouts.idle): void {
    this.#blame(`the client moved no byte for ${ms} ms`)
  }

  #blame(message: string): void {
    const { backend, attempts } = this.#exchange
    this.#exchange.fail(new ProxyError('ERR_PROXY_CLIENT_TIMEOUT', message, { backend, attempt: attempts }), 'aborted')
  }

  /** Ends the exchange if its total limit is reached. It takes precedence over other limits. @returns whether it is reached. */
  endIfTotalReached(now: number): boolean {
    if (now < this.#totalAt) return false
    const { timeouts, running, backend, attempts, grpc } = this.#exchange
    const isClients = timeouts.total === grpc?.timeoutMs
    const message = `the exchange took more than ${timeouts.total} ms${isClients ? ', which is its grpc-timeout' : ''}`
    // The backend is to blame for a missing head if it has had the whole request for at least half of the limit. Not if a client has
    // set the limit: it could have healthy backends ejected.
    const blamesBackend = !isClients && (running?.current?.hasAwaitedHeadFor(timeouts.total, now) ?? false)
    this.#exchange.fail(
      new ProxyError('ERR_PROXY_TOTAL_TIMEOUT', message, { backend, attempt: attempts, blamesBackend }),
    )
    return true
  }
}
