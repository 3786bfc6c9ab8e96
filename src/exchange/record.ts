import { describeError, type ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { OutcomeKind } from '../model/outcome.ts'
import type { ExchangeRecord } from '../model/record.ts'
import type { Parts } from './services.ts'

/** What an exchange must tell of itself to be recorded. */
export interface Recordable extends ExchangeView {
  readonly startedAt: number
  readonly requestBytes: number
  readonly responseBytes: number
  readonly status: number
  readonly firstByteMs: number
  readonly backendMs: number
  readonly backend: { readonly id: string } | null
  readonly front: { readonly minorVersion: number }
}

/** Step 7, once an exchange: counters, the log, events. Nothing comes out of it: what throws in it is logged. */
export function recordExchange(
  parts: Parts,
  exchange: Recordable,
  outcome: OutcomeKind,
  error: ProxyError | null,
): void {
  const { state, events } = parts
  state.end()
  try {
    if (error !== null) tellError(parts, exchange, error)
    if (parts.accessLog !== null || events.has('finish')) {
      const record = makeRecord(parts, exchange, outcome, error)
      parts.accessLog?.(record)
      if (events.has('finish')) events.emit('finish', exchange, record)
    }
  } catch (thrown) {
    parts.logger.error({ err: thrown }, `exchange ${exchange.id} could not be recorded: ${describeError(thrown)}`)
  }
  if (state.active === 0) state.onIdle?.()
}

function tellError(parts: Parts, exchange: Recordable, error: ProxyError): void {
  const fields = {
    exchange: exchange.id,
    code: error.code,
    side: error.side,
    phase: error.phase,
    status: error.status,
    backend: error.backend?.id ?? exchange.backend?.id,
    attempts: exchange.attempts,
    method: exchange.method,
    target: exchange.target,
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
  }
  // A client that goes away is nobody's business.
  if (error.code === 'ERR_PROXY_CLIENT_GONE') parts.logger.debug(fields, error.message)
  else if (error.side === 'client' || error.code === 'ERR_PROXY_NO_ROUTE') parts.refusals.tell(fields, error.message)
  else if (error.code === 'ERR_PROXY_HOOK') parts.logger.error({ ...fields, err: error.cause }, error.message)
  else parts.logger.warn(fields, error.message)
  if (parts.events.has('error')) parts.events.emit('error', error, exchange)
}

function makeRecord(
  parts: Parts,
  exchange: Recordable,
  outcome: OutcomeKind,
  error: ProxyError | null,
): ExchangeRecord {
  const totalMs = parts.clock.now() - exchange.startedAt
  return {
    id: exchange.id,
    thread: parts.thread,
    epochMs: parts.clock.epoch() - totalMs,
    clientAddress: exchange.clientAddress,
    user: basicUser(exchange.header('authorization')),
    method: exchange.method,
    target: exchange.target,
    httpVersion: exchange.front.minorVersion === 0 ? '1.0' : '1.1',
    host: exchange.host,
    status: outcome === 'aborted' && exchange.status === 0 ? 499 : exchange.status,
    requestBytes: exchange.requestBytes,
    responseBytes: exchange.responseBytes,
    firstByteMs: exchange.firstByteMs,
    totalMs,
    backendMs: exchange.backendMs,
    backend: exchange.backend?.id ?? null,
    attempts: exchange.attempts,
    group: exchange.group,
    outcome,
    errorCode: error?.code ?? null,
    referer: exchange.header('referer') ?? '',
    userAgent: exchange.header('user-agent') ?? '',
  }
}

/** The user of `Authorization: Basic` (RFC 7617), as the common log format has it. */
function basicUser(authorization: string | undefined): string {
  const credentials = /^basic +([A-Za-z0-9+/=]+)$/i.exec(authorization ?? '')?.[1]
  if (credentials === undefined) return ''
  const text = Buffer.from(credentials, 'base64').toString('latin1')
  const colon = text.indexOf(':')
  return colon < 0 ? '' : text.slice(0, colon)
}
