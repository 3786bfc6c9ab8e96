import { STATUS_CODES } from 'node:http'
import type { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'

/** A whole answer of our own. */
export interface Answer {
  readonly headers: HeaderList
  /** ASCII. */
  readonly text: string
}

/** Our own answer to a failed exchange. It names the error's code and tells nothing of the backends. */
export function errorResponse(error: ProxyError): Answer {
  return textResponse(
    `${error.status} ${STATUS_CODES[error.status] ?? 'Error'} (${error.code})\n`,
    Object.entries(error.headers).flat(),
  )
}

/** An answer with a line of text, or with none. */
export function textResponse(text: string, more: Readonly<HeaderList> = []): Answer {
  const type = text === '' ? [] : ['Content-Type', 'text/plain; charset=utf-8']
  return { headers: [...type, 'Content-Length', String(text.length), 'Cache-Control', 'no-store', ...more], text }
}
