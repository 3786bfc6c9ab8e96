import { STATUS_CODES } from 'node:http'
import type net from 'node:net'
import { reset } from '../fronts/tcp.ts'
import { fieldLines, find, flatHeaders, hasFraming, headText, type MockHeaders } from './mock-headers.ts'
import { type Recorded, RequestReader } from './mock-request.ts'
import type { MockAnswer, MockHead, MockReply, MockRequest, MockStep } from './mock-script.ts'

/** Sends a response once the whole request has arrived, after `100 Continue` if it is expected. */
export async function answerAfterBody(request: MockRequest, reply: MockReply, answer: MockAnswer): Promise<void> {
  if (request.expectsContinue) reply.continue()
  await request.body()
  reply.send(answer)
}

/** The backend of a {@link Conversation}. */
export interface ConversationOwner {
  /** The step for the next request. */
  nextStep(): MockStep
  /** A head has arrived. */
  onHead(request: MockRequest): void
  /** A request has arrived to its last byte. */
  onComplete(request: MockRequest): void
  /** A request is malformed; the text says how. */
  onFault(fault: string): void
  /** A handler has thrown. */
  onScriptError(error: unknown): void
}

/** One connection: reads requests as they arrive, and responds to them one after another. */
export class Conversation {
  readonly closed: Promise<void>
  isClosed = false
  readonly socket: net.Socket
  readonly #tcp: net.Socket
  readonly #owner: ConversationOwner
  readonly #reader: RequestReader
  readonly #waiting: Recorded[] = []
  #reply: Reply | null = null
  readonly #onData = (bytes: Buffer): void => this.#read(bytes)
  readonly #onEnd = (): void => void this.socket.end()

  constructor(number: number, socket: net.Socket, tcp: net.Socket, owner: ConversationOwner) {
    this.socket = socket
    this.#tcp = tcp
    this.#owner = owner
    this.#reader = new RequestReader(number, socket, {
      onHead: (request) => {
        owner.onHead(request)
        this.#waiting.push(request)
        this.#serve()
      },
      onComplete: (request) => owner.onComplete(request),
    })
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true
        this.#reader.abandon()
        resolve()
      })
    })
    socket
      .on('error', ignore)
      .on('data', this.#onData)
      // Like node's server: after a FIN the peer does not wait for the rest of a response.
      .on('end', this.#onEnd)
  }

  takeOver(): net.Socket {
    const { socket } = this
    socket.off('data', this.#onData).off('end', this.#onEnd).pause()
    socket.unshift(this.#reader.takeRest())
    return socket
  }

  /** A response has ended: serves the next request. */
  onReplyEnd(closes: boolean): void {
    this.#reply = null
    if (closes) this.socket.end()
    else this.#serve()
  }

  closeIfIdle(): void {
    if (this.#reply === null && this.#reader.isBetweenRequests) this.socket.end()
  }

  reset(): void {
    try {
      reset(this.#tcp)
    } catch {
      // A unix socket has no RST.
    }
    this.socket.destroy()
  }

  destroy(): void {
    this.socket.destroy()
  }

  #read(bytes: Buffer): void {
    const fault = this.#reader.read(bytes)
    if (fault === null) return
    this.#owner.onFault(fault)
    this.socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  }

  #serve(): void {
    if (this.#reply !== null || this.isClosed) return
    const request = this.#waiting.shift()
    if (request === undefined) return
    const reply = new Reply(this, request)
    this.#reply = reply
    this.#run(this.#owner.nextStep(), request, reply).catch((error: unknown) => {
      // A disconnected peer is not an error of the script.
      if (error !== request.loss) this.#owner.onScriptError(error)
      reply.abort()
    })
  }

  async #run(step: MockStep, request: MockRequest, reply: MockReply): Promise<void> {
    await (typeof step === 'function' ? step(request, reply) : answerAfterBody(request, reply, step))
  }
}

class Reply implements MockReply {
  readonly #conversation: Conversation
  readonly #request: MockRequest
  #isBegun = false
  #isChunked = false
  #isBodiless = false
  #isOver = false
  #closes: boolean

