import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { BodySink } from '../../contracts/pool.ts'
import type { Front, FrontBody, FrontEvents, Retainable } from '../../exchange/front.ts'
import { CONNECTION, CONTENT_LENGTH, classify, DATE, NAME } from '../../headers/facts.ts'
import { announceNothing, interimHeaders } from '../../headers/response.ts'
import { contentLength } from '../../http1/fields.ts'
import { fieldsText } from '../../http1/head-writer.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { ResponseHead } from '../../model/message.ts'
import type { Peer } from '../../model/peer.ts'
import { addToWriteBatch, type Writer } from '../../runtime/write-batch.ts'

/** Bytes up to this size are copied into one string with the bytes before them: cheaper than a list of buffers. */
const SMALL_BYTES = 8192
/** Copied bytes past this size are written at once. */
const MAX_TEXT = 65_536

/** The connection as a {@link SocketFront} sees it. */
export interface SocketFrontOwner {
  /** The request's body has been read to its end (or there is none). */
  readonly isRequestComplete: boolean
  /** Header lines that tell the client how long the connection is kept. */
  readonly keepAliveText: string
  /** The current time as an HTTP date. */
  date(): string
  /** The system has the last byte of the response. */
  onAnswered(front: SocketFront): void
}

const WAITING = 0
const ANSWERING = 1
const ENDED = 2

/** Value of `#left` for a chunked response. */
const CHUNKS = -1

/** The client's side of one exchange on a raw socket. */
export class SocketFront implements Front, Writer {
  readonly method: string
  readonly target: string
  readonly version = '1.1'
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  readonly scope = null
  isLast: boolean
  readonly #socket: Socket
  readonly #owner: SocketFrontOwner
  #events: FrontEvents | null = null
  #state = WAITING
  #hasBody = true
  /** Bytes that Content-Length still promises, or {@link CHUNKS}. */
  #left = 0
  /** Text to be sent before anything else: the head, and small pieces of the body. */
  #text = ''

  constructor(
    request: { readonly method: string; readonly target: string; readonly headers: Readonly<HeaderList> },
    peer: Peer,
    socket: Socket,
    owner: SocketFrontOwner,
    isLast: boolean,
  ) {
    this.method = request.method
    this.target = request.target
    this.headers = request.headers
    this.peer = peer
    this.isLast = isLast
    this.#socket = socket
    this.#owner = owner
  }

  /** Some of the response may have reached the client. */
  get hasBegun(): boolean {
    return this.#state !== WAITING
  }

  /** The response is complete; its last bytes are sent at the end of the turn. */
  get isComplete(): boolean {
    return this.#state === ENDED
  }

  readonly ownStatus = null

  get isRequestComplete(): boolean {
    return this.#owner.isRequestComplete
  }

  takesTrailers(bodyBytes: number): boolean {
    return bodyBytes < 0
  }

  /** Notifies `events` of the client's progress and end from now on. */
  connect(events: FrontEvents): void {
    this.#events = events
  }

