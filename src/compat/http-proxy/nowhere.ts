import type { ServerResponse } from 'node:http'
import { Writable } from 'node:stream'

/** Looks to the engine like the response of a server, and leads nowhere. */
export class Nowhere extends Writable {
  /** A connection would be written to directly. */
  readonly socket = null
  sendDate = true
  shouldKeepAlive = true
  protected isHeadWritten = false

  /** As the engine takes it; it calls nothing else than what is here. */
  get asResponse(): ServerResponse {
    return this as unknown as ServerResponse
  }

  get headersSent(): boolean {
    return this.isHeadWritten
  }

  writeHead(_status: number, _reason?: string): this {
    this.isHeadWritten = true
    return this
  }

  getHeader(_name: string): unknown {
    return undefined
  }

  hasHeader(_name: string): boolean {
    return false
  }

  setHeader(_name: string, _value: unknown): void {}
  appendHeader(_name: string, _value: string): void {}
  removeHeader(_name: string): void {}
  addTrailers(_trailers: readonly (readonly [string, string])[]): void {}
  writeContinue(): void {}

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done()
  }
}
