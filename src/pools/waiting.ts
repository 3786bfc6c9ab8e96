import type { Lease } from '../contracts/pool.ts'
import type { Backend } from '../model/backend.ts'
import { ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import { type Timed, UNWATCHED } from '../runtime/deadlines.ts'
import type { PoolSettings } from './settings.ts'

/** One exchange that waits for a connection. */
export class Waiter implements Timed {
  /** Set only while it is queued. A connection that is being set up for it has its own limit. */
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  isSettled = false
  /** A connection is being set up for it; otherwise it is queued. */
  hasOpening = true
  /**
   * An earlier attempt has failed: a kept connection could be as stale as the one before, and the request may not be retried once
   * more.
   */
  readonly wantsFresh: boolean
  readonly exchange: ExchangeView
  readonly promise: Promise<Lease>
  #resolve!: (lease: Lease | Promise<Lease>) => void
  #reject!: (error: ProxyError) => void
  readonly #onSettled: (waiter: Waiter) => void
  readonly #backend: Backend
  readonly #maxConnections: number
  readonly #onAbort = (): void => this.fail('ERR_PROXY_CLIENT_GONE', 'is not needed any more')

  constructor(backend: Backend, exchange: ExchangeView, maxConnections: number, onSettled: (waiter: Waiter) => void) {
    this.#backend = backend
    this.#maxConnections = maxConnections
    this.exchange = exchange
    this.wantsFresh = exchange.isRetry
    this.#onSettled = onSettled
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    exchange.signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  onDeadline(): void {
    const { group, timeouts } = this.exchange
    const what = `had no free connection within ${timeouts.acquire} ms: all ${this.#maxConnections} are in use`
    const remedy = `raise pool.maxConnections or timeouts.acquire of group ${group}, or add backends`
    this.fail('ERR_PROXY_ACQUIRE_TIMEOUT', `${what}; ${remedy}`)
  }

  /** Whether it needs a connection of its own, for an upgrade. */
  get isUpgrade(): boolean {
    return this.exchange.upgrade !== null
  }

  /** @param lease a promise if it waits for something else from now on. */
  give(lease: Lease | Promise<Lease>): void {
    this.#settle()
    this.#resolve(lease)
  }

  fail(code: ProxyErrorCode, what: string, cause?: unknown): void {
    this.reject(new ProxyError(code, `backend ${this.#backend.id} ${what}`, { backend: this.#backend, cause }))
  }

  reject(error: ProxyError): void {
    if (this.isSettled) return
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    this.isSettled = true
    this.exchange.signal.removeEventListener('abort', this.#onAbort)
    this.#onSettled(this)
  }
}

/**
 * The exchanges that wait for a connection to one backend, in order of arrival. For some a connection is being set up; the others are
 * queued until one of the existing connections is free.
 */
export class Waiters implements Iterable<Waiter> {
  readonly #backend: Backend
  readonly #settings: PoolSettings
  readonly #all = new Set<Waiter>()
  /** Queued ones that have not been offered another backend. */
  readonly #mayChoose = new Set<Waiter>()
  #queued = 0

  constructor(backend: Backend, settings: PoolSettings) {
    this.#backend = backend
    this.#settings = settings
  }

  [Symbol.iterator](): Iterator<Waiter> {
    return this.#all.values()
  }

  get size(): number {
    return this.#all.size
  }

  /** How many are queued. */
  get queued(): number {
    return this.#queued
  }

  /** Why one more cannot be queued, or `null`. @param whatIsUsed follows "backend x has". */
  refusal(exchange: ExchangeView, whatIsUsed: string): ProxyError | null {
    const { maxWaiting } = this.#settings
    if (this.#queued < maxWaiting) return null
    const what = `backend ${this.#backend.id} has ${whatIsUsed} in use and ${maxWaiting} exchanges waiting`
    const remedy = `raise pool.maxConnections or pool.maxWaiting of group ${exchange.group}, or add backends`
    return new ProxyError('ERR_PROXY_POOL_FULL', `${what}; ${remedy}`, { backend: this.#backend })
  }

  /** One more, for which a connection is being set up unless it is queued. */
  add(exchange: ExchangeView): Waiter {
    const waiter = new Waiter(this.#backend, exchange, this.#settings.maxConnections, this.#onSettled)
    this.#all.add(waiter)
    return waiter
  }

  queue(waiter: Waiter): void {
    const { clock, deadlines, offers } = this.#settings
    const { acquire } = waiter.exchange.timeouts
    waiter.hasOpening = false
    this.#queued++
    if (!offers.made.has(waiter.exchange)) {
      this.#mayChoose.add(waiter)
      offers.waiting++
    }
    if (acquire > 0) waiter.deadline = clock.now() + acquire
    deadlines.add(waiter)
  }

  /** A connection is being set up for it from now on. */
  unqueue(waiter: Waiter): void {
    if (waiter.hasOpening) return
    const { deadlines, offers } = this.#settings
    waiter.hasOpening = true
    this.#queued--
    deadlines.remove(waiter)
    if (this.#mayChoose.delete(waiter)) offers.waiting--
  }

  /**
   * Makes the last to come pick again, since another backend is free. If it comes back, it has lost no place.
   * @returns whether there is one.
   */
  letOnePickAgain(): boolean {
    let last: Waiter | null = null
    for (const waiter of this.#mayChoose) last = waiter
    if (last === null) return false
    this.#settings.offers.made.add(last.exchange)
    last.fail('ERR_PROXY_NO_BACKEND', 'was left for another that has become free')
    return true
  }

  /** Makes them pick again: all of them, or only those that are queued. */
  turnAway(all: boolean): void {
    for (const waiter of this.#all) {
      if (all || !waiter.hasOpening)
        waiter.fail('ERR_PROXY_NO_BACKEND', 'was left for another while the exchange waited for a connection')
    }
  }

  /** The pool is closed. */
  close(): void {
    for (const waiter of this.#all) waiter.fail('ERR_PROXY_CLOSED', 'was not reached: the pool was closed')
  }

  readonly #onSettled = (waiter: Waiter): void => {
    this.#all.delete(waiter)
    this.unqueue(waiter)
  }
}

/** Notifies those who wait for the last connection to be closed. */
export class LastClosed {
  readonly #waiting: (() => void)[] = []

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  notify(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
