import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { Outcome } from '../model/outcome.ts'

/** The head of the request for a backend. Framing headers are not in the list: the connection writes them. */
export interface RequestHead {
  readonly method: string
  /** Path and query. */
  readonly path: string
  readonly headers: HeaderList
}

/** The head of a backend's response. Framing and hop-by-hop headers are still in the list, as received. */
export interface ResponseHead {
  readonly status: number
  readonly reason: string
  readonly headers: HeaderList
  /** Exact length of the body in bytes; 0 where there is none; -1 where only its end will tell. */
  readonly bodyBytes: number
}

/** Takes a request's body, chunk by chunk. */
export interface BodySink {
  /** The sink owns the chunk. `false`: stop until {@link BodySource.resume} is called. */
  onBody(chunk: Buffer): boolean
  /** The body is complete. */
  onBodyEnd(trailers: HeaderList | null): void
}

/** A request's body. One reader at a time; what has been read is replayed to a later one while it still can be. */
export interface BodySource {
  /** Exact length in bytes, or -1 where only its end will tell. */
  readonly bytes: number
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean
  /** Begins to deliver to `sink`, from the first byte. */
  start(sink: BodySink): void
  /** Goes on after `onBody` said `false`. */
  resume(): void
  /** Before {@link start}, where the client `expectsContinue`: calls back when it has begun to send all the same. */
  whenArrived?(call: () => void): void
}

/** Takes a backend's response. All calls are synchronous, in the order of the wire, and never after `onEnd` or `onError`. */
export interface ResponseSink {
  /** A 1xx other than 101. */
  onInformational(head: ResponseHead): void
  onHead(head: ResponseHead): void
  /**
   * A piece of the body. The bytes are valid during the call only, unless {@link Connection.retain} is called in it.
   * `false`: stop until {@link Connection.resume} is called.
   */
  onData(chunk: Buffer): boolean
  /** All that has arrived was delivered: what was held back to be sent together goes out now. */
  onFlush(): void
  /** The response is complete. */
  onEnd(trailers: HeaderList | null): void
  /**
   * The connection failed, or what came is not HTTP. An `ERR_PROXY_RESET` with `phase: 'acquire'` says that the
   * connection was lost before any byte of the request was given to the system: any request can then be sent again.
   */
  onError(error: ProxyError): void
}

/** The right to use one connection for one attempt. */
export interface Connection {
  /** It has carried an earlier request; a reset before the first response byte then says little about the backend. */
  readonly isReused: boolean
  /** Sends the request; answers through `sink`. Once per lease. */
  send(request: RequestHead, body: BodySource | null, sink: ResponseSink): void
  /** Reads on after `onData` said `false`. */
  resume(): void
  /** The chunk just delivered is still in use: do not write over it. */
  retain(): void
  /** Gives the connection back. Idempotent; it alone decides between reuse and destruction. */
  release(outcome: Outcome): void
}

/** Figures of one backend's connections. */
export interface BackendPoolStats {
  readonly backend: string
  /** Open connections, leased or idle; connections for upgrades count from the handshake on. */
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

/** The right to have one more connection to a backend, that the pool does not make itself. */
export interface Slot {
  /** Gives it back. Idempotent. */
  release(): void
}

/** A pool's bounds for connections that are upgraded (WebSocket); they are made and kept outside of it. */
export interface UpgradeBounds {
  /** Size of a response head, bytes. */
  readonly maxResponseHeadBytes: number
  /** Interim responses (1xx) before the final one. */
  readonly maxInterimResponses: number
  /**
   * A slot at once while the pool has room for a connection; else a promise, bounded in number and time as
   * {@link Pool.acquire} is. Never throws; the promise rejects with a {@link ProxyError}.
   */
  reserve(backend: Backend, exchange: ExchangeView): Slot | Promise<Slot>
}

/** Owns connections to backends and leases them. */
export interface Pool {
  /** Without it upgrades have no bound of number, and the default bounds of heads. */
  readonly upgrades?: UpgradeBounds
  /**
   * A connection at once where one is idle; else a promise, bounded in number and time.
   * The promise rejects with a {@link ProxyError}; what is thrown, or is anything else, is ERR_PROXY_HOOK (500). Gives up when
   * `exchange.signal` is aborted. Rejected with `ERR_PROXY_NO_BACKEND`, the exchange picks again, as if it had not waited: see
   * {@link repick}.
   */
  acquire(backend: Backend, exchange: ExchangeView): Connection | Promise<Connection>
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
