import type { ServerResponse } from 'node:http'
import { isName } from '../../http1/fields.ts'
import type { HeaderList } from '../../model/exchange-view.ts'

/**
 * What the application has set on its response before it gave it to us, and the backend sets too: the backend's replaces it, as
 * node has it, but for two headers that are lists of independent members. Adds them to `headers`: the cookies before the
 * backend's, `Vary` joined into one line.
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

/** How long the body is, what sends it says: a length or a coding that the application has set beforehand is another body's. */
export function replaceFraming(res: ServerResponse, headers: Readonly<HeaderList>): void {
  const hasCoding = res.hasHeader('transfer-encoding')
  if (!hasCoding && !res.hasHeader('content-length')) return
  if (!has(headers, 'content-length')) {
    res.removeHeader('content-length')
    // What node does by itself; removed, it would not.
    if (hasCoding) res.setHeader('Transfer-Encoding', 'chunked')
  } else if (hasCoding) res.removeHeader('transfer-encoding')
}

function has(headers: Readonly<HeaderList>, name: string): boolean {
  for (let i = 0; i < headers.length; i += 2) if (isName(headers[i] as string, name)) return true
  return false
}

/** RFC 9110 section 12.5.5: field names, which differ by no case, or `*`, beside which nothing else says more. */
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
