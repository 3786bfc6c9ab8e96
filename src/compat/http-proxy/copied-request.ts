import type { IncomingMessage } from 'node:http'
import type { Http2ServerRequest } from 'node:http2'
import { Duplex, PassThrough } from 'node:stream'

/** Stands for the client's connection, with the facts that the engine reads; what the engine does to it has no effect. */
class CopiedConnection extends Duplex {
  readonly remoteAddress: string | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly encrypted: boolean

  constructor(socket: IncomingMessage['socket']) {
    super()
    this.remoteAddress = socket.remoteAddress
    this.localAddress = socket.localAddress
    this.localPort = socket.localPort
    this.encrypted = (socket as { encrypted?: boolean }).encrypted === true
  }

  override _read(): void {}
}

/**
 * A request that the engine can carry in place of another: one of HTTP/2, or one whose copy goes elsewhere. It is independent of the
 * client's connection. Its body is what is written into it.
 */
export class CopiedRequest extends PassThrough {
  readonly httpVersion = '1.1'
  readonly httpVersionMajor = 1
  readonly httpVersionMinor = 1
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: string[]
  readonly socket: CopiedConnection
  /** What a parser has left of a body that it has read. */
  readonly body: unknown
  readonly rawBody: unknown
  readonly #original: IncomingMessage

  /** @param host for a request that has none: HTTP/1.1 needs one. */
  constructor(original: IncomingMessage & { body?: unknown; rawBody?: unknown }, host: string) {
    super()
    const { method, url, socket } = original
    this.#original = original
    this.method = method
    this.url = url
    this.headers = { ...original.headers }
    this.rawHeaders = original.rawHeaders
    this.body = original.body
    this.rawBody = original.rawBody
    this.socket = new CopiedConnection(socket)
    // node:http takes any version that a request line claims.
    if ('stream' in original) this.rawHeaders = this.#asHttp1(original as unknown as Http2ServerRequest)
    if (this.headers.host === undefined) {
      this.headers.host = host
      this.rawHeaders = ['Host', host, ...this.rawHeaders]
    }
    // It says whether the engine must restore the body from what the parser has left.
    if (original.readableDidRead || original.readableEnded)
      Object.defineProperty(this, 'readableDidRead', { value: true })
  }

  /** As the engine takes it; it reads nothing else of a request than what is here. */
  get asRequest(): IncomingMessage {
    return this as unknown as IncomingMessage
  }

  get complete(): boolean {
    return this.#original.complete
  }

  get rawTrailers(): string[] {
    return this.#original.rawTrailers
  }

  /** The headers of a request of HTTP/2 as one of HTTP/1.1 has them (RFC 9113 sections 8.2.2 and 8.3.1). */
  #asHttp1({ rawHeaders, stream }: Http2ServerRequest): string[] {
    const { headers } = this
    const list: string[] = []
    const authority = headers[':authority']
    if (typeof authority === 'string' && headers.host === undefined) {
      headers.host = authority
      list.push('host', authority)
    }
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i] as string
      if (name.startsWith(':')) delete headers[name]
      else list.push(name, rawHeaders[i + 1] as string)
    }
    if (!stream.endAfterHeaders && headers['content-length'] === undefined) {
      headers['transfer-encoding'] = 'chunked'
      list.push('transfer-encoding', 'chunked')
    }
    return list
  }
}
