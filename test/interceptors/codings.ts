import { type Duplex, Transform } from 'node:stream'
import zlib from 'node:zlib'
import { request as undiciRequest } from 'undici'

const encoders: Record<string, (bytes: Buffer | string) => Buffer> = {
  gzip: (bytes) => zlib.gzipSync(bytes),
  'x-gzip': (bytes) => zlib.gzipSync(bytes),
  deflate: (bytes) => zlib.deflateSync(bytes),
  'raw deflate': (bytes) => zlib.deflateRawSync(bytes),
  br: (bytes) => zlib.brotliCompressSync(bytes, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }),
}
const decoders: Record<string, (bytes: Buffer) => Buffer> = {
  gzip: (bytes) => zlib.gunzipSync(bytes),
  br: (bytes) => zlib.brotliDecompressSync(bytes),
}

export const HAS_ZSTD = typeof zlib.createZstdCompress === 'function'
if (HAS_ZSTD) {
  encoders.zstd = (bytes) => zlib.zstdCompressSync(bytes)
  decoders.zstd = (bytes) => zlib.zstdDecompressSync(bytes)
}

/** Forms of coded bodies; those of one coding have its name at their end. */
export const FORMS = Object.keys(encoders)

export function encode(form: string, bytes: Buffer | string): Buffer {
  return (encoders[form] as (typeof encoders)[string])(bytes)
}

export function decode(coding: string, bytes: Buffer): Buffer {
  return (decoders[coding] as (typeof decoders)[string])(bytes)
}

/** Decodes what arrives, as far as it can be decoded. */
export function decoderStream(coding: string): Duplex {
  if (coding === 'zstd') return zlib.createZstdDecompress()
  return coding === 'br' ? zlib.createBrotliDecompress() : zlib.createGunzip()
}

/** The name of the form in Content-Encoding. */
export function codingOf(form: string): string {
  return form.split(' ').at(-1) as string
}

/** A response as it is on the wire, but for its framing. */
export interface Coded {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
  readonly trailers: Readonly<Record<string, string>>
}

/** Requests with a client that does not decode. */
export async function get(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Coded> {
  const response = await undiciRequest(url, { method: method as 'GET', headers })
  const body = Buffer.from(await response.body.arrayBuffer())
  return {
    status: response.statusCode,
    headers: response.headers,
    body,
    trailers: response.trailers as Record<string, string>,
  }
}

/** Writes letters as capitals, piece by piece. */
export function upperCase(): Transform {
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => done(null, chunk.toString('latin1').toUpperCase()),
  })
}

/** Validators and descriptions of the bytes that a backend sends. */
export const OF_OLD_BYTES = {
  ETag: '"1"',
  'Last-Modified': 'Sun, 06 Nov 1994 08:49:37 GMT',
  'Accept-Ranges': 'bytes',
  'Content-MD5': 'Q2hlY2sgSW50ZWdyaXR5IQ==',
  Digest: 'sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=',
  'Content-Digest': 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:',
  'Repr-Digest': 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:',
} as const
