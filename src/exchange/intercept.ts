import type { Duplex } from 'node:stream'
import type { Handler, Interceptor } from '../contracts/interceptor.ts'
import type { BodySource, Flow, ResponseSink } from '../contracts/pool.ts'
import { isFieldValue, isToken } from '../http1/fields.ts'
import { hookError, type ProxyError } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { isMethod } from '../routing/target.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import { Exchange } from './exchange.ts'
import { isPath } from './outgoing.ts'

/**
 * Composes the interceptors of a route, the first one outermost. Whatever they throw ends the exchange, their heads are checked,
 * and the bytes that they are given are their own.
 * @returns `null` if there are none: then nothing stands between an exchange and its attempts.
 */
export function compose(interceptors: readonly Interceptor[]): Handler | null {
  if (interceptors.length === 0) return null
  const handler = interceptors.reduceRight<Handler>((next, one) => guarded(one, next), forward)
  return (exchange, request, body, sink) =>
    handler(exchange, request, body, new CheckedSink(exchange as Exchange, sink))
}

/** Called for an exchange of ours alone. */
function guarded(interceptor: Interceptor, next: Handler): Handler {
  const wrapped = interceptor.wrap(next)
  if (typeof wrapped !== 'function') {
    throw new TypeError(`wrap() of interceptor ${interceptor.name} returned no function`)
  }
  return (exchange, request, body, sink) => {
    const onThrew = (thrown: unknown): void => {
      if (exchange instanceof Exchange) exchange.fail(hookError(`interceptor ${interceptor.name}`, thrown), 'aborted')
    }
    try {
      catchRejection(wrapped(exchange, request, body, sink), onThrew)
    } catch (thrown) {
      onThrew(thrown)
    }
  }
}

/** Innermost: gives the request to the attempts at backends. */
function forward(exchange: ExchangeView, request: RequestHead, body: BodySource | null, sink: ResponseSink): void {
  if (!(exchange instanceof Exchange)) throw new TypeError('next() was given another exchange')
  const { method, path, headers, upgrade } = request
  if (!isMethod(method)) throw new TypeError(`${JSON.stringify(method)} is not a method`)
  if (!isPath(path)) throw new TypeError(`${JSON.stringify(path)} is not a path`)
  checkHeaders(headers)
  const head = { method, path, authority: String(request.authority ?? ''), headers, upgrade: upgrade ?? null }
  exchange.forward(head, body, new LendingSink(exchange, sink))
}

/** @throws TypeError for what cannot stand in a head. */
function checkHeaders(headers: Readonly<HeaderList>): void {
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

/** @throws TypeError for what cannot be the head of a response. */
function checkHead({ status, reason, headers, bodyBytes }: ResponseHead, least: number): void {
  if (!Number.isInteger(status) || status < least || status > 999) throw new TypeError(`${status} is not a status`)
  if (typeof reason !== 'string' || !isFieldValue(reason)) throw new TypeError('the reason cannot stand in a head')
  if (!Number.isSafeInteger(bodyBytes) || bodyBytes < -1) throw new TypeError(`${bodyBytes} is not a length of a body`)
  checkHeaders(headers)
}

/** Outermost: what interceptors make of a response becomes the client's only if it is one. */
class CheckedSink implements ResponseSink {
  readonly #exchange: Exchange
  readonly #sink: ResponseSink
  #hasHead = false
  #isOver = false

  constructor(exchange: Exchange, sink: ResponseSink) {
    this.#exchange = exchange
    this.#sink = sink
  }

  onInformational(head: ResponseHead): void {
    if (this.#hasHead || this.#isOver) return
    checkHead(head, 100)
    this.#sink.onInformational(head)
  }

  onHead(head: ResponseHead, flow: Flow = FREE): void {
    if (this.#isOver) return
    if (this.#hasHead) return this.#misuse('onHead() was called twice')
    checkHead(head, 200)
    this.#hasHead = true
    const { status, reason, headers, bodyBytes } = head
    this.#sink.onHead({ status, reason, headers: [...headers], bodyBytes }, flow ?? FREE)
  }

  onData(chunk: Buffer): boolean {
    if (this.#isOver) return true
    if (this.#hasHead) return this.#sink.onData(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk))
    this.#misuse('onData() was called before onHead()')
    return true
  }

  onFlush(): void {
    if (this.#hasHead && !this.#isOver) this.#sink.onFlush()
  }

  onEnd(trailers: HeaderList | null = null): void {
    if (this.#isOver) return
    if (!this.#hasHead) return this.#misuse('onEnd() was called before onHead()')
    if (trailers !== null) checkHeaders(trailers)
    this.#isOver = true
    this.#sink.onEnd(trailers)
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    if (this.#isOver || this.#hasHead) return void stream.destroy()
    this.#isOver = true
    this.#sink.onUpgrade(head, stream, rest)
  }

  onError(error: ProxyError): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#sink.onError(error)
  }

  #misuse(what: string): void {
    this.#isOver = true
    this.#exchange.fail(hookError('an interceptor', new TypeError(what)), 'aborted')
  }
}

const FREE: Flow = { resume() {}, retain() {} }

/** Innermost: gives interceptors bytes of their own, and lets nothing that they throw reach the pool. */
class LendingSink implements ResponseSink {
  readonly #exchange: Exchange
  readonly #sink: ResponseSink

  constructor(exchange: Exchange, sink: ResponseSink) {
    this.#exchange = exchange
    this.#sink = sink
  }

  onInformational(head: ResponseHead): void {
    this.#guard(() => this.#sink.onInformational(head))
  }

  onHead(head: ResponseHead, flow: Flow): void {
    this.#guard(() => this.#sink.onHead(head, { resume: () => flow.resume(), retain() {} }))
  }

  onData(chunk: Buffer): boolean {
    let goOn = true
    this.#guard(() => {
      goOn = this.#sink.onData(Buffer.from(chunk)) !== false
    })
    return goOn
  }

  onFlush(): void {
    this.#guard(() => this.#sink.onFlush())
  }

  onEnd(trailers: HeaderList | null): void {
    this.#guard(() => this.#sink.onEnd(trailers))
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    this.#guard(() => this.#sink.onUpgrade(head, stream, rest))
  }

  onError(error: ProxyError): void {
    this.#guard(() => this.#sink.onError(error))
  }

  #guard(call: () => void): void {
    const onThrew = (thrown: unknown): void => this.#exchange.fail(hookError('an interceptor', thrown), 'aborted')
    try {
      catchRejection(call() as unknown, onThrew)
    } catch (thrown) {
      onThrew(thrown)
    }
  }
}
