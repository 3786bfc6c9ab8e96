import type { BackendPoolStats, Lease } from '../../contracts/pool.ts'
import type { Backend } from '../../model/backend.ts'
import { ProxyError } from '../../model/errors.ts'
import type { ExchangeView } from '../../model/exchange-view.ts'
import { callEach, warnAbout } from '../../runtime/callbacks.ts'
import { describeError } from '../../runtime/describe-error.ts'
import type { BackendConnections, PoolSettings } from '../settings.ts'
import { LastClosed, type Waiter, Waiters } from '../waiting.ts'
import { Http2Connection, type Http2ConnectionOwner } from './connection.ts'

/** Streams that a connection is expected to take before the backend's settings are known. */
const EXPECTED_STREAMS = 100

/** The connections to one backend that speak HTTP/2. */
export class Http2BackendPool implements BackendConnections, Http2ConnectionOwner {
  readonly #backend: Backend
  readonly #settings: PoolSettings
  readonly #onHttp1: () => void
  /** Those that take requests. */
  readonly #ready = new Set<Http2Connection>()
  readonly #opening = new Set<Http2Connection>()
  /** Those that take no more requests, but still have some or are being closed. */
  readonly #leaving = new Set<Http2Connection>()
  readonly #waiters: Waiters
  /** How many streams the last connection could carry. */
  #streamsEach = EXPECTED_STREAMS
  #opened = 0
  #reused = 0
  #isDraining = false
  readonly #lastClosed = new LastClosed()

  /** @param onHttp1 is called when the backend turns out to speak HTTP/1.1 only. */
  constructor(backend: Backend, settings: PoolSettings, onHttp1: () => void) {
    this.#backend = backend
    this.#settings = settings
    this.#waiters = new Waiters(backend, settings)
    this.#onHttp1 = onHttp1
  }

  acquire(exchange: ExchangeView): Lease | Promise<Lease> {
    const connection = this.#leastLoaded()
    return connection === null ? this.#wait(exchange) : this.#lease(connection)
  }

