import type { IncomingMessage } from 'node:http'
import { fieldValue } from '../../http1/fields.ts'
import type { HeaderList } from '../../model/exchange-view.ts'

/** The fields in which body parsers leave the body. */
interface ParsedRequest {
  readonly body?: unknown
  /** The bytes as received, if the application keeps them (`verify` of body-parser, firebase, serverless hosts). */
  readonly rawBody?: unknown
}

/** A body that was read before us: its bytes, or why they cannot be restored. */
export type ConsumedBody = { readonly bytes: Buffer } | { readonly fault: string }

/** Whether something has read from the request's body. */
export function isConsumed(req: IncomingMessage): boolean {
  return req.readableDidRead || req.readableEnded
}

/**
 * Restores the body from `rawBody` or `body` if that is exact: raw bytes, and, in UTF-8, text, JSON and urlencoded forms. For a
 * form the announced length must prove that nothing was lost. If a content coding was announced, the parser has removed it,
 * unless the length is still the announced one. JSON numbers that a double cannot hold are changed: keep `rawBody` if they
 * matter.
 * @param headers with the application's changes, of which the content type counts: the length and the coding are those that the
 * parser has read.
 */
export function consumedBody(req: IncomingMessage & ParsedRequest, headers: Readonly<HeaderList>): ConsumedBody {
  const { rawBody, body } = req
  const contentType = fieldValue(headers, 'content-type') ?? ''
  const type = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (rawBody instanceof Uint8Array) return { bytes: Buffer.from(rawBody) }
  if (body instanceof Uint8Array) return { bytes: Buffer.from(body) }
  // Parsers produce `{}` for an empty chunked body.
  const isEmpty = !req.readableDidRead && fieldValue(req.rawHeaders, 'content-length') === undefined
  if (isEmpty && typeof rawBody !== 'string') return { bytes: Buffer.alloc(0) }
  const charset = CHARSET.exec(contentType)?.[1]?.toLowerCase() ?? 'utf-8'
  if (!WRITABLE_CHARSETS.has(charset)) return { fault: `it was in ${charset}, and we can write UTF-8 only` }
  if (typeof rawBody === 'string') return textBody(rawBody, req)
  if (isJson(type)) {
    if (typeof body === 'string') return jsonStringBody(body, req)
    const text = body === undefined ? undefined : JSON.stringify(body)
    if (text !== undefined) return textBody(text, req)
  } else if (typeof body === 'string') return textBody(body, req)
  else if (type === 'application/x-www-form-urlencoded' && isPlainObject(body)) return formBody(body, req)
  return {
    fault:
      body === undefined
        ? 'nothing kept it'
        : `it cannot be written again from req.body as ${type || 'no content type'}`,
  }
}

const CHARSET = /;\s*charset\s*=\s*"?([^";\s]+)/i
const WRITABLE_CHARSETS = new Set(['utf-8', 'utf8', 'us-ascii'])

/** Replaces bytes that were not UTF-8. */
const REPLACEMENT = '\ufffd'

/** The length of the bytes that the parser has read, or -1 if unknown: in chunks, or with a content coding. */
function announcedLength({ rawHeaders }: IncomingMessage): number {
  if (fieldValue(rawHeaders, 'content-encoding') !== undefined) return -1
  return Number(fieldValue(rawHeaders, 'content-length') ?? -1)
}

function textBody(text: string, req: IncomingMessage): ConsumedBody {
  const bytes = Buffer.from(text)
  if (text.includes(REPLACEMENT) && bytes.length !== announcedLength(req)) {
    return { fault: 'it had bytes that are not UTF-8, which are lost' }
  }
  return { bytes }
}

/** A string may be the value that a JSON parser read, or JSON text that a text parser read: only the length can decide. */
function jsonStringBody(body: string, req: IncomingMessage): ConsumedBody {
  const length = announcedLength(req)
  const [asText, asValue] = [Buffer.from(body), Buffer.from(JSON.stringify(body))]
  if (asText.length === length) return { bytes: asText }
  if (asValue.length === length) return { bytes: asValue }
  return { fault: 'it cannot be told whether req.body is its text or its value' }
}

