import type { ProxyError } from '../model/errors.ts'
import { isIdempotent } from '../model/idempotent.ts'

/** Facts about a failed attempt that decide whether it may be retried. */
export interface FailedAttempt {
  readonly method: string
  /** It asks for another protocol. Its handshake opens a session, so it is treated like a POST. */
  readonly isUpgrade: boolean
  readonly error: ProxyError
  /** The complete request can be sent a second time: it has no body, or its body is kept or unread. */
  readonly isReplayable: boolean
  /** The connection had carried an earlier request. */
  readonly wasReused: boolean
  /** The exchange has already been retried over another connection for that reason. */
  readonly hasReconnected: boolean
}

/**
 * `reconnect`: the backend closed a kept connection as we used it, or did not process the request; retry at once, and do not blame
 * the backend.
 * `policy`: a retry does no harm; the retry policy decides. `never`: a retry is impossible, or could do work twice.
 */
export type RetrySafety = 'reconnect' | 'policy' | 'never'

/** No byte of the request was sent. */
const NOT_SENT = new Set<string>([
  'ERR_PROXY_CONNECT',
  'ERR_PROXY_CONNECT_TIMEOUT',
  'ERR_PROXY_SHORTAGE',
  'ERR_PROXY_TLS',
  'ERR_PROXY_POOL_FULL',
  'ERR_PROXY_ACQUIRE_TIMEOUT',
])

/** Whether no backend can have processed the request, although some of it was sent. */
function isUnprocessed({ code, phase }: ProxyError): boolean {
  return code === 'ERR_PROXY_REFUSED' || (code === 'ERR_PROXY_RESET' && phase === 'acquire')
}

/** The request was sent, and no final response arrived that could be passed on. */
const NO_ANSWER = new Set<string>([
  'ERR_PROXY_RESET',
  'ERR_PROXY_REFUSED',
  'ERR_PROXY_HEADERS_TIMEOUT',
  'ERR_PROXY_BAD_RESPONSE',
])

/**
 * Whether a failed attempt may be retried without doing work twice (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
 * A backend may have executed a request that was sent to it, so only an idempotent method is sent a second time. Any method
 * may be retried if none of the request was sent, or if the backend says that it has not processed it (RFC 9113 section 8.7).
 */
export function retrySafety(attempt: FailedAttempt): RetrySafety {
  const { code } = attempt.error
  if (!attempt.isReplayable) return 'never'
  if (NOT_SENT.has(code)) return 'policy'
  if (!isUnprocessed(attempt.error) && (attempt.isUpgrade || !isIdempotent(attempt.method))) return 'never'
  const isStale = code === 'ERR_PROXY_REFUSED' || (code === 'ERR_PROXY_RESET' && attempt.wasReused)
  if (isStale && !attempt.hasReconnected) return 'reconnect'
  return NO_ANSWER.has(code) ? 'policy' : 'never'
}