  inform(head: ResponseHead): void {
    const socket = this.#socket
    // If the client is not reading, informational responses are skipped: they would pile up without bound.
    if (this.#state !== WAITING || socket.writableLength >= socket.writableHighWaterMark) return
    const headers = interimHeaders(head.headers)
    socket.write(`HTTP/1.1 ${head.status} ${head.reason}\r\n${fieldsText(headers)}\r\n`, 'latin1')
  }

  respond({ status, reason, headers, bodyBytes }: ResponseHead): void {
    if (this.#state !== WAITING) return this.abort()
    this.#state = ANSWERING
    this.#hasBody = this.method !== 'HEAD' && status !== 204 && status !== 304
    if (bodyBytes === 0 && this.#hasBody) announceNothing(headers)
    let text = `HTTP/1.1 ${status} ${reason === '' ? (STATUS_CODES[status] ?? 'unknown') : reason}\r\n`
    let length = CHUNKS
    let hasDate = false
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string
      const value = headers[i + 1] as string
      switch (classify(name, NAME) & NAME) {
        case DATE:
          hasDate = true
          break
        case CONNECTION:
          // Only we set Connection, except for `upgrade` in a 426.
          if (value === 'upgrade') break
          continue
        case CONTENT_LENGTH:
          if (status === 204) continue
          length = contentLength(value)
          break
      }
      text += `${name}: ${value}\r\n`
    }
    if (!hasDate) text += `Date: ${this.#owner.date()}\r\n`
    this.#left = length
    if (length === CHUNKS && this.#hasBody) text += 'Transfer-Encoding: chunked\r\n'
    this.#text = text + (this.isLast ? 'Connection: close\r\n\r\n' : this.#owner.keepAliveText)
  }

  write(chunk: Buffer, owner: Retainable): boolean {
    const { length } = chunk
    if (this.#state !== ANSWERING || !this.#hasBody || length === 0) return true
    const isChunked = this.#left === CHUNKS
    if (!isChunked) {
      if (length > this.#left) {
        this.abort()
        return true
      }
      this.#left -= length
    }
    const socket = this.#socket
    if (isChunked) this.#text += `${length.toString(16)}\r\n`
    if (length <= SMALL_BYTES) {
      this.#text += chunk.toString('latin1')
      if (isChunked) this.#text += '\r\n'
      if (this.#text.length > MAX_TEXT) this.flush()
      return !socket.writableNeedDrain
    }
    if (this.#text === '') socket.write(chunk)
    else {
      socket.cork()
      this.flush()
      socket.write(chunk)
      if (isChunked) socket.write('\r\n', 'latin1')
      socket.uncork()
    }
    if (socket.writableLength > 0) owner.retain()
    return !socket.writableNeedDrain
  }

  flush(): void {
    const text = this.#text
    if (text === '') return
    this.#text = ''
    this.#socket.write(text, 'latin1')
  }

  end(trailers: HeaderList | null): void {
    if (this.#state !== ANSWERING) return
    if (this.#hasBody) {
      if (this.#left > 0) return this.abort()
      if (this.#left === CHUNKS) this.#text += trailers === null ? '0\r\n\r\n' : `0\r\n${fieldsText(trailers)}\r\n`
    }
    this.#state = ENDED
    if (this.#text === '') this.writeOut()
    else addToWriteBatch(this)
  }

  abort(): void {
    // Send the bytes that came before the abort: the client must not take this for a connection that was never used.
    if (this.#state === ANSWERING) this.flush()
    this.#state = ENDED
    this.#socket.destroy()
  }

  /** The client takes more. */
  drained(): void {
    if (this.#state === ANSWERING) this.#events?.onClientDrain()
  }

  /** The client is gone. */
  gone(): void {
    this.#state = ENDED
    this.#text = ''
    this.#events?.onClientGone()
  }

  /** Called when the response is complete. */
  writeOut(): void {
    const socket = this.#socket
    if (socket.destroyed) return
    this.flush()
    if (socket.writableLength === 0) this.#done()
    // The callback runs when everything written before has been sent.
    else socket.write('', 'latin1', (error) => (error ? undefined : this.#done()))
  }

  onWriteThrew(thrown: unknown): void {
    this.#events?.onFrontThrew(thrown)
    this.abort()
  }

  #done(): void {
    // If the socket has failed, its 'close' reports it.
    if (this.#socket.destroyed) return
    this.#events?.onClientDone()
    this.#owner.onAnswered(this)
  }
}

/** The connection as a {@link SocketBody} sees it. */
export interface SocketBodyOwner {
  /** The connection should read on. */
  onBodyWanted(): void
}

/** A request's body, as the connection reads it. */
export class SocketBody implements FrontBody {
  readonly bytes: number
  readonly isDecoded = false
  readonly expectsContinue = false
  /** Whether the body takes bytes now. */
  isReading = false
  readonly #owner: SocketBodyOwner
  #sink: BodySink | null = null
  /** Chunks of the same read that came after the chunk at which the sink stopped. */
  #late: Buffer[] = []
  #hasEnded = false
  #trailers: HeaderList | null = null

  /** @param bytes announced length, or -1. */
  constructor(bytes: number, owner: SocketBodyOwner) {
    this.bytes = bytes
    this.#owner = owner
  }

  start(sink: BodySink): void {
    this.#sink = sink
    this.resume()
  }

  pause(): void {
    if (this.#sink !== null) this.isReading = false
  }

  resume(): void {
    this.isReading = true
    while (this.#late.length > 0 && this.isReading) this.#sink?.onBody(this.#late.shift() as Buffer)
    if (!this.isReading) return
    if (this.#hasEnded) this.#end()
    else this.#owner.onBodyWanted()
  }

  abandon(): void {
    this.#sink = null
    this.#late = []
    // Read and drop the rest.
    this.isReading = true
    if (!this.#hasEnded) this.#owner.onBodyWanted()
  }

  /** Takes a piece of the body. */
  deliver(chunk: Buffer): void {
    if (!this.isReading) this.#late.push(chunk)
    else this.#sink?.onBody(chunk)
  }

  /** The body is complete. */
  finish(trailers: HeaderList | null): void {
    this.#trailers = trailers
    this.#hasEnded = true
    if (this.#late.length === 0) this.#end()
  }

  #end(): void {
    const sink = this.#sink
    // A later attempt gets the body from the code that kept it.
    this.#sink = null
    sink?.onBodyEnd(this.#trailers)
  }
}
