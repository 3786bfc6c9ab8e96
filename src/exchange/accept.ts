import { STATUS_CODES } from 'node:http'
import type { RequestHeaders } from '../headers/request.ts'
import type { ProxyErrorCode } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { type Answer, textResponse } from './local-response.ts'
import type { Parts } from './services.ts'

/** An answer of ours to a request that is not for a backend. */
export interface OwnResponse extends Answer {
  readonly status: number
}

/**
 * What we say to a request by ourselves, or `null`: yes to OPTIONS whose `Max-Forwards` is spent (RFC 9110 section 7.6.2), and no
 * to TRACE, which goes to no backend: it sends back what proxies have added, and cookies that a script may not read
 * (RFC 9110 section 9.3.8).
 */
export function ownResponse(method: string, { fault, isOurs }: RequestHeaders): OwnResponse | null {
  if (fault !== null) return null
  if (method === 'TRACE') return { status: 405, ...textResponse(`405 ${STATUS_CODES[405]}\n`, ['Allow', ALLOWED]) }
  return isOurs ? { status: 200, ...textResponse('') } : null
}

/** What we let through, of the methods that everybody knows; a backend may take less, or more. */
const ALLOWED = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'

/** What of a request's head is past the limits, as the arguments of `reject()`, or `null`. */
export function headLimitFault(
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
