import { AsyncResource } from 'node:async_hooks'
import type { BackendPoolStats, Lease, Pool, PoolStats } from '../../contracts/pool.ts'
import type { Backend } from '../../model/backend.ts'
import { ProxyError, type ProxyErrorCode } from '../../model/errors.ts'
import type { ExchangeView } from '../../model/exchange-view.ts'
import { callEach, warnAbout } from '../../runtime/callbacks.ts'
import { type Clock, systemClock } from '../../runtime/clock.ts'
import { type Complete, complete } from '../../runtime/complete.ts'
import { Deadlines, type Timed, UNWATCHED } from '../../runtime/deadlines.ts'
import { describeError } from '../../runtime/describe-error.ts'
import { UpgradeConnection, type UpgradeOwner } from '../upgrade/connection.ts'
import { type Carrier, createCarrier } from '../upgrade/handshake.ts'
import { type ConnectionOwner, Http1Connection } from './connection.ts'

/** Limits of {@link http1Pool}; all are per backend. */
export interface PoolOptions {
  /** Most connections, including upgraded ones (WebSocket). Default 256. */
  maxConnections?: number | undefined
  /** Exchanges that may wait for a connection; one more gets a 503 at once. Default 1024. */
  maxWaiting?: number | undefined
  /**
   * How long an unused connection is kept, ms; at least one second less than the backend announces. Default 4000. 0: every
   * request gets a new connection.
   */
  keepAliveMs?: number | undefined
  /** Largest response head, bytes; a larger one is a bad response (502). Default 65536. */
  maxResponseHeadBytes?: number | undefined
  /** Most interim responses (1xx) before the final one; with one more it is a bad response (502). Default 100. */
  maxInterimResponses?: number | undefined
}

/** The defaults of {@link http1Pool}. */
export const HTTP1_POOL_DEFAULTS: Readonly<Complete<PoolOptions>> = Object.freeze({
  maxConnections: 256,
  maxWaiting: 1024,
  keepAliveMs: 4000,
  maxResponseHeadBytes: 65536,
  maxInterimResponses: 100,
})

/**
 * How long a connection is not used after a response that has no body but could have had one, ms. A backend that sends a body
 * anyway does so in a second write, which the system may hold back for 40 ms (Nagle's algorithm and a delayed ACK).
 */
const STRAY_MS = 50

/** The parts that the proxy shares with its pools. */
interface Http1PoolDeps {
  clock?: Clock | undefined
  deadlines?: Deadlines | undefined
}

interface Settings extends Complete<PoolOptions> {
  readonly clock: Clock
  readonly deadlines: Deadlines
  /**
   * The async context of the code that created the pool. Connections are opened in it: they outlive the request that needed them
   * first.
   */
  readonly scope: AsyncResource
  readonly offers: Offers
  readonly carry: Carrier
}

/**
 * Shared by the backends of one pool: a free backend is offered to an exchange that waits for another. Each exchange gets one
 * offer.
 */
interface Offers {
  /** Waiting exchanges that have not been offered another backend, over all backends. */
  waiting: number
  /** Exchanges that have been offered one. */
  readonly made: WeakSet<ExchangeView>
  offer(free: BackendPool): void
}

/**
 * The default {@link Pool}: HTTP/1.1 over raw sockets, kept alive. The most recently used connection is used first. At
 * `maxConnections`, exchanges wait in order: at most `maxWaiting` of them, for at most `timeouts.acquire`.
 */
