import type { Duplex } from 'node:stream'
import zlib, { type BrotliOptions, type ZlibOptions, type ZstdOptions } from 'node:zlib'
import { hookError, type ProxyError } from '../../model/errors.ts'
import type { ExchangeView } from '../../model/exchange-view.ts'
import type { Stage } from './body-streams.ts'

const { constants } = zlib

/** Encodes bodies with one content coding, at one level. */
export interface Encoder {
  readonly coding: Coding
  /** For a body that streams. */
  stage(exchange: ExchangeView): Stage
  /** For a body that is complete, in this call. */
  encode(body: Buffer): Buffer
}

/** A content coding that can be written. */
export type Coding = 'zstd' | 'br' | 'gzip'

/** The levels that each coding has. */
export const LEVELS: Readonly<Record<Coding, { readonly least: number; readonly most: number }>> = {
  zstd: { least: 1, most: 22 },
  br: { least: 0, most: 11 },
  gzip: { least: 1, most: 9 },
}

export function encoder(coding: Coding, level: number): Encoder {
  switch (coding) {
    case 'zstd': {
      const options = zstdOptions(level)
      return {
        coding,
        stage: (exchange) => stageOf(exchange, zlib.createZstdCompress(options), constants.ZSTD_e_flush),
        // It is told the size, and chooses its tables by it.
        encode: (body) => zlib.zstdCompressSync(body, { params: { [constants.ZSTD_c_compressionLevel]: level } }),
      }
    }
    case 'br':
      return {
        coding,
        stage: (exchange) =>
          stageOf(exchange, zlib.createBrotliCompress(brotliOptions(level, 0)), constants.BROTLI_OPERATION_FLUSH),
        encode: (body) => zlib.brotliCompressSync(body, brotliOptions(level, body.length)),
      }
    default: {
      const options: ZlibOptions = { level }
      return {
        coding,
        // Not node's default, which also forgets what was sent so far.
        stage: (exchange) => stageOf(exchange, zlib.createGzip(options), constants.Z_SYNC_FLUSH),
        encode: (body) => zlib.gzipSync(body, options),
      }
    }
  }
}

/**
 * For streams of unknown length zstd would take tables for large files, 840 KiB at level 3. With tables of this size it takes
 * 270 KiB, less than half the time for small bodies, and compresses text as well. Higher levels need theirs.
 */
function zstdOptions(level: number): ZstdOptions {
  const params = { [constants.ZSTD_c_compressionLevel]: level }
  if (level > 3) return { params }
  return {
    params: {
      ...params,
      [constants.ZSTD_c_windowLog]: 17,
      [constants.ZSTD_c_hashLog]: 15,
      [constants.ZSTD_c_chainLog]: 14,
    },
  }
}

/** @param size 0 for unknown. */
function brotliOptions(level: number, size: number): BrotliOptions {
  return {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: level,
      [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
      [constants.BROTLI_PARAM_SIZE_HINT]: size,
    },
  }
}

function stageOf(exchange: ExchangeView, stream: Flushable, flushKind: number): Stage {
  return {
    stream,
    fault: (cause) => encoderError(cause, exchange),
    flush: (done) => stream.flush(flushKind, done),
  }
}

/** A stream of node:zlib. */
type Flushable = Duplex & { flush(kind: number, done: () => void): void }

/** The error for an encoder that fails, such as for lack of memory. */
export function encoderError(cause: unknown, { backend }: ExchangeView): ProxyError {
  return hookError('the encoder of interceptor compress', cause, backend, 'intercept')
}
