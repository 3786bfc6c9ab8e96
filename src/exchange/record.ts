import type { ProxyError } from '../model/errors.ts'
import type { OutcomeKind } from '../model/outcome.ts'
import type { ExchangeRecord } from '../model/record.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Exchange } from './exchange.ts'

/** Step 8, once per exchange: updates the counters, logs, emits events. Errors in the record and its events are logged, not thrown. */
export function recordExchange(exchange: Exchange, outcome: OutcomeKind, error: ProxyError | null): void {
  const { activity, logger, observers } = exchange.services
  activity.end()
  if (exchange.route?.handler != null) activity.intercepted.delete(exchange)
  exchange.route?.group.leave()
  try {
    if (error !== null) noteError(exchange, error)
    if (observers.has('onFinish')) observers.notify('onFinish', exchange, makeRecord(exchange, outcome, error))
  } catch (thrown) {
    logger.error({ err: thrown }, `exchange ${exchange.id} could not be recorded: ${describeError(thrown)}`)
  }
  if (activity.active === 0) activity.onIdle?.()
}

function noteError(exchange: Exchange, error: ProxyError): void {
  const { failures, observers } = exchange.services
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
  failures.tell(error, error.code === 'ERR_PROXY_HOOK' ? { ...fields, err: error.cause } : fields)
  if (observers.has('onError')) observers.notify('onError', error, exchange)
}

function makeRecord(exchange: Exchange, outcome: OutcomeKind, error: ProxyError | null): ExchangeRecord {
  const { clock, thread } = exchange.services
  const totalMs = clock.now() - exchange.startedAt
  return {
    id: exchange.id,
    thread,
    epochMs: clock.epoch() - totalMs,
    clientAddress: exchange.clientAddress,
    user: basicUser(exchange.header('authorization')),
    method: exchange.method,
    target: exchange.target,
    httpVersion: exchange.front.version === '2' ? '2.0' : exchange.front.version,
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
    grpcStatus: exchange.grpc?.statusFor(error) ?? null,
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
