import { STATUS_CODES } from 'node:http'
import { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { parseTarget } from '../routing/target.ts'
import type { Exchange } from './exchange.ts'
import { type LocalResponse, textResponse } from './local-response.ts'
import type { Services } from './services.ts'
import type { Snapshot } from './snapshot.ts'

/** Common methods that the proxy forwards. A backend may support fewer, or more. */
const ALLOWED = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'

/**
 * Step 1: decides whether the request may be forwarded. Every front runs the same checks in the same order.
 * @returns the reason to refuse it, or the proxy's own response, or `null` to go on.
 */
export function accept(exchange: Exchange): ProxyError | LocalResponse | null {
  const { services, snapshot, request, method, target, call } = exchange
  const { fault, misuse, isOurs } = request
  const closed = closedFault(services, exchange.upgrade !== null)
  if (closed !== null) return closed
  const limit = headLimitFault(target, request.counted, snapshot.limits)
  if (limit !== null) return limit
  if (fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
  const misdirected = authorityFault(exchange)
  if (misdirected !== null) return misdirected
  if (misuse !== null) {
    return new ProxyError('ERR_PROXY_HOOK', `the application has changed req.headers, and ${misuse}`)
  }
  // TRACE reaches no backend: its response would reveal headers added by proxies, and cookies hidden from scripts (RFC 9110 section 9.3.8).
  if (method === 'TRACE') return textResponse(405, `405 ${STATUS_CODES[405]}\n`, ['Allow', ALLOWED])
  // OPTIONS whose `Max-Forwards` is used up (RFC 9110 section 7.6.2).
  if (isOurs) return textResponse(200, '')
  return call?.fault ?? exchange.grpc?.fault ?? null
}

function closedFault({ activity }: Services, isUpgrade: boolean): ProxyError | null {
  if (activity.isClosed) return new ProxyError('ERR_PROXY_CLOSED', 'the proxy is closed')
  // Running exchanges may finish, but no new tunnel may start.
  if (isUpgrade && activity.isClosing) return new ProxyError('ERR_PROXY_CLOSED', 'the proxy is closing')
  return null
}

/**
 * If clients show certificates, one that has shown its own to one host may not reach another host by the same connection (RFC 9110
 * section 15.5.20).
 */
function authorityFault({ front, request, method, target }: Exchange): ProxyError | null {
  const { identity } = front.peer
  if (identity === undefined) return null
  const absolute = request.isHostSet || target.startsWith('/') ? null : parseTarget(method, target)
  const host = absolute?.host ?? request.host
  if (host === '' || identity.covers(host)) return null
  const message = `the certificate of this connection is not for ${host}, and the listener asks clients for certificates`
  return new ProxyError('ERR_PROXY_MISDIRECTED', message)
}

function headLimitFault(
  target: string,
  headers: Readonly<HeaderList>,
  { maxTargetBytes, maxHeaders }: Snapshot['limits'],
): ProxyError | null {
  if (headers.length > 2 * maxHeaders) {
    return new ProxyError('ERR_PROXY_HEAD_TOO_LARGE', `the request has more than ${maxHeaders} headers`)
  }
  if (target.length > maxTargetBytes) {
    return new ProxyError('ERR_PROXY_TARGET_TOO_LONG', `the request target is longer than ${maxTargetBytes} bytes`)
  }
  return null
}

/** The error for a request body that is announced as, or has grown, larger than the limit; `null` if it is within it. */
export function bodyLimitFault(bytes: number, { maxBodyBytes }: Snapshot['limits']): ProxyError | null {
  if (maxBodyBytes === 0 || bytes <= maxBodyBytes) return null
  return new ProxyError('ERR_PROXY_BODY_TOO_LARGE', `the request body is larger than ${maxBodyBytes} bytes`)
}
