import { STATUS_CODES } from 'node:http'
import type { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Exchange } from './exchange.ts'

/** A whole response of our own. */
export interface LocalResponse {
  readonly status: number
  readonly headers: HeaderList
  /** ASCII. */
  readonly text: string
}

/** Our own response to a failed exchange. It names the error's code and reveals nothing of the backends. */
export function errorResponse(error: ProxyError): LocalResponse {
  const text = `${error.status} ${STATUS_CODES[error.status] ?? 'Error'} (${error.code})\n`
  return textResponse(error.status, text, Object.entries(error.headers).flat())
}

/** A response with a line of text, or with none. */
export function textResponse(status: number, text: string, more: Readonly<HeaderList> = []): LocalResponse {
  const type = text === '' ? [] : ['Content-Type', 'text/plain; charset=utf-8']
  const headers = [...type, 'Content-Length', String(text.length), 'Cache-Control', 'no-store', ...more]
  return { status, headers, text }
}

/**
 * The one place that decides that the connection ends with a response of ours: the proxy is closing, the client still uploads
 * (it may stop), or it has sent something that cannot be understood, and may mean something else by what follows, too.
 */
export function decideLast({ front, services }: Exchange, status: number): void {
  const isSuspect = status === 400 || status === 414 || status === 431
  if (isSuspect || services.activity.isClosing || !front.isRequestComplete) front.isLast = true
}

/** The exchange has ended. */
export function sendLocally(exchange: Exchange, { status, headers, text }: LocalResponse): void {
  const { front, services } = exchange
  try {
    front.respond({ status, reason: '', headers, bodyBytes: text.length })
    if (text !== '') front.write(Buffer.from(text, 'latin1'), NOBODY)
    // At once: a proxy that closes waits for no exchange that has ended.
    front.flush()
    front.end(null)
  } catch (thrown) {
    services.logger.error({ err: thrown }, `the response threw: ${describeError(thrown)}`)
    exchange.abortClient()
  }
}

const NOBODY = { retain(): void {} }