function formBody(fields: Record<string, unknown>, req: IncomingMessage): ConsumedBody {
  const names = Object.keys(fields)
  // node's querystring makes objects without a prototype, and keeps brackets. In all other parsers brackets mean nesting.
  const isNested = Object.getPrototypeOf(fields) !== null && names.some((name) => /[[\]]/.test(name))
  const pairs: [name: string, value: string][] = []
  for (const name of names) {
    const value = fields[name]
    const items: unknown[] = Array.isArray(value) && value.length > 1 ? value : [value]
    for (const item of items) {
      if (isNested || typeof item !== 'string') {
        return { fault: 'its form has nested fields, which cannot be written again exactly' }
      }
      pairs.push([name, item])
    }
  }
  // An object has each name once, at its first place, and numeric names before all others. qs also turns `[]` into numeric names.
  const isRepeated = (name: string): boolean => Array.isArray(fields[name]) && fields[name].length > 1
  if (names.slice(0, -1).some(isRepeated) || names.some((name) => /^\d+$/.test(name))) {
    return { fault: 'its form has repeated or numbered fields, whose order among the others is lost' }
  }
  if (pairs.flat().some(isUndecoded)) return { fault: 'its form had bytes that are not UTF-8, which are lost' }
  const length = announcedLength(req)
  if (length < 0)
    return { fault: 'the length of its form was not announced: it cannot be told whether a field is missing' }
  // Parsers drop some names (`__proto__`, the empty one). `a=1&a=2`, `a[]=1&a[]=2` and `a[0]=1&a[1]=2` give the same list.
  for (const style of FORM_STYLES) {
    const text = pairs.map(([name, value]) => `${style.write(name, '=')}=${style.write(value, '')}`).join('&')
    if (text.length === length) return { bytes: Buffer.from(text, 'latin1') }
  }
  return { fault: 'its form is not as long as it was: a field is missing, or was written in an unusual way' }
}

/** qs keeps bytes that are not UTF-8 as they came; node's querystring replaces them. */
function isUndecoded(text: string): boolean {
  if (text.includes(REPLACEMENT)) return true
  if (!/%[\da-f]{2}/i.test(text)) return false
  try {
    decodeURIComponent(text)
    return false
  } catch {
    return true
  }
}

/** One way of encoding forms. */
interface FormStyle {
  /**
   * Returns latin1, one byte per character.
   * @param also characters that are encoded in addition.
   */
  write(text: string, also: string): string
}

const ALPHANUMERIC = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const MARKS = "*-._!~'()"
const VISIBLE = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).filter(
  (char) => !'%&+'.includes(char),
)
const BEYOND = Array.from({ length: 128 }, (_, i) => String.fromCharCode(128 + i))

/**
 * The characters that clients leave unencoded, and how they write a space. All styles mean the same; the length shows which one
 * was used. A client can make a form that fits one of them without a field that its parser drops: the application has not seen
 * that field either.
 */
const FORM_STYLES: readonly FormStyle[] = [
  // Browsers and URLSearchParams.
  formStyle('*-._', '+'),
  // encodeURIComponent and node's querystring; jQuery; axios.
  formStyle(MARKS, '%20'),
  formStyle(MARKS, '+'),
  formStyle(`${MARKS}:$,[]`, '+'),
  // RFC 3986 (qs); Python and Go; PHP.
  formStyle('-._~', '%20'),
  formStyle('-._~', '+'),
  formStyle('-._', '+'),
  // Written by hand, as with curl -d.
  formStyle(VISIBLE.join(''), '+'),
  formStyle(VISIBLE.join(''), '%20'),
  formStyle(VISIBLE.join('') + BEYOND.join(''), ' '),
]

function formStyle(marks: string, space: string): FormStyle {
  const plain = new Set(Array.from(ALPHANUMERIC + marks))
  return {
    write(text, also) {
      let written = ''
      for (const char of Buffer.from(text).toString('latin1')) {
        if (char === ' ') written += space
        else if (plain.has(char) && !also.includes(char)) written += char
        else written += `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
      }
      return written
    },
  }
}

function isJson(type: string): boolean {
  return type === 'application/json' || type.endsWith('+json')
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
