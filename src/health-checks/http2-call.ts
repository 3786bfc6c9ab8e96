import type { Socket } from 'node:net'
import { releaseOutput } from '../http2/frame-writer.ts'
import { readResponse } from '../http2/heads.ts'
import type { FieldBlock } from '../http2/hpack-decoder.ts'
import { codeName, FIRST_WINDOW } from '../http2/protocol.ts'
import { Session, type SessionHandler } from '../http2/session.ts'
import type { Http2Stream, StreamSink } from '../http2/stream.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { Clock } from '../runtime/clock.ts'

/** What to ask. */
export interface CallRequest {
  readonly method: string
  readonly path: string
  readonly authority: string
  /** Names in lower case, and values, by turns. */
  readonly fields: Readonly<HeaderList>
  readonly body: Buffer | null
  /** A response with a longer body fails, and that of a shorter one is kept; 0: it may be of any length, and is dropped. */
  readonly maxResponseBytes: number
}

/** A whole response. */
export interface CallResponse {
  readonly status: number
  readonly head: Readonly<HeaderList>
  /** `null` without a trailer section. */
  readonly trailers: Readonly<HeaderList> | null
  readonly body: Buffer
}

const BOUNDS = { maxHeadBytes: 65_536, maxHeaders: 1000 }

/** One request on a connection of its own, over HTTP/2. */
export class Http2Call implements SessionHandler, StreamSink {
  readonly #socket: Socket
  readonly #isSecure: boolean
  readonly #request: CallRequest
  readonly #session: Session
  readonly #end: (result: CallResponse | string | Error) => void
  readonly #received: Buffer[] = []
  #bodyBytes = 0
  #head: { readonly status: number; readonly list: Readonly<HeaderList> } | null = null
  #stream: Http2Stream | null = null
  #isOutputDue = false

  /** @param end called with the response, why there is none, or the error of the connection. Only the first call counts. */
  constructor(
    socket: Socket,
    isSecure: boolean,
    request: CallRequest,
    clock: Clock,
    end: (result: CallResponse | string | Error) => void,
  ) {
    this.#socket = socket
    this.#isSecure = isSecure
    this.#request = request
    this.#end = end
    this.#session = new Session(this, {
      isServer: false,
      bounds: BOUNDS,
      maxStreams: 0,
      firstWindow: FIRST_WINDOW,
      largestWindow: FIRST_WINDOW,
      now: () => clock.now(),
    })
    socket.on('error', end).on('close', () => end('the connection was closed before the end of the response'))
  }

  /** Sends the request: the connection has been set up. */
  start(): void {
    const { method, path, authority, fields, body } = this.#request
    this.#socket.on('data', (bytes) => this.#session.receive(bytes))
    this.#session.start()
    const stream = this.#session.open()
    this.#stream = stream
    stream.sink = this
    const scheme = this.#isSecure ? 'https' : 'http'
    stream.sendHead(
      [':method', method, ':scheme', scheme, ':path', path, ':authority', authority],
      [...fields, 'user-agent', 'heddle-probe'],
      body === null,
    )
    if (body === null) return
    stream.write(body)
    stream.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  onHead(block: FieldBlock, isEnd: boolean): void {
    const read = readResponse(block)
    if (typeof read === 'string') return this.#end(`the response has ${read}`)
    if (read.status < 200) return
    this.#head = { status: read.status, list: block.list }
    // What follows the body is a trailer section.
    if (this.#stream !== null) this.#stream.hasHead = true
    if (isEnd) this.onEnd(null)
  }

  onData(bytes: Buffer): void {
    const { maxResponseBytes } = this.#request
    this.#stream?.consume(bytes.length)
    if (maxResponseBytes === 0) return
    this.#bodyBytes += bytes.length
    if (this.#bodyBytes > maxResponseBytes) this.#end(`the response is larger than ${maxResponseBytes} bytes`)
    else this.#received.push(Buffer.from(bytes))
  }

  onEnd(trailers: HeaderList | null): void {
    if (this.#head === null) return
    const { status, list } = this.#head
    this.#end({ status, head: list, trailers, body: Buffer.concat(this.#received) })
  }

  onReset(code: number): void {
    // Otherwise onFault() follows, which knows more.
    if (!this.#session.isClosed) this.#end(`the backend has reset the stream: ${codeName(code)}`)
  }

  onFault(_code: number, message: string): void {
    this.#end(`the response is not valid HTTP/2: ${message}`)
  }

  onOutput(): void {
    if (this.#isOutputDue) return
    this.#isOutputDue = true
    queueMicrotask(() => this.#write())
  }

  #write(): void {
    this.#isOutputDue = false
    for (const output of this.#session.takeOutput()) {
      const bytes = Buffer.from(output.buffer.subarray(0, output.bytes))
      releaseOutput(output)
      this.#session.onWritten(bytes.length)
      if (!this.#socket.destroyed) this.#socket.write(bytes)
    }
  }

  onRequest(): void {}
  onSettings(): void {}
  onGoAway(): void {}
  onSent(): void {}
  onWritable(): void {}
}
