import type { AsyncResource } from 'node:async_hooks'
import type { Duplex } from 'node:stream'
import type { BodySink, Flow } from '../contracts/pool.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import type { Peer } from '../model/peer.ts'

/** Lends bytes to a {@link Front}. */
export type Retainable = Pick<Flow, 'retain'>

/** A front's side of one exchange: the request that it has read, and the response that it writes. */
export interface Front {
  readonly method: string
  readonly target: string
  readonly minorVersion: number
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  /** The async context that hooks of the exchange run in; `null`: any. */
  readonly scope: AsyncResource | null
  /** The request's body has been read to its end, or there is none. */
  readonly isRequestComplete: boolean
  /** The connection ends with this exchange. The front may know it from the start; the exchange may decide it before it responds. */
  isLast: boolean
  /** An interim response. Ignored if the client cannot take one. */
  inform(head: ResponseHead): void
  /** Begins the response. Framing headers other than Content-Length are the front's. */
  respond(head: ResponseHead): void
  /** The bytes belong to `owner`: what cannot be sent at once is copied, or held with `owner.retain()`. `false`: wait for `onClientDrain`. */
  write(chunk: Buffer, owner: Retainable): boolean
  /** Sends what has been held back to be sent together. */
  flush(): void
  end(trailers: HeaderList | null): void
  /** Ends the connection so that the client sees that the response is not complete. */
  abort(): void
  /**
   * Responds with 101 and joins the client's connection to `stream`. Only called for a request that asks for an upgrade.
   * @param rest the first bytes of `stream`.
   */
  upgrade?(headers: HeaderList, stream: Duplex, rest: Buffer, events: TunnelEvents): Tunnelled
}

/** Events that a front tells the exchange that it carries. */
export interface FrontEvents {
  /** The client takes more. */
  onClientDrain(): void
  /** The last byte of the response is gone. */
  onClientDone(): void
  /** The client is gone before that. */
  onClientGone(): void
  /** Something that an application has put around its response threw. */
  onFrontThrew(thrown: unknown): void
}

/** Two connections that are joined. */
export interface Tunnelled {
  readonly isWebSocket: boolean
  /** One side has ended. */
  readonly isHalfClosed: boolean
  /** Bytes that the client, or the backend, has not taken yet, and with which its connection ends. */
  readonly bytesToEndingClient: number
  readonly bytesToEndingBackend: number
  /** Asks both ends of a WebSocket to close. */
  goAway(): void
}

/** Events of {@link Tunnelled} connections. */
export interface TunnelEvents {
  onClientBytes(bytes: number): void
  onBackendBytes(bytes: number): void
  /** Something else has moved: one side has ended, or has taken the last that was written to it. */
  onProgress(): void
  /** Both connections are closed. */
  onTunnelClosed(): void
  /** A stream, or something that listens to the tunnel, threw. */
  onThrown(thrown: unknown): void
}

/** The body of a request, as a front reads it. It is read once. */
export interface FrontBody {
  /** Exact length in bytes, or -1 if only its end will tell. */
  readonly bytes: number
  readonly expectsContinue: boolean
  /** A content coding has been taken off: Content-Encoding is not true any more. */
  readonly isDecoded: boolean
  start(sink: BodySink): void
  resume(): void
  /** Delivers nothing until `resume()`. */
  pause(): void
  /** Nobody will read on. */
  abandon(): void
  whenArrived?(call: () => void): void
}
