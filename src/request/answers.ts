import { STATUS_CODES } from 'node:http'
import type { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange.ts'

/** Our own answer to a failed exchange. It names the error's code and tells nothing of the backends. */
export function localAnswer(error: ProxyError): { headers: HeaderList; text: string } {
  const text = `${error.status} ${STATUS_CODES[error.status] ?? 'Error'} (${error.code})\n`
  const headers = [
    'Content-Type',
    'text/plain; charset=utf-8',
    'Content-Length',
    String(text.length),
    'Cache-Control',
    'no-store',
    ...Object.entries(error.headers).flat(),
  ]
  return { headers, text }
}
