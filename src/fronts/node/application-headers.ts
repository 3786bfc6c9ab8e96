import type { ServerResponse } from 'node:http'
import { isName } from '../../http1/fields.ts'
import type { HeaderList } from '../../model/exchange-view.ts'

/**
 * Adds the application's values of two list headers to `headers`, if the backend sets them too: its cookies before the backend's,
 * and `Vary` joined into one line. For all other headers the backend's value replaces the application's, as in node.
 */
export function keepApplicationHeaders(res: ServerResponse, headers: HeaderList): void {
  const cookies = res.getHeader('set-cookie')
  const vary = res.getHeader('vary')
  if (cookies !== undefined && has(headers, 'set-cookie')) {
    const list = Array.isArray(cookies) ? cookies : [String(cookies)]
    headers.unshift(...list.flatMap((cookie) => ['Set-Cookie', cookie]))
  }
  if (vary !== undefined && has(headers, 'vary')) joinVary(headers, Array.isArray(vary) ? vary.join() : String(vary))
}

/** Removes a length or a transfer coding that the application has set beforehand: it describes another body. */
export function replaceFraming(res: ServerResponse, headers: Readonly<HeaderList>): void {
  const hasCoding = res.hasHeader('transfer-encoding')
  if (!hasCoding && !res.hasHeader('content-length')) return
  if (!has(headers, 'content-length')) {
    res.removeHeader('content-length')
    // node would use chunked by itself, but not after the header has been removed.
    if (hasCoding) res.setHeader('Transfer-Encoding', 'chunked')
  } else if (hasCoding) res.removeHeader('transfer-encoding')
}

function has(headers: Readonly<HeaderList>, name: string): boolean {
  for (let i = 0; i < headers.length; i += 2) if (isName(headers[i] as string, name)) return true
  return false
}

/**
 * Joins all `Vary` values into one. Field names are compared without case, and `*` replaces all others (RFC 9110 section 12.5.5).
 */
function joinVary(headers: HeaderList, first: string): void {
  const values = [first]
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (!isName(headers[i] as string, 'vary')) continue
    values.splice(1, 0, headers[i + 1] as string)
    headers.splice(i, 2)
  }
  const members = new Map<string, string>()
  for (const part of values.join().split(',')) {
    const member = part.trim()
    const lower = member.toLowerCase()
    if (member !== '' && !members.has(lower)) members.set(lower, member)
  }
  headers.push('Vary', members.has('*') ? '*' : Array.from(members.values()).join(', '))
}
