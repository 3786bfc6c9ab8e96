import type { OutcomeKind } from './outcome.ts'

/** All that is told of an exchange when it has ended: the access log's line, and what `finish` listeners get. */
export interface ExchangeRecord {
  /** 0 in the access log's line of a request that was refused before there was an exchange. */
  readonly id: number
  /** The thread that served it; 0: the one that made the proxy. {@link id} counts up in each thread. */
  readonly thread: number
  /** When it began, ms since the Unix epoch. */
  readonly epochMs: number
  /** The client's address, by X-Forwarded-For where its proxy is trusted; may be empty. */
  readonly clientAddress: string
  /** User of `Authorization: Basic`, unchecked; empty for none. */
  readonly user: string
  /** `-`, as the target and the version, where a refused request could not be read so far. */
  readonly method: string
  readonly target: string
  /** `1.0` or `1.1`. */
  readonly httpVersion: string
  readonly host: string
  /** Status that the client got; 499 where it was gone before, 0 where the connection was cut without one. */
  readonly status: number
  /** Body bytes from the client. */
  readonly requestBytes: number
  /** Body bytes to the client. */
  readonly responseBytes: number
  /** From the start to the first byte of the backend's answer, ms; -1 where none came. */
  readonly firstByteMs: number
  readonly totalMs: number
  /** Spent in attempts at backends, ms; the rest was waiting and our own. */
  readonly backendMs: number
  /** Id of the last backend that was tried, or `null`. */
  readonly backend: string | null
  readonly attempts: number
  readonly group: string
  readonly outcome: OutcomeKind
  readonly errorCode: string | null
  readonly referer: string
  readonly userAgent: string
}
