import type { AsyncResource } from 'node:async_hooks'
import type { ClientRequest } from 'node:http'
import type { Socket } from 'node:net'
import type { BackendPoolStats, Lease } from '../contracts/pool.ts'
import type { ResponseBounds } from '../http1/response-parser.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { RequestHead } from '../model/message.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Complete } from '../runtime/complete.ts'
import type { Deadlines } from '../runtime/deadlines.ts'

/** Limits of {@link standardPool}; all are per backend. */
export interface PoolOptions {
  /** Most connections, including upgraded ones (WebSocket). To a backend with HTTP/2, so many of each kind. Default 256. */
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
  /**
   * HTTP/2: after so long without a byte from a backend that has requests, asks it whether it is there (PING); without an answer
   * within 5 s the connection is lost, ms. Default 0: never, since gRPC servers count frequent pings as an attack.
   */
  pingMs?: number | undefined
}

/** The defaults of {@link standardPool}. */
export const POOL_DEFAULTS: Readonly<Complete<PoolOptions>> = Object.freeze({
  maxConnections: 256,
  maxWaiting: 1024,
  keepAliveMs: 4000,
  maxResponseHeadBytes: 65536,
  maxInterimResponses: 100,
  pingMs: 0,
})

/** RFC 9110 section 10.1.1: do not wait forever for a 100 that a backend may not support, ms. */
export const CONTINUE_WAIT_MS = 1000
/** After this many turns of the event loop it is certain that the sockets were polled in between. */
export const POLLED_BATCHES = 2

/** The limits of a pool, and the parts that its backends share. */
export interface PoolSettings extends Complete<PoolOptions> {
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
 * Asks a backend for an upgrade over `socket`, which is connected. Throws for a head that cannot be sent.
 * @returns the request, without listeners: the caller listens to `upgrade`, `response` and `error`.
 */
export type Carrier = (head: RequestHead, socket: Socket, bounds: ResponseBounds) => ClientRequest

/**
 * Shared by the backends of one pool: a free backend is offered to an exchange that waits for another. Each exchange gets one
 * offer.
 */
export interface Offers {
  /** Waiting exchanges that have not been offered another backend, over all backends. */
  waiting: number
  /** Exchanges that have been offered one. */
  readonly made: WeakSet<ExchangeView>
  offer(free: BackendConnections): void
}

/** The connections of one protocol to one backend. */
export interface BackendConnections {
  acquire(exchange: ExchangeView): Lease | Promise<Lease>
  stats(): BackendPoolStats
  /** Makes the waiters pick again: all of them, or only those for which no connection is being set up. */
  turnAway(all: boolean): void
  /** Makes one waiter pick again, since another backend is free. @returns whether there is one. */
  letOnePickAgain(): boolean
  drain(): Promise<void>
  destroy(): void
}
