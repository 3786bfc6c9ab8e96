import type { Lease, ResponseSink } from '../contracts/pool.ts'
import type { Group } from '../groups/group.ts'
import { whyNone } from '../groups/why-none.ts'
import type { Backend } from '../model/backend.ts'
import { hookError, ProxyError } from '../model/errors.ts'
import type { RequestHead } from '../model/message.ts'
import type { OutcomeKind } from '../model/outcome.ts'
import { isPromise } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import { Attempt } from './attempt.ts'
import type { Exchange } from './exchange.ts'
import { ForwardedBody } from './forwarded-body.ts'
import { outgoingHead } from './outgoing.ts'
import { noteEnd, noteStart, retryDelay } from './policies.ts'
import type { ReplayableBody } from './replayable-body.ts'
import { retrySafety } from './retry-safety.ts'
import type { Route } from './snapshot.ts'

const NONE: readonly Backend[] = []

/** The most times that one exchange picks another backend while it waits for a connection, whatever the pool reports. */
const MAX_REPICKS = 16

/**
 * Sends one request to a backend, and to another one if that attempt fails and may be repeated:
 *
 *     3 pick -> 4 lease -> 5 send -> 6 judge --retry--.
 *       ^_____________________________________________|
 *
 * The response, or the last failure, goes to the sink. Each request that an interceptor passes to `next` has its own `Attempts`.
 */
export class Attempts {
  readonly exchange: Exchange
  readonly body: ReplayableBody | ForwardedBody | null
  readonly sink: ResponseSink
  /** Older attempts of the same exchange that still run, if an interceptor has called `next` more than once. */
  earlier: Attempts | null = null
  /** The latest attempt. */
  current: Attempt | null = null
  readonly #route: Route
  readonly #group: Group
  #request: RequestHead
  #tried = NONE
  #hasReconnected = false
  /** How often it picked another backend because its backend, or the choice, had changed while it waited. */
  #repicks = 0
  #cancelRetry: (() => void) | null = null
  #forgetSignal: (() => void) | null = null

  constructor(
    exchange: Exchange,
    route: Route,
    request: RequestHead,
    body: ReplayableBody | ForwardedBody | null,
    sink: ResponseSink,
  ) {
    this.exchange = exchange
    this.body = body
    this.sink = sink
    this.#route = route
    this.#group = route.group
    this.#request = request
  }

  /** Starts one attempt. If it fails, {@link Attempts.judge} continues. */
  next(): void {
    // 3 pick
    const attempt = this.#pick()
    if (attempt instanceof ProxyError) return this.giveUp(attempt)
    this.current = attempt
    // 4 lease
    let leased: Lease | Promise<Lease>
    try {
      leased = this.#group.pool.acquire(attempt.backend, this.exchange)
    } catch (thrown) {
      return attempt.onLeaseFailed(thrown)
    }
    // 5 send
    if (isPromise(leased)) attempt.awaitLease(leased)
    else attempt.onLeased(leased)
  }

