import type { ProxyError } from '../model/errors.ts'
import { isIdempotent } from '../model/idempotent.ts'

/** What is known of a failed attempt when it is asked whether another may follow. */
export interface FailedAttempt {
  readonly method: string
  /** It asks for another protocol: its handshake opens a session, and is like a POST. */
  readonly isUpgrade: boolean
  readonly error: ProxyError
  /** All of the request can be sent again: it has no body, or its body is kept or unread. */
  readonly isReplayable: boolean
  /** The connection had carried an earlier request. */
  readonly wasReused: boolean
  /** The exchange has already been sent again over a new connection after a kept one was lost. */
  readonly hasReconnected: boolean
}

/**
 * `reconnect`: the backend closed a kept connection as we used it; repeat at once, and think no worse of the backend.
 * `policy`: repeating does no harm; the retry policy decides. `never`: it could do work twice.
 */
export type RetrySafety = 'reconnect' | 'policy' | 'never'

/** Nothing of the request was sent. */
const NOT_SENT = new Set<string>([
  'ERR_PROXY_CONNECT',
  'ERR_PROXY_CONNECT_TIMEOUT',
  'ERR_PROXY_SHORTAGE',
  'ERR_PROXY_TLS',
  'ERR_PROXY_POOL_FULL',
  'ERR_PROXY_ACQUIRE_TIMEOUT',
])

/** Sent, and no final answer came that we could pass on. */
const NO_ANSWER = new Set<string>(['ERR_PROXY_RESET', 'ERR_PROXY_HEADERS_TIMEOUT', 'ERR_PROXY_BAD_RESPONSE'])

/**
 * Whether a failed attempt may be repeated without doing work twice (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
 * A backend may have carried out what was sent to it, so only an idempotent method is sent a second time; any method
 * may be if none of the request was sent.
 */
export function retrySafety(attempt: FailedAttempt): RetrySafety {
  const { code, phase } = attempt.error
  if (!attempt.isReplayable) return 'never'
  if (NOT_SENT.has(code)) return 'policy'
  const isUnsent = code === 'ERR_PROXY_RESET' && phase === 'acquire'
  if (!isUnsent && (attempt.isUpgrade || !isIdempotent(attempt.method))) return 'never'
  if (code === 'ERR_PROXY_RESET' && attempt.wasReused && !attempt.hasReconnected) return 'reconnect'
  return NO_ANSWER.has(code) ? 'policy' : 'never'
}