  constructor(conversation: Conversation, request: MockRequest) {
    this.#conversation = conversation
    this.#request = request
    const asked = request.header('connection') ?? ''
    this.#closes = /\bclose\b/i.test(asked) || (request.version === '1.0' && !/keep-alive/i.test(asked))
  }

  get closed(): Promise<void> {
    return this.#conversation.closed
  }
  get isClosed(): boolean {
    return this.#conversation.isClosed
  }

  send(answer: MockAnswer = {}): void {
    const { body = '', chunks = [body], trailers, status = 200, untilClose = false } = answer
    const chunked = answer.chunked ?? (answer.chunks !== undefined || trailers !== undefined)
    const headers = flatHeaders(answer.headers)
    if (!chunked && !untilClose && !hasFraming(headers) && status !== 204 && status !== 304) {
      headers.push('Content-Length', String(chunks.reduce((sum, chunk) => sum + Buffer.byteLength(chunk), 0)))
    }
    const { socket } = this.#conversation
    socket.cork()
    this.head({ ...answer, headers })
    for (const chunk of chunks) this.chunk(chunk)
    this.end(trailers)
    socket.uncork()
  }

  informational(status: number, headers: MockHeaders = []): void {
    this.#write(headText(status, STATUS_CODES[status] ?? '', flatHeaders(headers)))
  }

  continue(): void {
    this.informational(100)
  }

  head(head: MockHead = {}): void {
    const { status = 200, reason = STATUS_CODES[status] ?? '', untilClose = false } = head
    const { method, version } = this.#request
    const headers = flatHeaders(head.headers)
    this.#isBodiless = method === 'HEAD' || status === 204 || status === 304
    if (!hasFraming(headers) && status !== 204 && status !== 304) {
      if (untilClose || version === '1.0') this.#closes = true
      else headers.push('Transfer-Encoding', 'chunked')
    }
    this.#isChunked = /\bchunked\b/i.test(find(headers, 'transfer-encoding') ?? '')
    if (this.#closes && find(headers, 'connection') === undefined) headers.push('Connection', 'close')
    if (/\bclose\b/i.test(find(headers, 'connection') ?? '')) this.#closes = true
    this.#isBegun = true
    this.#write(headText(status, reason, headers))
  }

  chunk(data: string | Uint8Array): boolean {
    if (!this.#isBegun) this.head()
    const bytes = Buffer.from(data as string)
    if (this.#isBodiless || bytes.length === 0) return true
    if (!this.#isChunked) return this.#write(bytes)
    return this.#write(Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]))
  }

  drained(): Promise<void> {
    const { socket, closed } = this.#conversation
    if (this.isClosed || !socket.writableNeedDrain) return Promise.resolve()
    return Promise.race([closed, new Promise<void>((resolve) => socket.once('drain', resolve))])
  }

  end(trailers?: MockHeaders): void {
    if (this.#isOver) return
    if (!this.#isBegun) this.head({ headers: ['Content-Length', '0'] })
    if (this.#isChunked && !this.#isBodiless) this.#write(`0\r\n${fieldLines(flatHeaders(trailers))}\r\n`)
    this.#isOver = true
    this.#conversation.onReplyEnd(this.#closes)
  }

  raw(bytes: string | Uint8Array): boolean {
    this.#isBegun = true
    return this.#write(bytes)
  }

  reset(): void {
    this.#isOver = true
    this.#conversation.reset()
  }

  abort(): void {
    this.#isOver = true
    this.#conversation.socket.destroySoon()
  }

  halfClose(): void {
    this.#conversation.socket.end()
  }

  closeAfter(): void {
    this.#closes = true
  }

  takeOver(): net.Socket {
    return this.#conversation.takeOver()
  }

  #write(bytes: string | Uint8Array): boolean {
    const { socket } = this.#conversation
    if (this.#isOver || !socket.writable) return true
    return typeof bytes === 'string' ? socket.write(bytes, 'latin1') : socket.write(bytes)
  }
}

function ignore(): void {}
