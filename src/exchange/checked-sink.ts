import type { Duplex } from 'node:stream'
import type { Flow, ResponseSink } from '../contracts/pool.ts'
import { fieldValue, isFieldValue, isToken, removeField } from '../http1/fields.ts'
import { hookError, type ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { addToWriteBatch, type Writer } from '../runtime/write-batch.ts'
import type { Exchange } from './exchange.ts'

/** Checks a list of headers. @throws TypeError if it is not valid in a message head. */
export function checkHeaders(headers: Readonly<HeaderList>): void {
  if (!Array.isArray(headers) || headers.length % 2 !== 0) throw new TypeError('headers are a list of names and values')
  for (let i = 0; i < headers.length; i += 2) {
    const name: unknown = headers[i]
    const value: unknown = headers[i + 1]
    if (typeof name !== 'string' || !isToken(name)) throw new TypeError(`${JSON.stringify(name)} is not a header name`)
    if (typeof value !== 'string' || !isFieldValue(value)) {
      throw new TypeError(`the value of ${name} has characters that cannot stand in a header: ${JSON.stringify(value)}`)
    }
  }
}

/** Checks the head of a response. @throws TypeError if it is invalid. */
function checkHead({ status, reason, headers, bodyBytes }: ResponseHead, least: number, most: number): void {
  if (!Number.isInteger(status) || status < least || status > most)
    throw new TypeError(`${status} is not a valid status`)
  if (typeof reason !== 'string' || !isFieldValue(reason)) throw new TypeError('the reason cannot stand in a head')
  if (!Number.isSafeInteger(bodyBytes) || bodyBytes < -1) throw new TypeError(`${bodyBytes} is not a valid bodyBytes`)
  checkHeaders(headers)
}

const FREE: Flow = { resume() {}, retain() {} }

/**
 * The outermost sink: a response from interceptors reaches the client only if it is valid and has its announced length. Never
 * throws, because it may be called from a timer, where nothing would catch an error.
 */
export class CheckedSink implements ResponseSink, Writer {
  readonly #exchange: Exchange
  readonly #sink: ResponseSink
  #hasHead = false
  #isOver = false
  /** The response has no body: HEAD, 204, 304. */
  #isBodiless = false
  /** Announced bytes of the body that have not arrived; -1: no announced length. */
  #left = -1
  /** The front may be holding back bytes. */
  #isUnflushed = false
  /** {@link writeOut} will be called. */
  #isDue = false

  constructor(exchange: Exchange, sink: ResponseSink) {
    this.#exchange = exchange
    this.#sink = sink
  }

  onInformational(head: ResponseHead): void {
    if (this.#hasHead || this.#isOver || this.#exchange.isEnded) return
    try {
      checkHead(head, 102, 199)
      this.#sink.onInformational({ ...head, headers: [...head.headers] })
    } catch (thrown) {
      this.#fail(thrown)
    }
  }

  onHead(head: ResponseHead, flow: Flow): void {
    if (this.#isOver || this.#exchange.isEnded) return
    try {
      if (this.#hasHead) throw new TypeError('onHead() was called twice')
      checkHead(head, 200, 999)
      this.#hasHead = true
      this.#sink.onHead(this.#framed(head), flow ?? FREE)
      this.#flushLater()
    } catch (thrown) {
      this.#fail(thrown)
    }
  }

  /** A copy of the head, with a Content-Length that agrees with `bodyBytes`. */
  #framed({ status, reason, headers, bodyBytes }: ResponseHead): ResponseHead {
    const list = [...headers]
    const isHead = this.#exchange.method === 'HEAD'
    this.#isBodiless = isHead || status === 204 || status === 304
    if (!this.#isBodiless) this.#left = bodyBytes
    if (bodyBytes < 0) removeField(list, 'content-length')
    else if (isHead ? bodyBytes > 0 : !this.#isBodiless) {
      if (fieldValue(list, 'content-length') === undefined) list.push('Content-Length', String(bodyBytes))
    }
    return { status, reason, headers: list, bodyBytes: this.#isBodiless ? 0 : bodyBytes }
  }

  onData(chunk: Buffer): boolean {
    if (this.#isOver || this.#exchange.isEnded) return true
    try {
      if (!this.#hasHead) throw new TypeError('onData() was called before onHead()')
      if (!Buffer.isBuffer(chunk)) throw new TypeError('onData() takes a Buffer')
      if (this.#isBodiless || chunk.length === 0) return true
      if (this.#left >= 0) {
        if (chunk.length > this.#left) throw new TypeError('the body is longer than bodyBytes')
        this.#left -= chunk.length
      }
      this.#flushLater()
      return this.#sink.onData(chunk)
    } catch (thrown) {
      this.#fail(thrown)
      return true
    }
  }

  onFlush(): void {
    if (!this.#hasHead || this.#isOver) return
    this.#isUnflushed = false
    this.#sink.onFlush()
  }

  /** Flushes later, because an interceptor that delivers in its own event may forget to flush. */
  #flushLater(): void {
    this.#isUnflushed = true
    if (this.#isDue) return
    this.#isDue = true
    addToWriteBatch(this)
  }

  writeOut(): void {
    this.#isDue = false
    if (this.#isUnflushed) this.#exchange.enter(this.onFlush, this)
  }

  onWriteThrew(thrown: unknown): void {
    this.#fail(thrown)
  }

  onEnd(trailers: HeaderList | null): void {
    if (this.#isOver || this.#exchange.isEnded) return
    try {
      if (!this.#hasHead) throw new TypeError('onEnd() was called before onHead()')
      if (this.#left > 0) throw new TypeError(`the body is shorter than bodyBytes, by ${this.#left}`)
      if (trailers != null) checkHeaders(trailers)
      this.#isOver = true
      this.#sink.onEnd(trailers ?? null)
    } catch (thrown) {
      this.#fail(thrown)
    }
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    if (this.#isOver || this.#exchange.isEnded) return void stream.destroy()
    try {
      if (this.#hasHead) throw new TypeError('onUpgrade() was called after onHead()')
      if (this.#exchange.upgrade === null) throw new TypeError('onUpgrade() was called for a request without Upgrade')
      checkHead(head, 101, 101)
      this.#isOver = true
      this.#sink.onUpgrade({ ...head, headers: [...head.headers] }, stream, rest)
    } catch (thrown) {
      stream.destroy()
      this.#fail(thrown)
    }
  }

  onError(error: ProxyError): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#sink.onError(error)
  }

  #fail(thrown: unknown): void {
    this.#isOver = true
    const { backend } = this.#exchange
    this.#exchange.fail(hookError('the response of an interceptor', thrown, backend, 'intercept'), 'aborted')
  }
}
