import type { Socket } from 'node:net'
import type { HeaderList } from '../model/exchange-view.ts'
import type { MockHeaders } from './mock-headers.ts'

/** The head of a response. Framing headers are added if there are none. */
export interface MockHead {
  /** Default 200. */
  readonly status?: number | undefined
  /** Default: the usual phrase of the status. */
  readonly reason?: string | undefined
  /** `Content-Length` and `Transfer-Encoding` are sent as given, correct or not. `Connection: close` is obeyed. */
  readonly headers?: MockHeaders | undefined
  /** Delimit the body by the end of the connection. Default false, but always true for an HTTP/1.0 request. */
  readonly untilClose?: boolean | undefined
}

/** A complete response. */
export interface MockAnswer extends MockHead {
  /** The whole body; text as UTF-8. Default empty. */
  readonly body?: string | Uint8Array | undefined
  /** In place of `body`: pieces, each of which is a chunk on the wire. */
  readonly chunks?: readonly (string | Uint8Array)[] | undefined
  /** Send the body in chunks. Default: true if `chunks` or `trailers` are given; otherwise with `Content-Length`. */
  readonly chunked?: boolean | undefined
  /** Trailers after the body. Default none. */
  readonly trailers?: MockHeaders | undefined
}

/** A received request. Its body is filled in while it arrives. */
export interface MockRequest {
  /** Number of the connection that carried it; the first is 1. */
  readonly connection: number
  /** As received. */
  readonly method: string
  /** Path and query as received. */
  readonly path: string
  /** `1.1` or `1.0`. */
  readonly version: string
  /** Every byte of the head, as latin1, including the empty line. */
  readonly rawHead: string
  /** Names and values in turn, as received. */
  readonly headers: HeaderList
  /** The body so far, without its framing. */
  readonly bodyBytes: Buffer
  /** {@link bodyBytes} as UTF-8. */
  readonly bodyText: string
  /** The body so far as sent on the wire, with chunk sizes and trailers. */
  readonly wireBytes: Buffer
  /** `null` if there are none, or not yet. */
  readonly trailers: HeaderList | null
  /** The last byte of the body has arrived. */
  readonly isComplete: boolean
  /** It asks for `100 Continue`. */
  readonly expectsContinue: boolean
  /** First value of a header, by name in any case. */
  header(name: string): string | undefined
  /** The whole body, without its framing. Rejects if the connection ends before it. */
  body(): Promise<Buffer>
  /** Stops reading from the connection, to simulate a slow reader. */
  pause(): void
  /** Reads on after {@link pause}. */
  resume(): void
}

/** The response to one request. Its methods never throw; after the connection has ended they do nothing. */
export interface MockReply {
  /** Resolves when the connection has been closed, by either side. */
  readonly closed: Promise<void>
  /** The connection has been closed, by either side. */
  readonly isClosed: boolean
  /** Sends everything in one write: head, body, trailers, end. */
  send(answer?: MockAnswer): void
  /** Sends a 1xx head; may be repeated. */
  informational(status: number, headers?: MockHeaders): void
  /** Sends `100 Continue`. */
  continue(): void
  /** Sends only the head; `chunk()` and `end()` follow. Without framing headers the body is sent in chunks. */
  head(head?: MockHead): void
  /**
   * Sends a piece of the body, framed by the head. @returns `false` when the socket's buffer is full: see {@link
   * drained}.
   */
  chunk(data: string | Uint8Array): boolean
  /** Resolves when all written data has been passed to the kernel, or the connection is closed. */
  drained(): Promise<void>
  /** Ends the response; the connection is free for the next request. */
  end(trailers?: MockHeaders): void
  /** Sends bytes as they are; strings are latin1. Afterwards call `end()`, or close the connection. */
  raw(bytes: string | Uint8Array): boolean
  /** Closes the connection by RST, at once. A unix socket has no RST and is just closed. */
  reset(): void
  /** Closes the connection by FIN after the data written so far, even in the middle of the response. */
  abort(): void
  /** Sends a FIN after the data written so far, but continues to read. */
  halfClose(): void
  /** Closes the connection after the response, without an announcement in the head. */
  closeAfter(): void
  /**
   * Hands the paused connection to the caller, before or after `raw()` has sent a 101. The caller reads all further data and
   * the end of the connection, starting with bytes that have already arrived after the request.
   */
  takeOver(): Socket
}

/** Called when a head has arrived; the body may follow. It may respond after it has returned. */
export type MockHandler = (request: MockRequest, reply: MockReply) => void | Promise<void>
/**
 * How to handle one request: a handler, or a response to send once the body has arrived (after `100 Continue` if
 * expected).
 */
export type MockStep = MockHandler | MockAnswer
/** One step for all requests, or a list of steps; the last one serves all further requests. */
export type MockScript = MockStep | readonly MockStep[]
