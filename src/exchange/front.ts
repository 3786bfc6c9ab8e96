import type { AsyncResource } from 'node:async_hooks'
import type { Duplex } from 'node:stream'
import type { BodySink, Flow } from '../contracts/pool.ts'
import type { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { HttpVersion, ResponseHead } from '../model/message.ts'
import type { Peer } from '../model/peer.ts'

/** The owner of bytes that are lent to a {@link Front}. */
export type Retainable = Pick<Flow, 'retain'>

/** The client's side of one exchange: the request that was read, and the response to write. */
export interface Front {
  readonly method: string
  readonly target: string
  readonly version: HttpVersion
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  /** The async context in which hooks of the exchange run; `null`: any. */
  readonly scope: AsyncResource | null
  /** The request's body has arrived to its end, or there is none. `false` if a front cannot know. */
  readonly isRequestComplete: boolean
  /** The connection ends after this exchange. The front may set it from the start; the exchange may set it before it responds. */
  isLast: boolean
  /** Status of a response that the application has begun by itself since it gave us the request (0: not known), or `null`. */
  readonly ownStatus: number | null
  /** Whether trailers can follow a body. @param bodyBytes its length, or -1 if that is unknown. */
  takesTrailers(bodyBytes: number): boolean
  /** Sends an interim response. Ignored if the client does not support one. */
  inform(head: ResponseHead): void
  /** Begins the response. The front adds the framing headers other than Content-Length. */
  respond(head: ResponseHead): void
  /**
   * Writes bytes of the body. They belong to `owner`: bytes that cannot be sent at once are copied, or held with `owner.retain()`.
   * @returns `false` to wait for `onClientDrain`.
   */
  write(chunk: Buffer, owner: Retainable): boolean
  /** Sends bytes that were held back to be sent together. */
  flush(): void
  end(trailers: HeaderList | null): void
  /** Ends the connection, or the stream, so that the client sees that the response is not complete. @param error why, if it is known. */
  abort(error?: ProxyError): void
  /**
   * Responds with 101 and joins the client's connection to `stream`. Called only for a request that asks for an upgrade.
   * @param rest the first bytes of `stream`.
   */
  upgrade?(headers: HeaderList, stream: Duplex, rest: Buffer, events: TunnelEvents): Tunnelled
}

/** Events of the client's side, of which the front notifies the exchange. */
export interface FrontEvents {
  /** The client can take more bytes. */
  onClientDrain(): void
  /** The last byte of the response has been sent. */
  onClientDone(): void
  /** The client has closed the connection before that. */
  onClientGone(): void
  /** Code that an application has wrapped around its response threw. */
  onFrontThrew(thrown: unknown): void
}

/** Two connections that are joined. */
export interface Tunnelled {
  readonly isWebSocket: boolean
  /** One side has ended. */
  readonly isHalfClosed: boolean
  /** Last bytes for a side whose connection ends after them, and which that side (client or backend) has not taken yet. */
  readonly bytesToEndingClient: number
  readonly bytesToEndingBackend: number
  /** Asks both sides of a WebSocket to close. */
  goAway(): void
}

/** Events of {@link Tunnelled} connections. */
export interface TunnelEvents {
  onClientBytes(bytes: number): void
  onBackendBytes(bytes: number): void
  /** Other progress: one side has ended, or has taken the last bytes written to it. */
  onProgress(): void
  /** Both connections are closed. */
  onTunnelClosed(): void
  /** A stream, or a listener of the tunnel, threw. */
  onThrown(thrown: unknown): void
}

/** The reader of a {@link FrontBody}. */
export interface FrontBodySink extends BodySink {
  /** The rest of the body will not come, for a reason other than the end of the client's connection. */
  onBodyFailed(error: unknown): void
}

/** The body of a request, as a front reads it. It can be read once. */
export interface FrontBody {
  /** Exact length in bytes, or -1 if it is unknown until the end. */
  readonly bytes: number
  readonly expectsContinue: boolean
  /** The body was decoded, so Content-Encoding no longer applies. */
  readonly isDecoded: boolean
  start(sink: FrontBodySink): void
  resume(): void
  /** Stops delivery until `resume()`. */
  pause(): void
  /** The rest of the body will not be read. */
  abandon(): void
  whenArrived?(call: () => void): void
}
