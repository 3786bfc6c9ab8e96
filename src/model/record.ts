import type { OutcomeKind } from './outcome.ts'

/** The facts about an exchange that has ended, for the access log and `finish` listeners. */
export interface ExchangeRecord {
  /** 0 for a request that was refused before an exchange began; only in the access log. */
  readonly id: number
  /** Number of the thread that served it; 0: the one that created the proxy. {@link id} counts up in each thread. */
  readonly thread: number
  /** Start, ms since the Unix epoch. */
  readonly epochMs: number
  /** Address of the client; from X-Forwarded-For if its proxy is trusted. May be empty. */
  readonly clientAddress: string
  /** User of `Authorization: Basic`, unchecked; empty for none. */
  readonly user: string
  /** `-` if the request was refused before this part could be parsed; the same for target and version. */
  readonly method: string
  readonly target: string
  /** `1.0`, `1.1` or `2.0`. */
  readonly httpVersion: string
  readonly host: string
  /** Status sent to the client; 499 if it had disconnected before, 0 if the connection was closed without a response. */
  readonly status: number
  /** Body bytes from the client. */
  readonly requestBytes: number
  /** Body bytes to the client. */
  readonly responseBytes: number
  /** Time from the start to the first byte of the backend's response, ms; -1 if there was none. */
  readonly firstByteMs: number
  readonly totalMs: number
  /** Time spent in attempts, ms; the rest is waiting and the proxy's own time. */
  readonly backendMs: number
  /** Id of the last backend tried, or `null`. */
  readonly backend: string | null
  readonly attempts: number
  readonly group: string
  readonly outcome: OutcomeKind
  readonly errorCode: string | null
  /** gRPC status of a gRPC call; `null` for other requests, and if no status has come. */
  readonly grpcStatus: number | null
  readonly referer: string
  readonly userAgent: string
}
