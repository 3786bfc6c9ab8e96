import { STATUS_CODES } from 'node:http'
import type { ProxyErrorCode } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange.ts'
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
export function ownAnswer(method: string, headers: RequestHeaders): OwnAnswer | null {
  if (!headers.isOurs || headers.fault !== null) return null
  return method === 'OPTIONS'
    ? { status: 200, ...plainAnswer('') }
    : { status: 501, ...plainAnswer(`501 ${STATUS_CODES[501]}\n`) }
}

/** What of a request's head is past the limits, as the arguments of `reject()`, or `null`. */
export function excess(
  target: string,
  headers: Readonly<HeaderList>,
  { maxTargetBytes, maxHeaders }: Parts['limits'],
): readonly [ProxyErrorCode, string] | null {
  if (headers.length > 2 * maxHeaders)
    return ['ERR_PROXY_HEAD_TOO_LARGE', `the request has more than ${maxHeaders} headers`]
  if (target.length > maxTargetBytes)
    return ['ERR_PROXY_TARGET_TOO_LONG', `the request target is longer than ${maxTargetBytes} bytes`]
  return null
}
