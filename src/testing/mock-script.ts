import type net from 'node:net'
import type { HeaderList } from '../model/exchange-view.ts'
import type { MockHeaders } from './mock-headers.ts'

/** The head of an answer. Framing is added where the headers have none. */
export interface MockHead {
  /** Default 200. */
  readonly status?: number
  /** Default: the usual phrase of the status. */
  readonly reason?: string
  /** A `Content-Length` or `Transfer-Encoding` among them is sent as given, right or wrong. `Connection: close` is obeyed. */
  readonly headers?: MockHeaders
  /** Delimit the body by the end of the connection. Default false; always so for an HTTP/1.0 request. */
  readonly untilClose?: boolean
}

/** A whole answer. */
export interface MockAnswer extends MockHead {
  readonly body?: string | Uint8Array
  /** In place of `body`: pieces, each its own chunk on the wire. */
  readonly chunks?: readonly (string | Uint8Array)[]
  /** Send the body in chunks. Default: where `chunks` or `trailers` are given, else `Content-Length`. */
  readonly chunked?: boolean
  readonly trailers?: MockHeaders
}

/** A request as it was received; filled while its body arrives. */
export interface MockRequest {
  /** Number of the connection that carried it; the first is 1. */
  readonly connection: number
  readonly method: string
  /** Path and query as received. */
  readonly path: string
  /** `1.1` or `1.0`. */
  readonly version: string
  /** Every byte of the head, as latin1, its empty line included. */
  readonly rawHead: string
  readonly headers: HeaderList
  /** The body so far, without its framing. */
  readonly bodyBytes: Buffer
  /** {@link bodyBytes} as UTF-8. */
  readonly bodyText: string
  /** The body so far as it stood on the wire: chunk sizes and trailers included. */
  readonly wireBytes: Buffer
  /** `null` where there are none, or not yet. */
  readonly trailers: HeaderList | null
  /** The last byte of the body has arrived. */
  readonly isComplete: boolean
  /** It asks for `100 Continue`. */
  readonly expectsContinue: boolean
  /** First value of a header, whatever its case. */
  header(name: string): string | undefined
  /** The whole body, without its framing. Rejects where the connection ends before it. */
  body(): Promise<Buffer>
  /** Stop reading from the connection, to be a slow reader. */
  pause(): void
  resume(): void
}

/** The answering end of one request. Nothing here throws; once the connection is gone everything does nothing. */
export interface MockReply {
  /** The connection has been closed, by whomever. */
  readonly closed: Promise<void>
  readonly isClosed: boolean
  /** Everything in one write: head, body, trailers, end. */
  send(answer?: MockAnswer): void
  /** A 1xx head; may be repeated. */
  informational(status: number, headers?: MockHeaders): void
  /** `100 Continue`. */
  continue(): void
  /** The head alone, for `chunk()` and `end()` to follow. Without framing headers the body goes in chunks. */
  head(head?: MockHead): void
  /** A piece of the body, framed as the head said. @returns `false` when the socket's buffer is full: see {@link drained}. */
  chunk(data: string | Uint8Array): boolean
  /** Resolves when what was written has left for the kernel, or the connection is closed. */
  drained(): Promise<void>
  /** The answer is complete; the connection is free for the next request. */
  end(trailers?: MockHeaders): void
  /** Bytes as they are; strings are latin1. The answer is still to be ended, by `end()` or by closing the connection. */
  raw(bytes: string | Uint8Array): boolean
  /** Closes the connection by RST, at once. A unix socket has none and is just closed. */
  reset(): void
  /** Closes the connection by FIN after what was written, wherever in the answer that is. */
  abort(): void
  /** FIN after what was written, but goes on reading. */
  halfClose(): void
  /** Closes the connection after the answer without a word about it in the head. */
  closeAfter(): void
  /**
   * Hands the connection out, paused, after `raw()` has said 101 or before: what comes on it from now on, its end
   * included, is no request and the caller's to read. Bytes that came behind the request are read first.
   */
  takeOver(): net.Socket
}

/** Called when a head has arrived; the body may follow. It may answer later than it returns. */
export type MockHandler = (request: MockRequest, reply: MockReply) => void | Promise<void>
/** What to do with one request: a handler, or an answer that is sent once the body has arrived (after `100 Continue` where asked for). */
export type MockStep = MockHandler | MockAnswer
/** One step for all requests, or a list of them used one after another, the last one for all that follow. */
export type MockScript = MockStep | readonly MockStep[]
