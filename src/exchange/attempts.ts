import type { Lease, ResponseSink } from '../contracts/pool.ts'
import type { Group } from '../groups/group.ts'
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

/** An exchange that waits for a connection picks again this often at the most, whatever a pool says. */
const MAX_REPICKS = 16

/**
 * Sends one request to a backend, and to another one if that fails and can be repeated:
 *
 *     3 pick -> 4 lease -> 5 send -> 6 judge --again--.
 *       ^_____________________________________________|
 *
 * The last failure, and the response, go to the sink. Each request that an interceptor gives to `next` has one.
 */
export class Attempts {
  readonly exchange: Exchange
  readonly body: ReplayableBody | ForwardedBody | null
  readonly sink: ResponseSink
  /** Older attempts of the same exchange that still run: an interceptor has called `next` more than once. */
  earlier: Attempts | null = null
  /** The latest one. */
  current: Attempt | null = null
  readonly #route: Route
  readonly #group: Group
  #request: RequestHead
  #tried = NONE
  #hasReconnected = false
  /** How often it picked again because its backend, or the choice, had changed while it waited. */
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

  /** One turn of the loop. It goes on in {@link Attempts.judge} if the attempt fails. */
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

  /** 6 judge: an attempt has failed, and none of its response was passed on. Ends it, and tries again or gives up. */
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
    // A backend may close a kept connection whenever it likes, and we were too late to see it: no evidence, repeated or not.
    attempt.end('failed', error, wasReused && error.code === 'ERR_PROXY_RESET')
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
      return hookError(`balancer ${group.balancer.name}`, error)
    }
    if (backend === null) {
      return new ProxyError('ERR_PROXY_NO_BACKEND', `no backend of group ${group.name} is available`)
    }
    // Nothing that comes before the first attempt takes a time worth a look at the clock (80 ns), but for interceptors.
    const isFirst = exchange.attempts === 0 && this.#repicks === 0
    const startedAt = isFirst && this.#route.handler === null ? exchange.startedAt : clock.now()
    const attempt = new Attempt(this, backend, exchange.attempts + 1, startedAt)
    exchange.onAttempt(attempt)
    noteStart(group, exchange, backend, isFirst)
    if (observers.has('onAttempt')) observers.notify('onAttempt', attempt)
    return attempt
  }

  /** The path must stay below the path of a backend's URL, whatever transforms and interceptors have made of it. */
  #confine(): ProxyError | null {
    const { path, fault } = this.exchange.snapshot.router.confine(this.#request.path)
    if (fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
    if (path !== this.#request.path) this.#request = { ...this.#request, path }
    return null
  }

  /** The head for the backend that was picked. */
  headFor(backend: Backend): RequestHead {
    const { snapshot, target } = this.exchange
    return outgoingHead(this.#request, backend, snapshot.forwarding.hostHeader, target)
  }

  /**
   * The wait for a connection is of no use any more: picks again, as if it had not waited. Nobody is to blame, and it
   * is no retry. @returns `false` if that has happened too often.
   */
  pickAgain(attempt: Attempt, error: ProxyError): boolean {
    if (this.#repicks === MAX_REPICKS) return false
    this.#repicks++
    attempt.end('aborted', error)
    this.exchange.attempts--
    this.next()
    return true
  }

  /** If all are busy, to ask the same one again would only make its queue longer. */
  #mayHelp({ code }: ProxyError): boolean {
    const isBusy = code === 'ERR_PROXY_POOL_FULL' || code === 'ERR_PROXY_ACQUIRE_TIMEOUT'
    return !isBusy || this.#group.hasUntried(this.#tried)
  }

  /** Ends them, without a notice to the sink, when `signal` is aborted. */
  endWith(signal: AbortSignal): void {
    const cancel = (): void => {
      this.abort('aborted', null)
      this.exchange.onAttemptsOver(this)
    }
    signal.addEventListener('abort', cancel, { once: true })
    this.#forgetSignal = () => signal.removeEventListener('abort', cancel)
  }

  /** The backend has taken all that came of a body of an interceptor's. */
  get isWaitingForBody(): boolean {
    return this.body instanceof ForwardedBody && this.body.isWaiting
  }

  /** The rest of it goes to others. A response that has begun all the same goes on. */
  onBodyLost(error: ProxyError): void {
    if (this.current?.isSending === true) this.current.onError(error)
  }

  /** No attempt follows. */
  giveUp(error: ProxyError): void {
    this.finish()
    this.sink.onError(error)
  }

  /** The last attempt is over. */
  finish(): void {
    this.current = null
    this.#forgetSignal?.()
    this.exchange.onAttemptsOver(this)
  }

  /** The exchange has ended. */
  abort(kind: OutcomeKind, error: ProxyError | null): void {
    this.#forgetSignal?.()
    this.#cancelRetry?.()
    this.#cancelRetry = null
    this.current?.end(kind, error)
    this.current = null
  }

  /** Gives the backend its numbers back. */
  account(attempt: Attempt, isNoEvidence: boolean): void {
    attempt.backend.state.addPending(-1)
    noteEnd(this.#group, this.exchange, attempt, isNoEvidence)
  }

  /** A body may be an interceptor's. */
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
