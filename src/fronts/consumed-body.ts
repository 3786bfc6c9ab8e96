import type { IncomingMessage } from 'node:http'

/** Where body parsers leave what they have read. */
interface ParsedRequest {
  readonly body?: unknown
  /** The bytes as they came, where the application keeps them (`verify` of body-parser, firebase, serverless hosts). */
  readonly rawBody?: unknown
}

/** A body that was read before us: its bytes again, or why they cannot be had. */
export type ConsumedBody = { readonly bytes: Buffer } | { readonly fault: string }

/** Whether something has read from the request's body. */
export function isConsumed(req: IncomingMessage): boolean {
  return req.readableDidRead || req.readableEnded
}

/**
 * Writes the body again from `rawBody` or `body`, where that is exact: raw bytes, and, in UTF-8, text, JSON and urlencoded
 * forms without nesting. Where a content coding was announced, the parser has taken it off, unless the length is still
 * the announced one. JSON numbers that a double cannot hold are not what they were: keep `rawBody` where they matter.
 */
export function consumedBody(req: IncomingMessage & ParsedRequest): ConsumedBody {
  const { rawBody, body } = req
  const contentType = req.headers['content-type'] ?? ''
  const type = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (rawBody instanceof Uint8Array) return { bytes: Buffer.from(rawBody) }
  if (body instanceof Uint8Array) return { bytes: Buffer.from(body) }
  const charset = CHARSET.exec(contentType)?.[1]?.toLowerCase() ?? 'utf-8'
  if (!WRITABLE_CHARSETS.has(charset)) return { fault: `it was in ${charset}, and we can write UTF-8 only` }
  if (typeof rawBody === 'string') return { bytes: Buffer.from(rawBody) }
  if (isJson(type)) {
    if (typeof body === 'string') return jsonStringBody(body, req)
    const text = body === undefined ? undefined : JSON.stringify(body)
    if (text !== undefined) return { bytes: Buffer.from(text) }
  } else if (typeof body === 'string') return { bytes: Buffer.from(body) }
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

/** A string may be the value that a JSON parser read, or the text of any JSON that a text parser read: only the length can tell. */
function jsonStringBody(body: string, req: IncomingMessage): ConsumedBody {
  const length = req.headers['content-encoding'] === undefined ? Number(req.headers['content-length']) : -1
  const [asText, asValue] = [Buffer.from(body), Buffer.from(JSON.stringify(body))]
  if (asText.length === length) return { bytes: asText }
  if (asValue.length === length) return { bytes: asValue }
  return { fault: 'it cannot be told whether req.body is its text or its value' }
}

function formBody(fields: Record<string, unknown>, req: IncomingMessage): ConsumedBody {
  const text = formText(fields)
  if (text === null) return { fault: 'its form has nested fields, which cannot be written again exactly' }
  const bytes = Buffer.from(text)
  // `a=1&a=2`, `a[]=1&a[]=2` and `a[0]=1&a[1]=2` give the same list: only the length can tell.
  const hasLists = Object.values(fields).some((value) => Array.isArray(value))
  const isAsLong =
    req.headers['content-encoding'] === undefined && Number(req.headers['content-length']) === bytes.length
  if (hasLists && !isAsLong) return { fault: 'its form has lists, which cannot be written again exactly' }
  return { bytes }
}

function isJson(type: string): boolean {
  return type === 'application/json' || type.endsWith('+json')
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function formText(fields: Record<string, unknown>): string | null {
  const form = new URLSearchParams()
  for (const [name, value] of Object.entries(fields)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (typeof item !== 'string') return null
      form.append(name, item)
    }
  }
  return form.toString()
}
