import type { Duplex } from 'node:stream'
import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import type { Outcome } from '../model/outcome.ts'

/** Receives a request's body, chunk by chunk. */
export interface BodySink {
  /** The sink owns the chunk. @returns `false` to stop delivery until {@link BodySource.resume} is called. */
  onBody(chunk: Buffer): boolean
  /** The body is complete. */
  onBodyEnd(trailers: HeaderList | null): void
}

/** A request's body. It has one reader at a time. A later reader gets it from the first byte if {@link isReplayable}. */
export interface BodySource {
  /** Exact length in bytes, or -1 if it is unknown until the end. */
  readonly bytes: number
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean
  /** {@link start} delivers all of it, even if it was read before. */
  readonly isReplayable: boolean
  /**
   * Starts delivery to `sink`, from the first byte.
   * @throws ProxyError with `ERR_PROXY_BODY_CONSUMED` if it was read before and is not kept.
   */
  start(sink: BodySink): void
  /** Continues after `onBody` returned `false`. */
  resume(): void
  /** Ends delivery to the reader. */
  stop(): void
  /** Before {@link start}, if the client `expectsContinue`: calls back if it begins to send without waiting. */
  whenArrived?(call: () => void): void
}

/** Controls the delivery of a response's body. */
export interface Flow {
  /** Continues after `onData` returned `false`. */
  resume(): void
  /** The last delivered chunk stays in use: its memory must not be overwritten. */
  retain(): void
}

/** Receives a response. Calls are synchronous, in the order of the wire. None follows `onEnd`, `onUpgrade` or `onError`. */
export interface ResponseSink {
  /** An interim response: 1xx other than 101. */
  onInformational(head: ResponseHead): void
  /** The head of the response. @param flow controls the body that follows. */
  onHead(head: ResponseHead, flow: Flow): void
  /**
   * A piece of the body. The bytes are valid only during the call, unless {@link Flow.retain} is called in it; interceptors get
   * their own copies. @returns `false` to stop delivery until {@link Flow.resume} is called.
   */
  onData(chunk: Buffer): boolean
  /** All bytes that have arrived were delivered: send those that were held back to be sent together. */
  onFlush(): void
  /** The response is complete. */
  onEnd(trailers: HeaderList | null): void
  /**
   * The backend has switched protocols (101). Called instead of {@link onHead}, for a request with {@link RequestHead.upgrade}.
   * @param stream the connection to the backend, which the sink then owns. @param rest its first bytes.
   */
  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void
  /**
   * The attempt failed, or the response is not HTTP. An `ERR_PROXY_RESET` with `phase: 'acquire'` says that the
   * connection was lost before any byte of the request was given to the system: any request may then be retried.
   */
  onError(error: ProxyError): void
}

/** The time that it took to set up a connection. */
export interface SetupTimes {
  /** Time to connect TCP, including name look-up, ms. */
  readonly connectMs: number
  /** Time of the TLS handshake after that, ms; 0 without TLS. */
  readonly tlsMs: number
}

/** The right to send one request to a backend; in HTTP/1, over its own connection. */
export interface Lease {
  /** Its connection was idle and had carried an earlier request. A reset before the first response byte then says little about the backend. */
  readonly isReused: boolean
  /** Times of a connection that was set up for this lease; `null` or absent for a kept connection. */
  readonly setup?: SetupTimes | null
  /** Sends the request and delivers the response to `sink`, never during this call. Called once per lease. */
  send(request: RequestHead, body: BodySource | null, sink: ResponseSink): void
  /** Returns the lease. Idempotent. The lease alone decides whether its connection is reused or destroyed. */
  release(outcome: Outcome): void
}

/** Statistics of one backend's connections. */
export interface BackendPoolStats {
  readonly backend: string
  /** Open connections, leased or idle, including upgraded ones (WebSocket). */
  readonly connections: number
  readonly idle: number
  readonly connecting: number
  /** Exchanges that wait for a connection. */
  readonly waiting: number
  /** Leases of new connections since the start. */
  readonly opened: number
  /** Leases of connections that had carried an earlier request. */
  readonly reused: number
  /** HTTP/2: requests on their way, each a stream of a connection. */
  readonly streams?: number
  /** HTTP/2: how many the open connections allow. */
  readonly maxStreams?: number
}

/** Statistics of a pool. */
export interface PoolStats {
  readonly backends: readonly BackendPoolStats[]
}

/** Owns connections to backends and leases them. */
export interface Pool {
  /**
   * Returns a lease at once if a connection is idle; otherwise a promise. Waiting exchanges are limited in number and time. If
   * `exchange.upgrade` is not `null`, the lease is for an upgrade (WebSocket): it ends in {@link ResponseSink.onUpgrade}, or in an
   * ordinary response. The promise rejects with a {@link ProxyError}; any other error or result is ERR_PROXY_HOOK (500). Must give up
   * when `exchange.signal` is aborted. After a rejection with `ERR_PROXY_NO_BACKEND`, the exchange picks another backend as if it had
   * not waited: see {@link repick}.
   */
  acquire(backend: Backend, exchange: ExchangeView): Lease | Promise<Lease>
  stats(): PoolStats
  /**
   * The available backends have changed. Rejects with `ERR_PROXY_NO_BACKEND` the exchanges that wait for a connection to a backend
   * for which `isOut` is true. If `hasMore` (another backend has become available), also rejects those queued for other backends.
   * Without this method, exchanges continue to wait.
   */
  repick?(isOut: (backend: Backend) => boolean, hasMore: boolean): void
  /**
   * Rejects the exchanges that wait for `backend` with `ERR_PROXY_NO_BACKEND`, and closes the idle connections to it. Resolves when
   * the leased ones are returned and closed.
   */
  drain(backend: Backend): Promise<void>
  /** Refuses new leases and closes idle connections. Resolves when all connections are closed. */
  close(): Promise<void>
  /** Destroys all open connections at once. */
  destroy(): void
}
