import type { ProxyError } from './errors.ts'

/**
 * How an attempt or an exchange ended:
 * - `answered`: a complete response was sent to the client, with any status.
 * - `failed`: it failed before any part of the response was sent.
 * - `truncated`: it failed during the response; the client sees it truncated.
 * - `aborted`: the client disconnected. An attempt is also aborted if it ends for a reason that is not the backend's.
 * - `upgraded`: the connection switched to another protocol, and has ended since.
 * - `local`: the proxy responded without a backend (exchanges only).
 */
export type OutcomeKind = 'answered' | 'failed' | 'truncated' | 'aborted' | 'upgraded' | 'local'

/**
 * The end of an attempt or of an exchange. Read it during the call: on the hot path it is the attempt itself, which may
 * change.
 */
export interface Outcome {
  readonly kind: OutcomeKind
  /** Status of the response; 0 if there was none. */
  readonly status: number
  /** gRPC status that the backend has sent; `null` if it has sent none, and for requests that are no gRPC calls. */
  readonly grpcStatus: number | null
  /** Why it failed, or `null`. */
  readonly error: ProxyError | null
  /** Time from the start to the first byte of the response, ms; -1 if there was none. */
  readonly firstByteMs: number
  /** Time from start to end, ms. */
  readonly totalMs: number
}
