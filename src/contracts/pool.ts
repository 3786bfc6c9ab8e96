import type { Duplex } from 'node:stream'
import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import type { Outcome } from '../model/outcome.ts'

/** Takes a request's body, chunk by chunk. */
export interface BodySink {
  /** The sink owns the chunk. `false`: stop until {@link BodySource.resume} is called. */
  onBody(chunk: Buffer): boolean
  /** The body is complete. */
  onBodyEnd(trailers: HeaderList | null): void
}

/** A request's body. One reader at a time; a later one gets it from the first byte while {@link isReplayable}. */
export interface BodySource {
  /** Exact length in bytes, or -1 if only its end will tell. */
  readonly bytes: number
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean
  /** {@link start} delivers all of it, also if it was read before. */
  readonly isReplayable: boolean
  /**
   * Begins to deliver to `sink`, from the first byte.
   * @throws ProxyError with `ERR_PROXY_BODY_CONSUMED` if it was read before and is not kept.
   */
  start(sink: BodySink): void
  /** Goes on after `onBody` returned `false`. */
  resume(): void
  /** The reader is done: nothing more is delivered to it. */
  stop(): void
  /** Before {@link start}, if the client `expectsContinue`: calls back when it has begun to send all the same. */
  whenArrived?(call: () => void): void
}

/** Controls the delivery of a response's body. */
export interface Flow {
  /** Goes on after `onData` returned `false`. */
  resume(): void
  /** The chunk just delivered is still in use: do not write over it. */
  retain(): void
}

/** Takes a response. All calls are synchronous, in the order of the wire, and never after `onEnd`, `onUpgrade` or `onError`. */
export interface ResponseSink {
  /** A 1xx other than 101. */
  onInformational(head: ResponseHead): void
  /** @param flow of the body that follows. */
  onHead(head: ResponseHead, flow: Flow): void
  /**
   * A piece of the body. The bytes are valid during the call only, unless {@link Flow.retain} is called in it; interceptors get
   * bytes of their own. `false`: stop until {@link Flow.resume} is called.
   */
  onData(chunk: Buffer): boolean
  /** All that has arrived was delivered: send what was held back to be sent together. */
  onFlush(): void
  /** The response is complete. */
  onEnd(trailers: HeaderList | null): void
  /**
   * In place of {@link onHead}, to a request with {@link RequestHead.upgrade}: the backend has switched protocols (101).
   * @param stream the connection to the backend, which belongs to the sink from now on. @param rest its first bytes.
   */
  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void
  /**
   * The attempt failed, or the response is not HTTP. An `ERR_PROXY_RESET` with `phase: 'acquire'` says that the
   * connection was lost before any byte of the request was given to the system: any request can then be sent again.
   */
  onError(error: ProxyError): void
}

/** How long it took to set up a connection. */
export interface SetupTimes {
  /** Until TCP was connected, name look-up included, ms. */
  readonly connectMs: number
  /** The TLS handshake after it, ms; 0 without TLS. */
  readonly tlsMs: number
}

/** The right to send one request to a backend: over a connection of its own in HTTP/1. */
export interface Lease {
  /** Its connection has carried an earlier request; a reset before the first response byte then says little about the backend. */
  readonly isReused: boolean
  /** Of a connection that was set up for this lease; `null`, or absent, for another one. */
  readonly setup?: SetupTimes | null
  /** Sends the request and delivers the response to `sink`, never from within the call. Once per lease. */
  send(request: RequestHead, body: BodySource | null, sink: ResponseSink): void
  /** Gives the lease back. Idempotent; it alone decides between reuse and destruction. */
  release(outcome: Outcome): void
}

/** Figures of one backend's connections. */
export interface BackendPoolStats {
  readonly backend: string
  /** Open connections, leased or idle, upgraded ones (WebSocket) among them. */
  readonly connections: number
  readonly idle: number
  readonly connecting: number
  /** Exchanges that wait for a connection. */
  readonly waiting: number
  /** Leases of new connections since the start. */
  readonly opened: number
  /** Leases of connections that had carried a request before. */
  readonly reused: number
}

/** Figures of a pool. */
export interface PoolStats {
  readonly backends: readonly BackendPoolStats[]
}

/** Owns connections to backends and leases them. */
export interface Pool {
  /**
   * A lease at once if a connection is idle; else a promise, bounded in number and time. If `exchange.upgrade` is not `null`, the
   * lease is for an upgraded connection (WebSocket): it ends in {@link ResponseSink.onUpgrade}, or in an ordinary response.
   * The promise rejects with a {@link ProxyError}; anything else that is thrown or returned is ERR_PROXY_HOOK (500). Gives up when
   * `exchange.signal` is aborted. Rejected with `ERR_PROXY_NO_BACKEND`, the exchange picks again, as if it had not waited: see
   * {@link repick}.
   */
  acquire(backend: Backend, exchange: ExchangeView): Lease | Promise<Lease>
  stats(): PoolStats
  /**
   * Which backends are available has changed. Rejects with `ERR_PROXY_NO_BACKEND` what waits for a connection to one of
   * which `isOut` is true and, where `hasMore` says that another has become available, what is queued for the others.
   * Without this method they go on waiting.
   */
  repick?(isOut: (backend: Backend) => boolean, hasMore: boolean): void
  /** Rejects what waits for `backend` with `ERR_PROXY_NO_BACKEND`. Closes the idle connections to `backend`; resolves when the leased ones are back and closed. */
  drain(backend: Backend): Promise<void>
  /** Refuses new leases, closes idle connections, resolves when all are closed. */
  close(): Promise<void>
  /** Destroys what is still open, at once. */
  destroy(): void
}
