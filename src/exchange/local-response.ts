import { STATUS_CODES } from 'node:http'
import type { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Exchange } from './exchange.ts'

/** A complete response of the proxy itself. */
export interface LocalResponse {
  readonly status: number
  readonly headers: HeaderList
  /** ASCII. */
  readonly text: string
}

/** Ends the exchange with a response of the proxy itself. */
export function respondLocally(exchange: Exchange, response: LocalResponse): void {
  exchange.status = response.status
  exchange.end('local', null)
  decideLast(exchange, response.status)
  sendLocally(exchange, response)
}

/** Ends the client's connection. @param error why the response is not complete. */
export function abortClient({ front, services }: Exchange, error?: ProxyError): void {
  try {
    front.abort(error)
  } catch (thrown) {
    services.logger.error({ err: thrown }, `the response threw: ${describeError(thrown)}`)
  }
}

/** Leaves a failed exchange, which has ended, to the caller's `onError`; otherwise sends the proxy's response. */
export function respondToFailure(exchange: Exchange, error: ProxyError): void {
  const { call, services } = exchange
  // The exchange has dropped the bytes of an unread request body: the request may be complete by now.
  decideLast(exchange, error.status)
  if (call?.onError === undefined) return sendLocally(exchange, errorResponse(exchange, error))
  const onThrew = (thrown: unknown): void => {
    services.logger.error({ err: thrown }, `onError threw: ${describeError(thrown)}`)
    sendLocally(exchange, errorResponse(exchange, error))
  }
  try {
    catchRejection(call.onError(error), onThrew)
  } catch (thrown) {
    onThrew(thrown)
  }
}

/** The proxy's response for a failed exchange. It contains the error's code and reveals nothing about the backends. */
function errorResponse({ grpc }: Exchange, error: ProxyError): LocalResponse {
  if (grpc !== null) return grpc.responseTo(error)
  const text = `${error.status} ${STATUS_CODES[error.status] ?? 'Error'} (${error.code})\n`
  return textResponse(error.status, text, Object.entries(error.headers).flat())
}

/** A response with a line of text, or with no body. @param text ASCII. */
export function textResponse(status: number, text: string, more: Readonly<HeaderList> = []): LocalResponse {
  const type = text === '' ? [] : ['Content-Type', 'text/plain; charset=utf-8']
  const headers = [...type, 'Content-Length', String(text.length), 'Cache-Control', 'no-store', ...more]
  return { status, headers, text }
}

/**
 * Decides whether the connection ends after the proxy's own response. It ends if the proxy is closing, if the client still uploads
 * (it may stop), if its body is not wanted, or if its request was not understood, because the bytes after it could be misread as well.
 */
function decideLast({ front, services }: Exchange, status: number): void {
  const isSuspect = status === 400 || status === 413 || status === 414 || status === 431
  if (isSuspect || services.activity.isClosing || !front.isRequestComplete) front.isLast = true
}

/** Sends the proxy's own response. Called after the exchange has ended. */
function sendLocally(exchange: Exchange, { status, headers, text }: LocalResponse): void {
  const { front, services } = exchange
  try {
    front.respond({ status, reason: '', headers, bodyBytes: text.length })
    if (text !== '') front.write(Buffer.from(text, 'latin1'), NOBODY)
    // Flush at once: a closing proxy does not wait for an exchange that has ended.
    front.flush()
    front.end(null)
  } catch (thrown) {
    services.logger.error({ err: thrown }, `the response threw: ${describeError(thrown)}`)
    abortClient(exchange)
  }
}

const NOBODY = { retain(): void {} }
