import type { BodySource, Connection, ResponseHead } from '../contracts/pool.ts'
import type { HeaderList } from '../model/exchange-view.ts'

/** What is known of the client's connection; one object for all its requests. */
export interface Peer {
  /** Without the `::ffff:` of a mapped IPv4 address and without a zone; empty for a unix socket. */
  readonly address: string
  /** The port that it connected to; 0 for a unix socket. */
  readonly localPort: number
  readonly isSecure: boolean
  /** Its X-Forwarded-* are believed. */
  readonly isTrusted: boolean
}

/** Whoever lends bytes to a {@link Front}. */
export type Retainable = Pick<Connection, 'retain'>

/** A front's side of one exchange: the request that it read, and the response that it writes. */
export interface Front {
  readonly method: string
  readonly target: string
  readonly minorVersion: number
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  /** An interim response. Ignored where the client cannot take one. */
  inform(head: ResponseHead): void
  /** Begins the response. `bodyBytes`: -1 where only the end will tell. Framing headers other than Content-Length are the front's. */
  respond(status: number, reason: string, headers: HeaderList, bodyBytes: number): void
  /** The bytes belong to `owner`: what cannot be sent at once is copied, or held with `owner.retain()`. `false`: wait for `onClientDrain`. */
  write(chunk: Buffer, owner: Retainable): boolean
  /** Sends what has been held back to be sent together. */
  flush(): void
  end(trailers: HeaderList | null): void
  /** A complete answer of our own. */
  refuse(status: number, headers: HeaderList, text: string): void
  /** Ends the connection so that the client sees that the response is not complete. */
  abort(): void
}

/** What a front tells the exchange that it carries. */
export interface FrontEvents {
  /** The client takes more. */
  onClientDrain(): void
  /** The last byte of the response is gone. */
  onClientDone(): void
  /** The client is gone before that. */
  onClientGone(): void
  /** What an application has put around its response threw. */
  onFrontThrew(thrown: unknown): void
}

/** Makes the body of a request available; the front's half of `BodySource`. */
export interface FrontBody extends BodySource {
  /** A content coding has been taken off: Content-Encoding is not true any more. */
  readonly isDecoded: boolean
  /** Delivers nothing until `resume()`. */
  pause(): void
  /** Nobody will read on. */
  abandon(): void
}
