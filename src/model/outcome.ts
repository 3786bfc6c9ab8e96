import type { ProxyError } from './errors.ts'

/**
 * How an attempt or an exchange ended; a closed union.
 * - `answered`: a complete response went to the client (whatever its status).
 * - `failed`: it failed before any of the response was passed on.
 * - `truncated`: it failed in the middle of the response; the client sees it cut.
 * - `aborted`: the client went away.
 * - `upgraded`: the connection was switched to another protocol and has ended since.
 * - `local`: no backend was involved; the answer is our own (exchanges only).
 */
export type OutcomeKind = 'answered' | 'failed' | 'truncated' | 'aborted' | 'upgraded' | 'local'

/** The end of an attempt or of an exchange. Read it at once: on the hot path the object is the attempt itself. */
export interface Outcome {
  readonly kind: OutcomeKind
  /** Status of the response, or 0 where none came. */
  readonly status: number
  /** Why it did not go well, or `null`. */
  readonly error: ProxyError | null
  /** Time from the start to the first byte of the response, ms; -1 where none came. */
  readonly firstByteMs: number
  /** Time from start to end, ms. */
  readonly totalMs: number
}
