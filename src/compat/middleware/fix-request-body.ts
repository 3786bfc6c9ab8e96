import type { ClientRequest, IncomingMessage } from 'node:http'
import { stringify } from 'node:querystring'
import zlib from 'node:zlib'
import { writeFormData } from './form-data.ts'

/** A request whose body a parser has read. */
export type BodyParserLikeRequest<TBody = unknown> = IncomingMessage & { body?: TBody }

/** By content coding. zstd needs Node 22.15. */
const ENCODERS = new Map<string, ((text: string) => Buffer) | undefined>([
  ['br', zlib.brotliCompressSync],
  ['deflate', zlib.deflateSync],
  ['gzip', zlib.gzipSync],
  ['zstd', zlib.zstdCompressSync],
])

/**
 * A listener of `proxyReq`: sends `req.body`, which a body parser has read and the application may have changed, as JSON, form or
 * text, by the request's `Content-Type`. Not needed for a body that is unchanged: it is sent anyway. What cannot be written fails
 * the request.
 */
export function fixRequestBody<TReq extends BodyParserLikeRequest = BodyParserLikeRequest>(
  proxyReq: ClientRequest,
  req: TReq,
): void {
  const { body } = req
  const type = String(proxyReq.getHeader('Content-Type') ?? '')
  if (!req.readableEnded || !body) return
  try {
    const text = written(type, body)
    if (text === null) return
    const encode = ENCODERS.get(String(proxyReq.getHeader('Content-Encoding')).toLowerCase())
    const bytes = encode === undefined ? Buffer.from(text) : encode(text)
    proxyReq.setHeader('Content-Length', bytes.length)
    proxyReq.write(bytes)
  } catch (error) {
    proxyReq.destroy(error instanceof Error ? error : new Error(String(error)))
  }
}

/** `null`: a type that is left alone. */
function written(type: string, body: unknown): string | null {
  if (type.includes('application/json') || type.includes('+json')) return JSON.stringify(body)
  if (type.includes('application/x-www-form-urlencoded')) return stringify(body as Parameters<typeof stringify>[0])
  if (type.includes('multipart/form-data')) return writeFormData(type, body as object)
  return type.includes('text/plain') ? String(body) : null
}
