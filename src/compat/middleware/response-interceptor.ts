import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { HttpProxyMiddlewareError } from './middleware-error.ts'
import { UNDECODABLE } from './status.ts'

/** Gets the whole body of a response, decoded, and returns what the client gets. It may change `res`, too. */
export type ResponseInterceptor<TReq, TRes> = (
  buffer: Buffer,
  proxyRes: IncomingMessage,
  req: TReq,
  res: TRes,
) => Promise<Buffer | string>

type Decoder = (bytes: Buffer) => Promise<Buffer>

/** By content coding. zstd needs Node 22.15. */
const DECODERS: ReadonlyMap<string, Decoder | undefined> = new Map([
  ['gzip', promisify<Buffer, Buffer>(zlib.gunzip)],
  ['br', promisify<Buffer, Buffer>(zlib.brotliDecompress)],
  // Some servers send it without the zlib wrapper of RFC 9110, section 8.4.1.2.
  ['deflate', (bytes) => (((bytes[0] ?? 0) & 0x0f) === 8 ? inflate(bytes) : inflateRaw(bytes))],
  ['zstd', zlib.zstdDecompress && promisify<Buffer, Buffer>(zlib.zstdDecompress)],
])
const inflate = promisify<Buffer, Buffer>(zlib.inflate)
const inflateRaw = promisify<Buffer, Buffer>(zlib.inflateRaw)

/** These describe the message as it came, or belong to its connection (RFC 9110 section 7.6.1): it is sent whole, with a length. */
const FRAMING = ['transfer-encoding', 'trailer']
const DROPPED = [...FRAMING, 'connection', 'keep-alive', 'proxy-connection', 'upgrade']

/**
 * A listener of `proxyRes` that lets `interceptor` see and change whole responses. Needs `selfHandleResponse: true`. It decodes
 * gzip, br, deflate and zstd; a body in another coding is passed on as it is, with its `Content-Encoding`. The domains of cookies
 * are removed. It rejects, which is an `error` event of the proxy, if the response was cut short or cannot be decoded, or if
 * `interceptor` throws. The body is kept in memory, without a limit.
 */
export function responseInterceptor<
  TReq extends IncomingMessage = IncomingMessage,
  TRes extends ServerResponse = ServerResponse,
>(interceptor: ResponseInterceptor<TReq, TRes>): (proxyRes: IncomingMessage, req: TReq, res: TRes) => Promise<void> {
  return async (proxyRes, req, res) => {
    const decoder = DECODERS.get(proxyRes.headers['content-encoding']?.trim().toLowerCase() ?? '')
    const bytes = await wholeBody(proxyRes, res)
    if (bytes === null) return
    if (res.headersSent) throw new Error('[HPM] responseInterceptor() needs the option selfHandleResponse: true')
    if (hasNoBody(proxyRes, req)) {
      copyHead(proxyRes, res, decoder !== undefined)
      res.end()
      return
    }
    const decoded = decoder === undefined || bytes.length === 0 ? bytes : await decode(bytes, decoder)
    copyHead(proxyRes, res, decoder !== undefined)
    res.removeHeader('content-length')
    const body = Buffer.from(await interceptor(decoded, proxyRes, req, res))
    // It may have responded by itself.
    if (res.writableEnded) return
    for (const name of FRAMING) res.removeHeader(name)
    res.setHeader('content-length', body.length)
    res.end(body)
  }
}

/** `null`: the client has gone. */
async function wholeBody(proxyRes: IncomingMessage, res: ServerResponse): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of proxyRes) chunks.push(Buffer.from(chunk))
  } catch (error) {
    if (res.destroyed) return null
    throw error
  }
  return Buffer.concat(chunks)
}

async function decode(bytes: Buffer, decoder: Decoder): Promise<Buffer> {
  try {
    return await decoder(bytes)
  } catch (cause) {
    throw new HttpProxyMiddlewareError(`Error fetching proxied request: ${(cause as Error).message}`, UNDECODABLE, {
      cause,
    })
  }
}

/** HEAD, 1xx, 204 and 304 (RFC 9110, section 6.4.1). */
function hasNoBody({ statusCode = 200 }: IncomingMessage, { method }: IncomingMessage): boolean {
  return method === 'HEAD' || statusCode < 200 || statusCode === 204 || statusCode === 304
}

function copyHead(proxyRes: IncomingMessage, res: ServerResponse, isDecoded: boolean): void {
  const { statusCode, statusMessage, headers } = proxyRes
  if (statusCode !== undefined) res.statusCode = statusCode
  if (statusMessage) res.statusMessage = statusMessage
  const nominated = (headers.connection ?? '').toLowerCase().split(/[\s,]+/)
  for (const [name, value] of Object.entries(headers)) {
    if (
      value === undefined ||
      DROPPED.includes(name) ||
      nominated.includes(name) ||
      (isDecoded && name === 'content-encoding')
    )
      continue
    res.setHeader(name, name === 'set-cookie' && Array.isArray(value) ? value.map(withoutDomain) : value)
  }
}

/** The backend's domain is not the client's: without one a cookie belongs to the host that the client sees. */
function withoutDomain(cookie: string): string {
  return cookie.replace(/;\s*domain=[^;]*/gi, '')
}
