import { createHash, randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { responseHeaders } from '../../headers/response.ts'
import { passableTrailers } from '../../headers/trailers.ts'
import { fieldValue, isName } from '../../http1/fields.ts'
import { fieldsText, requestHeadText } from '../../http1/head-writer.ts'
import { type ResponseBounds, ResponseParser } from '../../http1/response-parser.ts'
import { fieldsOf, type RequestFields } from '../../http2/heads.ts'
import { CODE } from '../../http2/protocol.ts'
import type { Http2Stream, StreamSink } from '../../http2/stream.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { ResponseHead } from '../../model/message.ts'
import type { Clock } from '../../runtime/clock.ts'

/** What an application may ask a client's connection, which the connection under the stream answers. */
const OF_CONNECTION = [
  'remoteAddress',
  'remotePort',
  'remoteFamily',
  'localAddress',
  'localPort',
  'localFamily',
  'address',
  'encrypted',
  'authorized',
  'authorizationError',
  'servername',
  'getPeerCertificate',
  'getPeerX509Certificate',
  'getCipher',
  'getProtocol',
] as const

/** The server behind is ours or the application's: nothing bounds its heads but what node can write. */
const BOUNDS: ResponseBounds = { maxResponseHeadBytes: 1 << 20, maxInterimResponses: 100 }

const CHUNK_END = Buffer.from('\r\n')

/** RFC 6455 section 1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Fields of the handshake of HTTP/1.1, which HTTP/2 does not have (RFC 8441 section 5). */
const KEY = 'sec-websocket-key'
const ACCEPT = 'sec-websocket-accept'

/**
 * A stream that looks like a client's connection with one request of HTTP/1.1, for a node:http server: for a request that no route
 * matches, or for a WebSocket (RFC 8441), whose extended CONNECT becomes a GET with an Upgrade. The framing is written anew: a body of
 * unknown length comes as chunks.
 */
export class Bridge extends Duplex implements StreamSink {
  /** Version of the request for the record: what node has read says 1.1. */
  readonly httpVersion = '2'
  readonly #stream: Http2Stream
  readonly #clock: Clock
  readonly #isChunked: boolean
  /** Of the WebSocket's handshake; empty for an ordinary request. */
  readonly #key: string
  readonly #parser = new ResponseParser(
    {
      onInformational: ({ status, headers }) => this.#sendHead(status, headers, -1),
      onHead: (head) => this.#respond(head),
      onData: (chunk) => this.#send(chunk),
    },
    BOUNDS,
  )
  readonly #method: string
  #headers: Readonly<HeaderList> = []
  /** After the handshake bytes pass as they are. */
  #isTunnel = false
  /** Bytes that the reader has not taken. */
  #unread = 0
  #isBlocked = false
  /** Called when the stream takes more. */
  #onTaken: (() => void) | null = null
  #idleMs = 0
  #activeAt = 0
  #cancelTimer: (() => void) | null = null

  /** @param socket the client's connection. @param isEnd the request has no body. */
  constructor(stream: Http2Stream, request: RequestFields, isEnd: boolean, socket: Socket, clock: Clock) {
    super({ allowHalfOpen: true, decodeStrings: true })
    this.#stream = stream
    this.#clock = clock
    const isWebSocket = request.protocol !== ''
    this.#key = isWebSocket ? randomBytes(16).toString('base64') : ''
    this.#method = isWebSocket ? 'GET' : request.method
    this.#isChunked = !isWebSocket && !isEnd && request.expectedBytes < 0
    this.#parser.start(this.#method, isWebSocket)
    for (const name of OF_CONNECTION) {
      const get = (): unknown => {
        const value = (socket as unknown as Record<string, unknown>)[name]
        return typeof value === 'function' ? value.bind(socket) : value
      }
      Object.defineProperty(this, name, { get })
    }
    // After an upgrade nobody may listen to 'error'.
    this.on('error', ignore).on('finish', () => {
      if (!this.#isTunnel) this.destroy()
    })
    this.push(Buffer.from(this.#headText(request, isEnd), 'latin1'))
    if (isEnd && isWebSocket) this.push(null)
  }

  #headText({ headers, target: path, expectedBytes }: RequestFields, isEnd: boolean): string {
    const left = this.#key === '' ? ['content-length'] : ['content-length', KEY]
    const list: HeaderList = []
    for (let i = 0; i < headers.length; i += 2) {
      if (!left.includes(headers[i] as string)) list.push(headers[i] as string, headers[i + 1] as string)
    }
    const head = { method: this.#method, path, authority: '', headers: list, upgrade: null }
    if (this.#key === '') return requestHeadText(head, isEnd ? null : expectedBytes, true)
    list.push('Upgrade', 'websocket', 'Connection', 'Upgrade', 'Sec-WebSocket-Key', this.#key)
    return requestHeadText(head, null)
  }

  // From the client:

  onData(bytes: Buffer): void {
    const { length } = bytes
    // An empty chunk would be the last one.
    if (length === 0) return
    this.#activeAt = this.#clock.now()
    this.#unread += length
    const copy = this.#isChunked
      ? Buffer.concat([Buffer.from(`${length.toString(16)}\r\n`), bytes, CHUNK_END])
      : Buffer.from(bytes)
    if (this.push(copy)) this._read()
  }

  onEnd(trailers: HeaderList | null): void {
    // What ends otherwise is a request, not the connection: a node:http server may take that for a client that has gone.
    if (this.#key !== '') this.push(null)
    else if (this.#isChunked) {
      const passable = trailers === null ? null : passableTrailers(trailers, [])
      this.push(Buffer.from(`0\r\n${passable === null ? '' : fieldsText(passable)}\r\n`, 'latin1'))
    }
  }

  onReset(code: number): void {
    this.destroy(Object.assign(new Error(`the client has reset its stream (code ${code})`), { code: 'ECONNRESET' }))
  }

  onHead(): void {}

  onSent(): void {}

  onWritable(): void {
    const call = this.#onTaken
    this.#onTaken = null
    this.#isBlocked = false
    call?.()
  }

  override _read(): void {
    const bytes = this.#unread
    if (bytes === 0) return
    this.#unread = 0
    this.#stream.consume(bytes)
  }

  // To the client:

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    this.#activeAt = this.#clock.now()
    const isOver = !this.#isTunnel && this.#parser.isDone
    // What follows a whole response can only be one that nobody asked for.
    const from = isOver || this.#isTunnel ? 0 : this.#parser.execute(chunk, 0, chunk.length)
    if (from < 0) return done(new Error(`the response has ${this.#parser.fault}`))
    if (this.#isTunnel) this.#send(from === 0 ? chunk : chunk.subarray(from))
    else if (this.#parser.isDone && !isOver) setImmediate(() => this.end())
    if (this.#isBlocked) this.#onTaken = done
    else done()
  }

  #send(bytes: Buffer): void {
    if (bytes.length > 0 && !this.#stream.write(bytes)) this.#isBlocked = true
  }

  override _final(done: (error?: Error) => void): void {
    if (!this.#isTunnel && !this.#parser.finish()) return done(new Error('the response is not complete'))
    const { trailers } = this.#parser
    const passable = trailers === null ? null : passableTrailers(trailers, this.#headers)
    this.#stream.end(passable === null ? null : fieldsOf(passable))
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#cancelTimer?.()
    // RFC 8441 section 5: CANCEL stands for the reset of a TCP connection. A response that is cut must not look complete.
    const code = this.#stream.isLocalDone ? CODE.NO_ERROR : this.#isTunnel ? CODE.CANCEL : CODE.INTERNAL_ERROR
    this.#stream.reset(code)
    this.#onTaken = null
    done(error)
  }

  #respond({ status, headers, bodyBytes }: ResponseHead): void {
    this.#headers = headers
    if (status !== 101) return this.#sendHead(status, headers, bodyBytes)
    // The client cannot compare it with a key that is ours.
    const expected = createHash('sha1').update(`${this.#key}${WEBSOCKET_GUID}`).digest('base64')
    if (fieldValue(headers, ACCEPT) !== expected) {
      this.#stream.sendHead([':status', '502'], [], true)
      return void this.destroy()
    }
    this.#isTunnel = true
    const list: HeaderList = []
    for (let i = 0; i < headers.length; i += 2) {
      if (!isName(headers[i] as string, ACCEPT)) list.push(headers[i] as string, headers[i + 1] as string)
    }
    this.#stream.sendHead([':status', '200'], fieldsOf(list))
  }

  #sendHead(status: number, headers: Readonly<HeaderList>, bodyBytes: number): void {
    const isBodiless = this.#method === 'HEAD' || status === 304
    const list = responseHeaders(headers, { bodyBytes, isBodiless, takesTrailers: true, via: '' })
    this.#stream.sendHead([':status', String(status)], fieldsOf(list))
  }

  // The interface of a socket, as far as node:http and libraries for WebSockets use it without asking whether it is there:

  /** Emits 'timeout' after so many ms without a byte; 0: never. */
  setTimeout(ms: number, listener?: () => void): this {
    if (listener !== undefined) this.once('timeout', listener)
    this.#idleMs = ms
    this.#activeAt = this.#clock.now()
    this.#cancelTimer?.()
    this.#cancelTimer = null
    if (ms > 0) this.#watch(ms)
    return this
  }

  #watch(ms: number): void {
    this.#cancelTimer = this.#clock.schedule(ms, () => {
      const left = this.#activeAt + this.#idleMs - this.#clock.now()
      this.#cancelTimer = null
      if (left > 0) this.#watch(left)
      else this.emit('timeout')
    })
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }
}

function ignore(): void {}
