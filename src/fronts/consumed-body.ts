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
 * Writes the body again from `rawBody` or `body`, where that is exact: raw bytes, text, JSON, and urlencoded forms
 * without nesting. Where a content coding was announced, the parser has taken it off, unless the length is still the announced one.
 */
export function consumedBody(req: IncomingMessage & ParsedRequest): ConsumedBody {
  const { rawBody, body } = req
  const type = (req.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (rawBody instanceof Uint8Array) return { bytes: Buffer.from(rawBody) }
  if (typeof rawBody === 'string') return { bytes: Buffer.from(rawBody) }
  if (body instanceof Uint8Array) return { bytes: Buffer.from(body) }
  if (isJson(type)) {
    const text = body === undefined ? undefined : JSON.stringify(body)
    if (text !== undefined) return { bytes: Buffer.from(text) }
  } else if (typeof body === 'string') return { bytes: Buffer.from(body) }
  else if (type === 'application/x-www-form-urlencoded' && isPlainObject(body)) {
    const text = formText(body)
    if (text !== null) return { bytes: Buffer.from(text) }
    return { fault: 'its form has nested fields, which cannot be written again exactly' }
  }
  return {
    fault:
      body === undefined
        ? 'nothing kept it'
        : `it cannot be written again from req.body as ${type || 'no content type'}`,
  }
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
