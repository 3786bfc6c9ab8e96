import { AsyncResource } from 'node:async_hooks'
import type { ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { Front, FrontEvents } from '../../exchange/front.ts'
import { announceNothing, interimHeaders } from '../../headers/response.ts'
import { fieldsOf, type RequestFields, responseFieldsOf } from '../../http2/heads.ts'
import { CODE } from '../../http2/protocol.ts'
import type { HeaderList } from '../../model/exchange-view.ts'
import type { ResponseHead } from '../../model/message.ts'
import type { Peer } from '../../model/peer.ts'
import { addToWriteBatch, type Writer } from '../../runtime/write-batch.ts'
import { keepApplicationHeaders } from './application-headers.ts'

/** No destroy hook: it would cost more than everything else. */
const SCOPE = { requireManualDestroy: true }

/**
 * The client's side of an exchange on `Http2ServerRequest` and `Http2ServerResponse`: a stream of an application's node:http2 server. It writes by
 * the methods of the response, which middleware may have wrapped.
 */
export class Http2CompatFront implements Front, Writer {
  readonly method: string
  readonly target: string
  readonly version = '2'
  readonly headers: Readonly<HeaderList>
  readonly peer: Peer
  readonly scope = new AsyncResource('heddle.exchange', SCOPE)
  /** Without effect: the connection is the application's. */
  isLast = false
  readonly #req: Http2ServerRequest
  readonly #res: Http2ServerResponse
  readonly #stream: ServerHttp2Stream
  readonly #wasBegun: boolean
  #events: FrontEvents | null = null
  #status = 0
  #hasResponded = false
  #hasBody = true
  /** `res.end()` was called. */
  #isOver = false
  /** The exchange has been told of the end. */
  #isTold = false
  #hasTrailers = false
  #awaitsDrain = false
  /** Bytes of the body that are still to come; -1: nobody knows how many, or it has none. */
  #left = -1

  constructor(
    { method, target, headers }: RequestFields,
    req: Http2ServerRequest,
    res: Http2ServerResponse,
    peer: Peer,
  ) {
    this.method = method
    this.target = target
    this.headers = headers
    this.peer = peer
    this.#req = req
    this.#res = res
    this.#stream = res.stream
    this.#wasBegun = res.headersSent && !res.writableEnded
  }

  /** Notifies `events` of the client's progress and end from now on. */
  connect(events: FrontEvents): void {
    this.#events = events
    const stream = this.#stream
    stream.once('finish', () => this.#onFinish())
    stream.once('close', () => this.#tell(false))
    // Trailers leave after 'finish'.
    stream.once('wantTrailers', () => setImmediate(() => this.#stopUpload()))
    this.#res.on('drain', () => this.#drained())
  }

  get isRequestComplete(): boolean {
    return this.#stream.endAfterHeaders || this.#req.complete
  }

  get ownStatus(): number | null {
    return this.#hasResponded || this.#wasBegun || !this.#res.headersSent ? null : this.#res.statusCode
  }

  takesTrailers(): boolean {
    return true
  }

  inform(head: ResponseHead): void {
    const stream = this.#stream
    if (stream.headersSent || stream.destroyed || stream.writableNeedDrain) return
    const headers = interimHeaders(head.headers)
    stream.additionalHeaders({ ...grouped(fieldsOf(headers)), ':status': head.status })
  }

  respond(head: ResponseHead): void {
    const { status, headers, bodyBytes } = head
    const res = this.#res
    if (res.headersSent || this.#stream.destroyed) {
      this.#isOver = true
      return this.ownStatus === null ? this.abort() : this.#tell(true)
    }
    this.#hasResponded = true
    this.#status = status
    this.#hasBody = this.method !== 'HEAD' && status !== 204 && status !== 304
    this.#left = this.#hasBody ? bodyBytes : -1
    if (bodyBytes === 0 && this.#hasBody) announceNothing(headers)
    keepApplicationHeaders(res as unknown as ServerResponse, headers)
    const fields = grouped(responseFieldsOf(head))
    // What the application has set beforehand describes another body.
    for (const name of ['content-length', 'trailer']) if (!(name in fields)) res.removeHeader(name)
    for (const [name, value] of Object.entries(fields)) res.setHeader(name, value)
    if ('date' in fields) res.sendDate = false
    res.statusCode = status
  }

  write(chunk: Buffer): boolean {
    if (this.#isOver || !this.#hasBody || chunk.length === 0) return true
    if (this.#left >= 0) {
      if (chunk.length > this.#left) {
        this.abort()
        return true
      }
      this.#left -= chunk.length
    }
    const res = this.#res
    if (!res.headersSent) res.writeHead(this.#status)
    // The bytes belong to the connection to the backend, and node keeps them until the window has room.
    if (res.write(Buffer.from(chunk)) || !this.#stream.writableNeedDrain) return true
    this.#awaitsDrain = true
    return false
  }

  flush(): void {
    const res = this.#res
    if (this.#hasResponded && !this.#isOver && !res.headersSent) res.writeHead(this.#status)
  }

  end(trailers: HeaderList | null): void {
    if (this.#isOver) return
    if (this.#left > 0) return this.abort()
    this.#isOver = true
    this.#hasTrailers = trailers !== null
    if (trailers !== null) this.#res.addTrailers(grouped(fieldsOf(trailers)) as Record<string, string>)
    // Until the end of the turn it can still turn out that the response is not whole.
    addToWriteBatch(this)
  }

  /** The response is complete. If its head has not been sent, it ends the stream. */
  writeOut(): void {
    this.scope.runInAsyncScope(() => this.#res.end())
  }

  onWriteThrew(thrown: unknown): void {
    this.#events?.onFrontThrew(thrown)
    this.abort()
  }

  abort(): void {
    this.#isOver = true
    // nghttp2, and node with it, take a stream that ends with NO_ERROR or CANCEL for whole.
    if (!this.#stream.destroyed) this.#stream.close(CODE.INTERNAL_ERROR)
    this.#tell(false)
  }

  #onFinish(): void {
    const stream = this.#stream
    this.#tell(this.#isOver && !stream.aborted && (stream.rstCode ?? 0) === CODE.NO_ERROR)
    setImmediate(() => this.#stopUpload())
  }

  /** RFC 9113 section 8.1: the client need not send the rest of its request. Only after the whole response has left. */
  #stopUpload(): void {
    const stream = this.#stream
    const hasLeft = stream.writableFinished && (!this.#hasTrailers || stream.sentTrailers !== undefined)
    if (hasLeft && !stream.closed && !this.isRequestComplete) stream.close(CODE.NO_ERROR)
  }

  #tell(isWell: boolean): void {
    if (this.#isTold) return
    this.#isTold = true
    if (isWell) this.#events?.onClientDone()
    else this.#events?.onClientGone()
  }

  #drained(): void {
    if (!this.#awaitsDrain) return
    this.#awaitsDrain = false
    this.#events?.onClientDrain()
  }
}

/** A list as node:http2 takes it: each name once, with all of its values. */
function grouped(list: Readonly<HeaderList>): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = Object.create(null)
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] as string
    const value = list[i + 1] as string
    const before = fields[name]
    fields[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]
  }
  return fields
}