export function http1Pool(options: PoolOptions = {}, deps: Http1PoolDeps = {}): Pool {
  const clock = deps.clock ?? systemClock
  const settings: Settings = {
    ...complete(HTTP1_POOL_DEFAULTS, options),
    clock,
    deadlines: deps.deadlines ?? new Deadlines(clock),
    carry(...args) {
      carrier ??= createCarrier()
      return carrier(...args)
    },
    scope: new AsyncResource('heddle.pool', { requireManualDestroy: true }),
    offers: {
      waiting: 0,
      made: new WeakSet(),
      offer(free) {
        for (const pool of pools.values()) if (pool !== free && pool.letOnePickAgain()) return
      },
    },
  }
  const pools = new Map<Backend, BackendPool>()
  let carrier: Carrier | null = null
  let isClosed = false

  async function drain(backend: Backend): Promise<void> {
    const pool = pools.get(backend)
    pools.delete(backend)
    await pool?.drain()
  }

  function poolOf(backend: Backend): BackendPool {
    let pool = pools.get(backend)
    if (pool === undefined) {
      pool = new BackendPool(backend, settings)
      pools.set(backend, pool)
    }
    return pool
  }

  return {
    acquire(backend, exchange) {
      if (isClosed) return Promise.reject(new ProxyError('ERR_PROXY_CLOSED', 'the pool is closed', { backend }))
      return poolOf(backend).acquire(exchange)
    },
    repick(isOut, hasMore) {
      for (const [backend, pool] of pools) {
        if (isOut(backend)) pool.turnAway(true)
        else if (hasMore) pool.turnAway(false)
      }
    },
    stats: (): PoolStats => ({ backends: Array.from(pools.values(), (pool) => pool.stats()) }),
    drain,
    async close() {
      isClosed = true
      await Promise.all(Array.from(pools.values(), (pool) => pool.drain()))
    },
    destroy() {
      isClosed = true
      callEach(pools.values(), (pool) => pool.destroy(), warnAbout('a pool that was destroyed'))
    },
  }
}

/** One exchange that waits for a connection. */
class Waiter implements Timed {
  /** Set only while it waits for others to finish. A connection that is being set up for it has its own limit. */
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  isSettled = false
  /** A connection is being set up for it. */
  hasOpening = false
  /**
   * An earlier attempt has failed: a kept connection could be as stale as the one before, and the request may not be retried once
   * more.
   */
  readonly wantsFresh: boolean
  readonly exchange: ExchangeView
  readonly promise: Promise<Lease>
  #resolve!: (lease: Lease) => void
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

