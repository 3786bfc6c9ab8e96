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

/**
 * Removes a length, a transfer coding and an announcement of trailers that the application has set beforehand: they describe
 * another body.
 * @param mayBeChunked the response may have a body, and its client understands chunks.
 */
export function replaceFraming(res: ServerResponse, headers: Readonly<HeaderList>, mayBeChunked: boolean): void {
  const hasCoding = res.hasHeader('transfer-encoding')
  const hasTrailer = res.hasHeader('trailer')
  if (!hasCoding && !hasTrailer && !res.hasHeader('content-length')) return
  const hasLength = has(headers, 'content-length')
  const isChunked = mayBeChunked && !hasLength
  if (!hasLength) res.removeHeader('content-length')
  // Without chunks node refuses to send it.
  if (hasTrailer && !isChunked) res.removeHeader('trailer')
  if (!hasCoding) return
  // node would use chunks by itself, but not after the header has been removed.
  if (isChunked) res.setHeader('Transfer-Encoding', 'chunked')
  else res.removeHeader('transfer-encoding')
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
