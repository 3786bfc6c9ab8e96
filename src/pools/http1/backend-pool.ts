import type { BackendPoolStats, Lease } from '../../contracts/pool.ts'
import type { Backend } from '../../model/backend.ts'
import type { ProxyError } from '../../model/errors.ts'
import type { ExchangeView } from '../../model/exchange-view.ts'
import { callEach, warnAbout } from '../../runtime/callbacks.ts'
import { describeError } from '../../runtime/describe-error.ts'
import type { BackendConnections, PoolSettings } from '../settings.ts'
import { UpgradeConnection, type UpgradeOwner } from '../upgrade/connection.ts'
import { LastClosed, type Waiter, Waiters } from '../waiting.ts'
import { type ConnectionOwner, Http1Connection } from './connection.ts'

/**
 * How long a connection is not used after a response that has no body but could have had one, ms. A backend that sends a body
 * anyway does so in a second write, which the system may hold back for 40 ms (Nagle's algorithm and a delayed ACK).
 */
const STRAY_MS = 50

type Connection = Http1Connection | UpgradeConnection

/** The connections to one backend that speak HTTP/1.1, and those that have been upgraded. */
export class Http1BackendPool implements BackendConnections, ConnectionOwner, UpgradeOwner {
  readonly #backend: Backend
  readonly #settings: PoolSettings
  /** Most recently used last. */
  readonly #idle: Http1Connection[] = []
  /** Not used before {@link STRAY_MS} have passed; oldest first. */
  readonly #suspects = new Set<Http1Connection>()
  readonly #connections = new Set<Connection>()
  /** Connections that are being set up, and the waiters for which they are. */
  readonly #opening = new Map<Connection, Waiter>()
  /** Those of {@link #connections} that are being closed, and do not count against `maxConnections`. */
  readonly #closing = new Set<Connection>()
  readonly #waiters: Waiters
  #opened = 0
  #reused = 0
  #isDraining = false
  readonly #lastClosed = new LastClosed()

  constructor(backend: Backend, settings: PoolSettings) {
    this.#backend = backend
    this.#settings = settings
    this.#waiters = new Waiters(backend, settings)
  }

  acquire(exchange: ExchangeView): Lease | Promise<Lease> {
    if (exchange.upgrade === null && !exchange.isRetry) {
      const idle = this.#takeIdle(this.#clientOf(exchange))
      if (idle !== null) return this.#lease(idle)
      // Those of other clients.
      if (!this.#hasRoom) this.#discard(this.#idle.shift())
    } else if (!this.#hasRoom) this.#discard(this.#idle.shift())
    if (!this.#hasRoom) this.#discardSuspect()
    return this.#wait(exchange)
  }

  #wait(exchange: ExchangeView): Promise<Lease> {
    const { maxConnections } = this.#settings
    const mayOpen = this.#hasRoom
    const refusal = mayOpen ? null : this.#waiters.refusal(exchange, `${maxConnections} connections`)
    if (refusal !== null) return Promise.reject(refusal)
    const waiter = this.#waiters.add(exchange)
    if (mayOpen) this.#open(waiter)
    else this.#waiters.queue(waiter)
    return waiter.promise
  }

  stats(): BackendPoolStats {
    return {
      backend: this.#backend.id,
      connections: this.#connections.size - this.#opening.size,
      idle: this.#idle.length,
      connecting: this.#opening.size,
      waiting: this.#waiters.queued,
      opened: this.#opened,
      reused: this.#reused,
    }
  }

  letOnePickAgain(): boolean {
    return this.#waiters.letOnePickAgain()
  }

  /** Offers this backend to other waiters: it can carry another request, and nobody waits for it here. */
  #offer(): void {
    const { offers } = this.#settings
    if (offers.waiting > 0 && this.#waiters.queued === 0 && !this.#isDraining) offers.offer(this)
  }

  turnAway(all: boolean): void {
    this.#waiters.turnAway(all)
  }

  async drain(): Promise<void> {
    this.#isDraining = true
    this.turnAway(true)
    for (const connection of this.#idle.splice(0)) connection.destroy()
    for (const connection of this.#suspects) connection.destroy()
    this.#suspects.clear()
    if (this.#connections.size === 0) return
    await this.#lastClosed.wait()
  }

  destroy(): void {
    this.#isDraining = true
    callEach(this.#connections, (connection) => connection.destroy(), warnAbout('a connection that was destroyed'))
    this.#waiters.close()
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
      const isFit =
        !waiter.isUpgrade &&
        (!waiter.wantsFresh || !connection.isUsed) &&
        connection.client === this.#clientOf(waiter.exchange)
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
    if (this.#waiters.queued > 0 || this.#isDraining) return this.onSpent(connection)
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
    if (this.#connections.size === 0) this.#lastClosed.notify()
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

  /** Whose requests alone a connection may carry, because its PROXY header names one client; empty: anybody's. */
  #clientOf(exchange: ExchangeView): string {
    return this.#backend.endpoint.proxyProtocol === null ? '' : exchange.clientAddress
  }

  #takeIdle(client: string): Http1Connection | null {
    const isShared = this.#backend.endpoint.proxyProtocol === null
    for (;;) {
      const connection = isShared ? this.#idle.pop() : this.#idleOf(client)
      if (connection === undefined) return null
      if (connection.isUsable && connection.deadline > this.#settings.clock.now()) return connection
      this.#discard(connection)
    }
  }

  #idleOf(client: string): Http1Connection | undefined {
    const index = this.#idle.findLastIndex((one) => one.client === client)
    return index < 0 ? undefined : this.#idle.splice(index, 1)[0]
  }

  #lease(connection: Connection): Lease {
    connection.lease()
    if (connection.isReused) this.#reused++
    else this.#opened++
    return connection
  }

  #open(waiter: Waiter): void {
    const { clock, deadlines, scope } = this.#settings
    const client = this.#clientOf(waiter.exchange)
    let connection: Connection
    try {
      connection = scope.runInAsyncScope(() =>
        waiter.isUpgrade
          ? new UpgradeConnection(this.#backend, client, this, this.#settings)
          : new Http1Connection(this.#backend, client, this, this.#settings),
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
    if (this.#waiters.queued === 0) return
    for (const waiter of this.#waiters) {
      if (!this.#hasRoom) return
      if (waiter.hasOpening) continue
      this.#waiters.unqueue(waiter)
      this.#open(waiter)
    }
  }
}
