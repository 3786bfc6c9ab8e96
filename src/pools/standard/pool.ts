import { AsyncResource } from 'node:async_hooks'
import type { BackendPoolStats, Lease, Pool, PoolStats } from '../../contracts/pool.ts'
import type { Backend } from '../../model/backend.ts'
import { ProxyError } from '../../model/errors.ts'
import type { ExchangeView } from '../../model/exchange-view.ts'
import { callEach, warnAbout } from '../../runtime/callbacks.ts'
import { type Clock, systemClock } from '../../runtime/clock.ts'
import { complete } from '../../runtime/complete.ts'
import { Deadlines } from '../../runtime/deadlines.ts'
import { protocolsOf } from '../dial.ts'
import { Http1BackendPool } from '../http1/backend-pool.ts'
import { Http2BackendPool } from '../http2/backend-pool.ts'
import {
  type BackendConnections,
  type Carrier,
  POOL_DEFAULTS,
  type PoolOptions,
  type PoolSettings,
} from '../settings.ts'
import { createCarrier } from '../upgrade/handshake.ts'

/** The parts that the proxy shares with its pools. */
interface StandardPoolDeps {
  clock?: Clock | undefined
  deadlines?: Deadlines | undefined
}

/**
 * The default {@link Pool}: HTTP/1.1 or HTTP/2 ({@link BackendInit.protocol}) over raw sockets, kept alive. In HTTP/1.1 the most
 * recently used connection is used first, in HTTP/2 the one with the fewest streams. At `maxConnections`, exchanges wait in order:
 * at most `maxWaiting` of them, for at most `timeouts.acquire`.
 */
export function standardPool(options: PoolOptions = {}, deps: StandardPoolDeps = {}): Pool {
  const clock = deps.clock ?? systemClock
  const settings: PoolSettings = {
    ...complete(POOL_DEFAULTS, options),
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
  const pools = new Map<Backend, BackendConnections>()
  let carrier: Carrier | null = null
  let isClosed = false

  async function drain(backend: Backend): Promise<void> {
    const pool = pools.get(backend)
    pools.delete(backend)
    await pool?.drain()
  }

  function poolOf(backend: Backend): BackendConnections {
    let pool = pools.get(backend)
    if (pool === undefined) {
      const mayBeHttp2 = protocolsOf(backend.endpoint).includes('h2')
      pool = mayBeHttp2 ? new TwoProtocols(backend, settings) : new Http1BackendPool(backend, settings)
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

/** The connections to a backend that speaks, or may speak, HTTP/2. Upgrades always go by HTTP/1.1. */
class TwoProtocols implements BackendConnections {
  readonly #http1: Http1BackendPool
  readonly #http2: Http2BackendPool
  /** With `auto`: it has chosen HTTP/1.1. */
  #isHttp1 = false

  constructor(backend: Backend, settings: PoolSettings) {
    this.#http1 = new Http1BackendPool(backend, settings)
    this.#http2 = new Http2BackendPool(backend, settings, () => {
      this.#isHttp1 = true
      this.#http2.moveTo(this.#http1)
    })
  }

  acquire(exchange: ExchangeView): Lease | Promise<Lease> {
    return (this.#isHttp1 || exchange.upgrade !== null ? this.#http1 : this.#http2).acquire(exchange)
  }

  stats(): BackendPoolStats {
    const one = this.#http1.stats()
    const two = this.#http2.stats()
    return {
      ...two,
      connections: one.connections + two.connections,
      idle: one.idle + two.idle,
      connecting: one.connecting + two.connecting,
      waiting: one.waiting + two.waiting,
      opened: one.opened + two.opened,
      reused: one.reused + two.reused,
    }
  }

  turnAway(all: boolean): void {
    this.#http1.turnAway(all)
    this.#http2.turnAway(all)
  }

  letOnePickAgain(): boolean {
    return this.#http2.letOnePickAgain() || this.#http1.letOnePickAgain()
  }

  async drain(): Promise<void> {
    await Promise.all([this.#http1.drain(), this.#http2.drain()])
  }

  destroy(): void {
    this.#http1.destroy()
    this.#http2.destroy()
  }
}
