import type { HeaderList } from '../model/exchange-view.ts'

/** `tchar` of RFC 9110 section 5.6.2, by character code. */
const TCHAR = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  TCHAR[char.charCodeAt(0)] = 1
}

/** Characters of a host name: `unreserved`, `pct-encoded` and `sub-delims` of RFC 3986, without the comma of lists. */
const HOST_CHAR = new Uint8Array(256)
for (const char of "-._~%!$&'()*+;=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  HOST_CHAR[char.charCodeAt(0)] = 1
}
const IP_LITERAL = /^\[[0-9a-f:.]+\]/i

const HTAB = 9
const LF = 10
const CR = 13
const SP = 32
const DIGIT_0 = 48
const DIGIT_9 = 57
const COLON = 58
const DEL = 127

/** Whether `text` is a token (RFC 9110 section 5.6.2): a method, a header name. */
export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (TCHAR[text.charCodeAt(i)] !== 1) return false
  return text.length > 0
}

/** Whether `text` is a valid field value: no control characters but tab, nothing beyond one byte (RFC 9110 section 5.5). */
export function isFieldValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if ((code < SP && code !== HTAB) || code === DEL || code > 255) return false
  }
  return true
}

/** Whether `text` has neither white space nor control characters, and nothing beyond one byte. */
export function isVisible(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code <= SP || code === DEL || code > 255) return false
  }
  return true
}

/** Bounds `Connection`, which names headers of one hop: a longer list is an attack. */
export const MAX_CONNECTION_BYTES = 4096

/** DNS names are shorter (RFC 1035 section 2.3.4). */
const MAX_HOST_BYTES = 255

/** Whether `text` is a host of at most 255 bytes, with or without a port (RFC 9110 section 7.2). An empty string is not. */
export function isHost(text: string): boolean {
  if (text.length > MAX_HOST_BYTES) return false
  let i = 0
  while (HOST_CHAR[text.charCodeAt(i)] === 1) i++
  if (i === 0) i = IP_LITERAL.exec(text)?.[0].length ?? 0
  if (i === 0 || i === text.length) return i > 0
  if (text.charCodeAt(i) !== COLON) return false
  for (i++; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < DIGIT_0 || code > DIGIT_9) return false
  }
  return true
}

/**
 * Reads field lines (RFC 9112 section 5) from `text[from, to)`, each ended by CRLF, into `out`.
 * Strict: no bare CR or LF, no white space before the colon, no obs-fold, no control characters.
 * @returns the fault, or `null`.
 */
export function readFields(text: string, from: number, to: number, out: HeaderList): string | null {
  let i = from
  while (i < to) {
    const nameStart = i
    while (TCHAR[text.charCodeAt(i)] === 1) i++
    if (i === nameStart || text.charCodeAt(i) !== COLON) {
      return i === nameStart && isSpace(text.charCodeAt(i)) ? 'a folded header line' : 'a malformed header name'
    }
    const name = text.slice(nameStart, i)
    i++
    while (isSpace(text.charCodeAt(i))) i++
    const valueStart = i
    let code = text.charCodeAt(i)
    while ((code >= SP && code !== DEL) || code === HTAB) code = text.charCodeAt(++i)
    if (code !== CR || text.charCodeAt(i + 1) !== LF) return `a control character in the value of ${name}`
    let valueEnd = i
    while (valueEnd > valueStart && isSpace(text.charCodeAt(valueEnd - 1))) valueEnd--
    out.push(name, text.slice(valueStart, valueEnd))
    i += 2
  }
  return null
}

function isSpace(code: number): boolean {
  return code === SP || code === HTAB
}

/** Whether `name` is `lower` in any case. Compares lengths and first letters first, which is faster. */
export function isName(name: string, lower: string): boolean {
  return (
    name === lower ||
    (name.length === lower.length &&
      (name.charCodeAt(0) | 0x20) === (lower.charCodeAt(0) | 0x20) &&
      name.toLowerCase() === lower)
  )
}

/** First value of a header, by lower-case name. */
export function fieldValue(headers: Readonly<HeaderList>, lowerName: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (isName(name, lowerName)) return headers[i + 1]
  }
  return undefined
}

/** All values of a header, by lower-case name. */
export function fieldValues(headers: Readonly<HeaderList>, lowerName: string): string[] {
  const values: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (isName(headers[i] as string, lowerName)) values.push(headers[i + 1] as string)
  }
  return values
}

/** The list as pairs of a name and a value. */
export function pairs(headers: Readonly<HeaderList>): [string, string][] {
  const result: [string, string][] = []
  for (let i = 0; i < headers.length; i += 2) result.push([headers[i] as string, headers[i + 1] as string])
  return result
}

/** Whether a comma-separated list holds `token`, without regard to case. */
export function hasListToken(list: string, token: string): boolean {
  if (!list.includes(',')) return isName(list.trim(), token)
  for (const part of list.split(',')) if (part.trim().toLowerCase() === token) return true
  return false
}

/** Parses a Content-Length of up to 15 digits. @returns -1 for anything else. */
export function contentLength(text: string): number {
  let length = text.length > 0 && text.length <= 15 ? 0 : -1
  for (let i = 0; i < text.length && length >= 0; i++) {
    const digit = text.charCodeAt(i) - 48
    length = digit >= 0 && digit <= 9 ? length * 10 + digit : -1
  }
  return length
}

/** The members of a comma-separated list, in lower case. */
export function listMembers(list: string): Set<string> {
  return new Set(list.split(',').map((member) => member.trim().toLowerCase()))
}

/** Removes all headers of a name, given in lower case. */
export function removeField(headers: HeaderList, lowerName: string): void {
  let kept = 0
  for (let i = 0; i < headers.length; i += 2) {
    if (isName(headers[i] as string, lowerName)) continue
    if (kept < i) move(headers, i, kept)
    kept += 2
  }
  headers.length = kept
}

/** Removes the headers for which `isRemoved` returns true; it gets the name in lower case. */
export function removeFields(headers: HeaderList, isRemoved: (lowerName: string) => boolean): void {
  let kept = 0
  for (let i = 0; i < headers.length; i += 2) {
    if (isRemoved((headers[i] as string).toLowerCase())) continue
    if (kept < i) move(headers, i, kept)
    kept += 2
  }
  headers.length = kept
}

function move(headers: HeaderList, from: number, to: number): void {
  headers[to] = headers[from] as string
  headers[to + 1] = headers[from + 1] as string
}
