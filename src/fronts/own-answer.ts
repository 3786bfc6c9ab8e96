import { STATUS_CODES } from 'node:http'
import { type Answer, plainAnswer } from '../request/answers.ts'
import type { Parts } from '../request/parts.ts'
import type { RequestHeaders } from '../request/request-headers.ts'

/** An answer of ours to a request that is not for a backend. */
export interface OwnAnswer extends Answer {
  readonly status: number
}

/**
 * What we say to a request by ourselves, or `null`. To one whose `Max-Forwards` is spent (RFC 9110 section 7.6.2): yes to
 * OPTIONS; and TRACE we do not implement, since what it sends back is a script's way to cookies that it may not read.
 */
export function ownAnswer(
  { method, target }: { readonly method: string; readonly target: string },
  headers: RequestHeaders,
  limits: Parts['limits'],
): OwnAnswer | null {
  if (target.length > limits.maxTargetBytes) return sayStatus(414)
  if (!headers.isOurs || headers.fault !== null) return null
  return method === 'OPTIONS' ? { status: 200, ...plainAnswer('') } : sayStatus(501)
}

function sayStatus(status: number): OwnAnswer {
  return { status, ...plainAnswer(`${status} ${STATUS_CODES[status]}\n`) }
}