  /** 6 judge: ends an attempt that failed before any of its response was passed on; then retries or gives up. */
  judge(attempt: Attempt, error: ProxyError): void {
    const { exchange, body } = this
    const { wasReused } = attempt
    const safety = retrySafety({
      method: this.#request.method,
      isUpgrade: exchange.upgrade !== null,
      error,
      isReplayable: body === null || body.isReplayable,
      wasReused,
      hasReconnected: this.#hasReconnected,
    })
    // A backend may close a kept connection at any time, and we noticed it too late. This is no evidence against it, retried or not.
    attempt.end('failed', error, safety === 'reconnect' || (wasReused && error.code === 'ERR_PROXY_RESET'))
    if (safety === 'reconnect') this.#hasReconnected = true
    else this.#tried = [...this.#tried, attempt.backend]
    const delayMs =
      safety === 'reconnect'
        ? 0
        : safety === 'policy' && this.#mayHelp(error)
          ? retryDelay(this.#group, exchange, error)
          : -1
    if (delayMs < 0 || exchange.isEnded) return this.giveUp(error)
    const { logger, observers } = exchange.services
    logger.info({ exchange: exchange.id, code: error.code, delayMs }, `retrying: ${error.message}`)
    if (observers.has('onRetry')) observers.notify('onRetry', exchange, error, delayMs)
    // An observer may have aborted the request.
    if (this.current === attempt) this.#again(delayMs)
  }

  #again(delayMs: number): void {
    if (delayMs === 0) return this.next()
    this.#cancelRetry = this.exchange.services.clock.schedule(delayMs, () => {
      this.#cancelRetry = null
      this.exchange.enter(this.next, this)
    })
  }

  #pick(): Attempt | ProxyError {
    const { exchange } = this
    const { clock, observers } = exchange.services
    const group = this.#group
    if (group.hasBasePaths) {
      const fault = this.#confine()
      if (fault !== null) return fault
    }
    let backend: Backend | null
    try {
      backend = group.take(this.#tried, exchange)
    } catch (error) {
      return hookError(`balancer ${group.balancer.name}`, error, null, 'pick')
    }
    if (backend === null) {
      return new ProxyError('ERR_PROXY_NO_BACKEND', whyNone(group))
    }
    // Reading the clock (80 ns) is not worth it for the first attempt: only interceptors take noticeable time before it.
    const isFirst = exchange.attempts === 0 && this.#repicks === 0
    const startedAt = isFirst && this.#route.handler === null ? exchange.startedAt : clock.now()
    const attempt = new Attempt(this, backend, exchange.attempts + 1, startedAt)
    exchange.onAttempt(attempt, this.#hasReconnected || this.#tried.length > 0)
    noteStart(group, exchange, backend, isFirst)
    if (observers.has('onAttempt')) observers.notify('onAttempt', attempt)
    return attempt
  }

  /** Keeps the path below the path of the backend's URL, even after transforms and interceptors. @returns why it cannot, or `null`. */
  #confine(): ProxyError | null {
    const { path, fault } = this.exchange.snapshot.router.confine(this.#request.path)
    if (fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
    if (path !== this.#request.path) this.#request = { ...this.#request, path }
    return null
  }

  /** The request head for the backend that was picked. */
  headFor(backend: Backend): RequestHead {
    const { snapshot, target, call } = this.exchange
    const hostHeader = call?.hostHeader ?? snapshot.forwarding.hostHeader
    return outgoingHead(this.#request, backend, hostHeader, call?.path ?? target)
  }

  /**
   * Picks another backend because waiting for this connection has become useless. It does not count as an attempt, a retry or a
   * failure. @returns `false` if that has happened too often.
   */
  pickAgain(attempt: Attempt, error: ProxyError): boolean {
    if (this.#repicks === MAX_REPICKS) return false
    this.#repicks++
    attempt.end('aborted', error)
    this.exchange.attempts--
    this.next()
    return true
  }

  /** Whether a retry may help. If all backends are busy, a retry at the same one would only make its queue longer. */
  #mayHelp({ code }: ProxyError): boolean {
    const isBusy = code === 'ERR_PROXY_POOL_FULL' || code === 'ERR_PROXY_ACQUIRE_TIMEOUT'
    return !isBusy || this.#group.hasUntried(this.#tried)
  }

  /** Ends the attempts, without notifying the sink, when `signal` is aborted. */
  endWith(signal: AbortSignal): void {
    const cancel = (): void => {
      this.abort('aborted', null)
      this.exchange.onAttemptsOver(this)
    }
    signal.addEventListener('abort', cancel, { once: true })
    this.#forgetSignal = () => signal.removeEventListener('abort', cancel)
  }

  /** The backend has taken all bytes so far of a body that an interceptor supplies. */
  get isWaitingForBody(): boolean {
    return this.body instanceof ForwardedBody && this.body.isWaiting
  }

  /** A later reader gets the rest of the body. A response that has already begun continues. */
  onBodyLost(error: ProxyError): void {
    if (this.current?.isSending === true) this.current.onError(error)
  }

  /** Ends the attempts with an error: no retry follows. */
  giveUp(error: ProxyError): void {
    this.finish()
    // Once a response has begun, the failure of another call of `next` does not matter.
    if (!this.exchange.events.hasBegun) this.exchange.failure = error
    this.sink.onError(error)
  }

  /** The last attempt is over. */
  finish(): void {
    this.current = null
    this.#forgetSignal?.()
    this.exchange.onAttemptsOver(this)
  }

  /** Ends the current attempt and cancels a planned retry, because the exchange or its signal has ended. The sink is not notified. */
  abort(kind: OutcomeKind, error: ProxyError | null): void {
    this.#forgetSignal?.()
    this.#cancelRetry?.()
    this.#cancelRetry = null
    this.current?.end(kind, error)
    this.current = null
  }

  /** Lowers the backend's pending count, and reports the end of an attempt to the group's policies. */
  account(attempt: Attempt, isNoEvidence: boolean): void {
    attempt.backend.state.addPending(-1)
    noteEnd(this.#group, this.exchange, attempt, isNoEvidence)
  }

  /** Stops reading the body. An interceptor may have supplied it, so it may throw. */
  stopBody(): void {
    try {
      this.body?.stop()
    } catch (thrown) {
      this.exchange.services.logger.error({ err: thrown }, `a request body threw: ${describeError(thrown)}`)
    }
  }

  notePoolThrew(error: unknown): void {
    const message = `the pool of group ${this.#group.name} threw: ${describeError(error)}`
    this.exchange.services.logger.error({ err: error }, message)
  }
}