  give(lease: Lease): void {
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

type Connection = Http1Connection | UpgradeConnection

/** The connections to one backend. */
class BackendPool implements ConnectionOwner, UpgradeOwner {
  readonly #backend: Backend
  readonly #settings: Settings
  /** Most recently used last. */
  readonly #idle: Http1Connection[] = []
  /** Not used before {@link STRAY_MS} have passed; oldest first. */
  readonly #suspects = new Set<Http1Connection>()
  readonly #connections = new Set<Connection>()
  /** Connections that are being set up, and the waiters for which they are. */
  readonly #opening = new Map<Connection, Waiter>()
  /** Those of {@link #connections} that are being closed, and do not count against `maxConnections`. */
  readonly #closing = new Set<Connection>()
  /** In order of arrival. */
  readonly #waiters = new Set<Waiter>()
  /** Waiters without a connection being set up for them. */
  #queued = 0
  /** Queued waiters that have not been offered another backend. */
  readonly #mayChoose = new Set<Waiter>()
  #opened = 0
  #reused = 0
  #isDraining = false
  #onDrained: (() => void) | null = null

  constructor(backend: Backend, settings: Settings) {
    this.#backend = backend
    this.#settings = settings
  }

  acquire(exchange: ExchangeView): Lease | Promise<Lease> {
    if (exchange.upgrade === null && !exchange.isRetry) {
      const idle = this.#takeIdle()
      if (idle !== null) return this.#lease(idle)
    } else if (!this.#hasRoom) this.#discard(this.#idle.shift())
    if (!this.#hasRoom) this.#discardSuspect()
    return this.#wait(exchange)
  }

  #wait(exchange: ExchangeView): Promise<Lease> {
    const { maxConnections, maxWaiting, clock, deadlines } = this.#settings
    const mayOpen = this.#hasRoom
    if (!mayOpen && this.#queued >= maxWaiting) {
      const what = `backend ${this.#backend.id} has ${maxConnections} connections in use and ${maxWaiting} exchanges waiting`
      const remedy = `raise pool.maxConnections or pool.maxWaiting of group ${exchange.group}, or add backends`
      const message = `${what}; ${remedy}`
      return Promise.reject(new ProxyError('ERR_PROXY_POOL_FULL', message, { backend: this.#backend }))
    }
    const waiter = new Waiter(this.#backend, exchange, maxConnections, this.#onWaiterSettled)
    this.#waiters.add(waiter)
    if (mayOpen) this.#open(waiter)
    else {
      this.#queue(waiter)
      if (exchange.timeouts.acquire > 0) waiter.deadline = clock.now() + exchange.timeouts.acquire
      deadlines.add(waiter)
    }
    return waiter.promise
  }

  stats(): BackendPoolStats {
    return {
      backend: this.#backend.id,
      connections: this.#connections.size - this.#opening.size,
      idle: this.#idle.length,
      connecting: this.#opening.size,
      waiting: this.#queued,
      opened: this.#opened,
      reused: this.#reused,
    }
  }

  #queue(waiter: Waiter): void {
    const { offers } = this.#settings
    this.#queued++
    if (offers.made.has(waiter.exchange)) return
    this.#mayChoose.add(waiter)
    offers.waiting++
  }

  #unqueue(waiter: Waiter): void {
    const { deadlines, offers } = this.#settings
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

  /** Offers this backend to other waiters: it can carry another request, and nobody waits for it here. */
  #offer(): void {
    const { offers } = this.#settings
    if (offers.waiting > 0 && this.#queued === 0 && !this.#isDraining) offers.offer(this)
  }

  /** Makes the waiters pick again: all of them, or only those for which no connection is being set up. */
  turnAway(all: boolean): void {
    for (const waiter of this.#waiters) {
      if (all || !waiter.hasOpening)
        waiter.fail('ERR_PROXY_NO_BACKEND', 'was left for another while the exchange waited for a connection')
    }
  }

  async drain(): Promise<void> {
    this.#isDraining = true
    this.turnAway(true)
    for (const connection of this.#idle.splice(0)) connection.destroy()
    for (const connection of this.#suspects) connection.destroy()
    this.#suspects.clear()
    if (this.#connections.size === 0) return
    await new Promise<void>((resolve) => {
      const before = this.#onDrained
      this.#onDrained = () => {
        before?.()
        resolve()
      }
    })
  }

  destroy(): void {
    this.#isDraining = true
    callEach(this.#connections, (connection) => connection.destroy(), warnAbout('a connection that was destroyed'))
    for (const waiter of this.#waiters) waiter.fail('ERR_PROXY_CLOSED', 'was not reached: the pool was closed')
  }

  onConnected(connection: Connection): void {
    const opener = this.#opening.get(connection)
    this.#opening.delete(connection)
    // The opener gets it, even if another waiter has waited longer. That one has its own connection on the way. If it got this
    // one and its own failed, the opener would never be notified.
    if (opener?.isSettled === false) opener.give(this.#lease(connection))
    else if (connection instanceof Http1Connection) this.onIdle(connection)
    else this.onSpent(connection)
  }

  onConnectFailed(connection: Connection, error: ProxyError): void {
    const opener = this.#opening.get(connection)
    this.#opening.delete(connection)
    // Its place is free at once.
    if (this.#connections.has(connection)) this.#closing.add(connection)
    opener?.reject(error)
  }

  onIdle(connection: Http1Connection): void {
    for (const waiter of this.#waiters) {
      const isFit = !waiter.isUpgrade && (!waiter.wantsFresh || !connection.isUsed)
      if (isFit) return waiter.give(this.#lease(connection))
      if (waiter.hasOpening) continue
      this.#discard(connection)
      return this.#openForQueued()
    }
    if (this.#isDraining) {
      connection.destroy()
      return
    }
    connection.deadline = this.#settings.clock.now() + connection.idleMs
    this.#idle.push(connection)
    this.#offer()
  }

  onSuspect(connection: Http1Connection): void {
    // Waiters get a new connection: that costs less than to wait, and less than to be given another response.
    if (this.#queued > 0 || this.#isDraining) return this.onSpent(connection)
    connection.deadline = this.#settings.clock.now() + STRAY_MS
    this.#suspects.add(connection)
  }

  onIdleTooLong(connection: Http1Connection): void {
    if (!this.#suspects.delete(connection)) return connection.destroy()
    this.watch(connection)
    this.onIdle(connection)
  }

  onSpent(connection: Connection): void {
    this.#discard(connection)
    this.#openForQueued()
    this.#offer()
  }

  watch(connection: Http1Connection): void {
    this.#settings.deadlines.add(connection)
  }

  onClosed(connection: Connection): void {
    const { deadlines } = this.#settings
    deadlines.remove(connection)
    this.#opening.delete(connection)
    this.#connections.delete(connection)
    this.#closing.delete(connection)
    if (connection instanceof Http1Connection) this.#forget(connection)
    this.#openForQueued()
    if (this.#connections.size === 0) this.#onDrained?.()
  }

  #forget(connection: Http1Connection): void {
    this.#suspects.delete(connection)
    const index = this.#idle.lastIndexOf(connection)
    if (index >= 0) this.#idle.splice(index, 1)
  }

  get #hasRoom(): boolean {
    return this.#connections.size - this.#closing.size < this.#settings.maxConnections
  }

  /** Closes a connection that is not leased; its place is free at once. */
  #discard(connection: Connection | undefined): void {
    if (connection === undefined) return
    connection.destroy()
    if (this.#connections.has(connection)) this.#closing.add(connection)
  }

  #discardSuspect(): void {
    for (const oldest of this.#suspects) {
      this.#suspects.delete(oldest)
      return this.#discard(oldest)
    }
  }

  #takeIdle(): Http1Connection | null {
    for (;;) {
      const connection = this.#idle.pop()
      if (connection === undefined) return null
      if (connection.isUsable && connection.deadline > this.#settings.clock.now()) return connection
      this.#discard(connection)
    }
  }

  #lease(connection: Connection): Lease {
    connection.lease()
    if (connection.isReused) this.#reused++
    else this.#opened++
    return connection
  }

  #open(waiter: Waiter): void {
    const { clock, deadlines, scope } = this.#settings
    waiter.hasOpening = true
    let connection: Connection
    try {
      connection = scope.runInAsyncScope(() =>
        waiter.isUpgrade
          ? new UpgradeConnection(this.#backend, this, this.#settings)
          : new Http1Connection(this.#backend, this, this.#settings),
      )
    } catch (thrown) {
      // Perhaps an unreadable certificate. The waiter gets the error: the caller may be an event of another connection.
      const code = this.#backend.endpoint.isSecure ? 'ERR_PROXY_TLS' : 'ERR_PROXY_CONNECT'
      return waiter.fail(code, `could not be connected to: ${describeError(thrown)}`, thrown)
    }
    this.#connections.add(connection)
    this.#opening.set(connection, waiter)
    const limit = waiter.exchange.timeouts.connect
    if (limit > 0) connection.deadline = clock.now() + limit
    deadlines.add(connection)
  }

  /** A place has become free: sets up connections for the waiters that only wait for others to finish. */
  #openForQueued(): void {
    if (this.#queued === 0) return
    for (const waiter of this.#waiters) {
      if (!this.#hasRoom) return
      if (waiter.hasOpening) continue
      this.#unqueue(waiter)
      this.#open(waiter)
    }
  }

  readonly #onWaiterSettled = (waiter: Waiter): void => {
    this.#waiters.delete(waiter)
    if (!waiter.hasOpening) this.#unqueue(waiter)
  }
}