  #wait(exchange: ExchangeView): Promise<Lease> {
    const { maxConnections } = this.#settings
    // Before the waiter counts itself, and takes the last place.
    const isCovered = this.#isCovered
    const isFull = !isCovered && !this.#mayOpen
    const refusal = isFull
      ? this.#waiters.refusal(exchange, `all streams of ${maxConnections} HTTP/2 connections`)
      : null
    if (refusal !== null) return Promise.reject(refusal)
    const waiter = this.#waiters.add(exchange)
    if (isFull) this.#waiters.queue(waiter)
    else if (!isCovered) this.#open(waiter)
    return waiter.promise
  }

  stats(): BackendPoolStats {
    const open = [...this.#ready, ...this.#leaving]
    return {
      backend: this.#backend.id,
      connections: open.length,
      idle: open.filter(({ streams }) => streams === 0).length,
      connecting: this.#opening.size,
      waiting: this.#waiters.queued,
      opened: this.#opened,
      reused: this.#reused,
      streams: open.reduce((sum, { streams }) => sum + streams, 0),
      maxStreams: [...this.#ready].reduce((sum, { maxStreams }) => sum + maxStreams, 0),
    }
  }

  letOnePickAgain(): boolean {
    return this.#waiters.letOnePickAgain()
  }

  turnAway(all: boolean): void {
    this.#waiters.turnAway(all)
  }

  /** Gives those that wait to the connections of another protocol. */
  moveTo(others: BackendConnections): void {
    for (const waiter of this.#waiters) waiter.give(Promise.resolve(others.acquire(waiter.exchange)))
  }

  async drain(): Promise<void> {
    this.#isDraining = true
    this.turnAway(true)
    for (const connection of this.#ready) connection.retire()
    if (this.#size === 0) return
    await this.#lastClosed.wait()
  }

  destroy(): void {
    this.#isDraining = true
    const all = [...this.#ready, ...this.#opening, ...this.#leaving]
    callEach(all, (connection) => connection.destroy(), warnAbout('a connection that was destroyed'))
    this.#waiters.close()
  }

  // Events of the connections:

  onReady(connection: Http2Connection): void {
    this.#opening.delete(connection)
    this.#ready.add(connection)
    this.#streamsEach = Math.max(1, connection.maxStreams)
    this.onRoom(connection)
    this.#cover()
    if (this.#isDraining) connection.retire()
  }

  onHttp1(connection: Http2Connection): void {
    if (this.#opening.delete(connection)) this.#leaving.add(connection)
    this.#onHttp1()
  }

  onConnectFailed(connection: Http2Connection, error: ProxyError): void {
    this.#opening.delete(connection)
    this.#leaving.add(connection)
    if (this.#opening.size === 0) {
      for (const waiter of this.#waiters) {
        if (!waiter.hasOpening) continue
        const { cause, blamesBackend } = error
        waiter.reject(new ProxyError(error.code, error.message, { cause, backend: this.#backend, blamesBackend }))
      }
    }
    this.#cover()
  }

  onRoom(connection: Http2Connection): void {
    for (const waiter of this.#waiters) {
      if (!connection.hasRoom) return
      waiter.give(this.#lease(connection))
    }
    const { offers } = this.#settings
    if (offers.waiting > 0 && connection.hasRoom && !this.#isDraining) offers.offer(this)
  }

  onRetired(connection: Http2Connection): void {
    this.#ready.delete(connection)
    this.#leaving.add(connection)
    this.#cover()
  }

  onClosed(connection: Http2Connection): void {
    this.#settings.deadlines.remove(connection)
    this.#ready.delete(connection)
    this.#opening.delete(connection)
    this.#leaving.delete(connection)
    if (this.#size === 0) this.#lastClosed.notify()
  }

  get #size(): number {
    return this.#ready.size + this.#opening.size + this.#leaving.size
  }

  /**
   * Those that leave do not count: a backend may end a connection whose streams go on for hours. Where a new one has no room for a single
   * stream, others would have none either.
   */
  get #mayOpen(): boolean {
    for (const { maxStreams, isUsed } of this.#ready) if (maxStreams === 0 && !isUsed) return false
    return this.#ready.size + this.#opening.size < this.#settings.maxConnections
  }

  /** Whether the connections that are being set up are expected to have room for one waiter more. */
  get #isCovered(): boolean {
    return this.#waiters.size - this.#waiters.queued < this.#opening.size * this.#streamsEach
  }

  #leastLoaded(): Http2Connection | null {
    let least: Http2Connection | null = null
    for (const connection of this.#ready) {
      if (connection.hasRoom && (least === null || connection.streams < least.streams)) least = connection
    }
    return least
  }

  #lease(connection: Http2Connection): Lease {
    if (connection.isUsed) this.#reused++
    else this.#opened++
    return connection.lease()
  }

  #open(waiter: Waiter): void {
    const { clock, deadlines, scope } = this.#settings
    let connection: Http2Connection
    try {
      connection = scope.runInAsyncScope(() => new Http2Connection(this.#backend, this, this.#settings))
    } catch (thrown) {
      // Perhaps an unreadable certificate. The waiter gets the error: the caller may be an event of another connection.
      const code = this.#backend.endpoint.isSecure ? 'ERR_PROXY_TLS' : 'ERR_PROXY_CONNECT'
      return waiter.fail(code, `could not be connected to: ${describeError(thrown)}`, thrown)
    }
    this.#opening.add(connection)
    const limit = waiter.exchange.timeouts.connect
    if (limit > 0) connection.deadline = clock.now() + limit
    deadlines.add(connection)
  }

  /** After the connections have changed: sees to it that a connection is being set up for as many waiters as may be. */
  #cover(): void {
    let places = this.#opening.size * this.#streamsEach
    for (const waiter of this.#waiters) {
      if (waiter.isSettled) continue
      if (places === 0 && this.#mayOpen) {
        this.#waiters.unqueue(waiter)
        this.#open(waiter)
        places = this.#streamsEach - 1
      } else if (places > 0) {
        this.#waiters.unqueue(waiter)
        places--
      } else if (waiter.hasOpening) this.#waiters.queue(waiter)
    }
  }
}
