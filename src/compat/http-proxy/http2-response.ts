import { constants, type Http2ServerResponse } from 'node:http2'
import { Nowhere } from './nowhere.ts'

/** Names that HTTP/2 does not allow (RFC 9113 section 8.2.2); node throws for them. */
const FORBIDDEN = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

/** Looks to the engine like the response of an HTTP/1.1 server, and writes to one of HTTP/2. */
export class Http2Response extends Nowhere {
  readonly #res: Http2ServerResponse

  constructor(res: Http2ServerResponse) {
    super()
    this.#res = res
    res.once('close', () => this.destroy())
    if (res.closed) this.destroy()
  }

  override get headersSent(): boolean {
    return this.isHeadWritten || this.#res.headersSent
  }

  override writeHead(status: number): this {
    this.isHeadWritten = true
    this.#res.writeHead(status)
    return this
  }

  override getHeader(name: string): unknown {
    return this.#res.getHeader(name)
  }

  override hasHeader(name: string): boolean {
    return this.#res.hasHeader(name)
  }

  override setHeader(name: string, value: string): void {
    if (!FORBIDDEN.has(name.toLowerCase())) this.#res.setHeader(name, value)
  }

  override appendHeader(name: string, value: string): void {
    if (!FORBIDDEN.has(name.toLowerCase())) this.#res.appendHeader(name, value)
  }

  override removeHeader(name: string): void {
    this.#res.removeHeader(name)
  }

  override addTrailers(trailers: readonly (readonly [string, string])[]): void {
    this.#res.addTrailers(Object.fromEntries(trailers))
  }

  override writeContinue(): void {
    this.#res.writeContinue()
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: () => void): void {
    // Called back when the client has room for more.
    this.#res.write(chunk, encoding, () => done())
  }

  override _final(done: () => void): void {
    this.#res.end(() => done())
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // The client must not take a truncated response for a complete one.
    if (!this.writableFinished && this.isHeadWritten) this.#res.stream?.close(constants.NGHTTP2_INTERNAL_ERROR)
    done(error)
  }
}
