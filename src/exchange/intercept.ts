import type { Duplex } from 'node:stream'
import type { Handler, Interceptor } from '../contracts/interceptor.ts'
import type { BodySource, Flow, ResponseSink } from '../contracts/pool.ts'
import { isReserved } from '../headers/view.ts'
import { fieldValue } from '../http1/fields.ts'
import { hookError, type ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { isPath } from '../model/path.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import { Attempts } from './attempts.ts'
import { destinationNamed, withDestination } from './call.ts'
import { CheckedSink, checkHeaders } from './checked-sink.ts'
import { Exchange } from './exchange.ts'
import { ForwardedBody } from './forwarded-body.ts'
import { isSendable } from './outgoing.ts'
import type { Route } from './snapshot.ts'

/**
 * Composes the interceptors of a route; the first one is outermost. An error that they throw ends the exchange. Their heads and
 * bodies are checked. They own the bytes that they receive.
 * @returns `null` if there are none: an exchange then runs its attempts directly.
 */
export function compose(interceptors: readonly Interceptor[]): Handler | null {
  const handler = interceptors.reduceRight<Handler | null>((inner, one) => guarded(one, inner), null)
  if (handler === null) return null
  return (exchange, request, body, sink) =>
    handler(exchange, request, body, new CheckedSink(exchange as Exchange, sink))
}

/** @param inner the next interceptor, or `null` for the backends. */
function guarded(interceptor: Interceptor, inner: Handler | null): Handler {
  const name = `interceptor ${interceptor.name}`
  const wrapped = interceptor.wrap((exchange, request, body, sink) => {
    if (!(exchange instanceof Exchange))
      throw new TypeError('next() was called with something that is not the exchange')
    if (inner === null) toBackends(exchange, request, body, sink, name)
    else inner(exchange, request, body, isGuarded(sink) ? sink : new GuardedSink(exchange, sink, name, false))
  })
  if (typeof wrapped !== 'function') throw new TypeError(`wrap() of ${name} returned no function`)
  return (exchange, request, body, sink) => {
    const onThrew = (thrown: unknown): void => failHook(exchange as Exchange, name, thrown)
    try {
      catchRejection(wrapped(exchange, request, body, sink), onThrew)
    } catch (thrown) {
      onThrew(thrown)
    }
  }
}

function failHook(exchange: Exchange, name: string, thrown: unknown): void {
  exchange.fail(hookError(name, thrown, exchange.backend, 'intercept'), 'aborted')
}

/** Whether the sink is one that never throws. */
function isGuarded(sink: ResponseSink): boolean {
  return sink instanceof CheckedSink || sink instanceof GuardedSink
}

/** The innermost `next`. Never throws, because it may be called from a timer, where nothing would catch an error. */
function toBackends(
  exchange: Exchange,
  request: RequestHead,
  body: BodySource | null,
  sink: ResponseSink,
  name: string,
): void {
  if (exchange.isEnded) return
  try {
    if (typeof sink?.onHead !== 'function') throw new TypeError('next() was called without a sink')
    if (request.group !== undefined) chooseGroup(exchange, request.group)
    const head = checkedHead(exchange, request, body)
    const forwarded = body === null ? null : new ForwardedBody(exchange, body, head.headers, name)
    // A CheckedSink leads straight to the client's front, which needs no copy of the bytes.
    const guard = sink instanceof CheckedSink ? sink : new GuardedSink(exchange, sink, name, true)
    const attempts = new Attempts(exchange, exchange.route as Route, head, forwarded, guard)
    if (forwarded !== null) forwarded.attempts = attempts
    if (request.signal?.aborted === true) return
    if (request.signal !== undefined) attempts.endWith(request.signal)
    exchange.run(attempts)
  } catch (thrown) {
    failHook(exchange, name, thrown)
  }
}

/** @throws RangeError if there is no such group, TypeError if an attempt runs at another one. */
function chooseGroup(exchange: Exchange, name: string): void {
  const { snapshot, running } = exchange
  const route = exchange.route as Route
  const destination = destinationNamed(snapshot, name)
  if (destination.group === route.group) return
  if (running !== null) throw new TypeError(`the group cannot be changed to ${name} while an attempt runs`)
  exchange.useRoute(withDestination(route, destination))
}

/** A checked copy of the head, so that later changes to the list have no effect. @throws TypeError if it cannot be sent. */
function checkedHead(exchange: Exchange, { method, path, headers }: RequestHead, body: BodySource | null): RequestHead {
  if (typeof method !== 'string' || !isSendable(method))
    throw new TypeError(`${JSON.stringify(method)} is not a method`)
  if (typeof path !== 'string' || !isPath(path)) throw new TypeError(`${JSON.stringify(path)} is not a path`)
  checkHeaders(headers)
  const list: HeaderList = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    if (isReserved(name)) {
      if (!isOurs(name, value)) throw new TypeError(`${name} is written by the proxy itself`)
      // The client sends, or has sent, its body: it does not wait for a 100.
      if (value === '100-continue' && body?.expectsContinue !== true) continue
    }
    list.push(name, value)
  }
  return { method, path, authority: fieldValue(list, 'host') ?? '', headers: list, upgrade: exchange.upgrade }
}

/** Whether the proxy wrote this header into the head that it gave to the interceptors. */
function isOurs(name: string, value: string): boolean {
  switch (name) {
    case 'TE':
      return value === 'trailers'
    case 'Connection':
      return value === 'TE'
    default:
      return name === 'Expect' && value === '100-continue'
  }
}

/** Calls the sink of an interceptor. An error that it throws ends the exchange and does not reach the caller. */
class GuardedSink implements ResponseSink, Flow {
  readonly #exchange: Exchange
  readonly #sink: ResponseSink
  readonly #name: string
  readonly #copies: boolean
  #flow: Flow | null = null

  /** @param copies the bytes are lent, so the interceptor gets copies. */
  constructor(exchange: Exchange, sink: ResponseSink, name: string, copies: boolean) {
    this.#exchange = exchange
    this.#sink = sink
    this.#name = name
    this.#copies = copies
  }

  onInformational(head: ResponseHead): void {
    try {
      this.#catch(this.#sink.onInformational(head))
    } catch (thrown) {
      this.#onThrew(thrown)
    }
  }

  onHead(head: ResponseHead, flow: Flow): void {
    this.#flow = flow
    try {
      this.#catch(this.#sink.onHead(head, this))
    } catch (thrown) {
      this.#onThrew(thrown)
    }
  }

  onData(chunk: Buffer): boolean {
    try {
      const goOn = this.#sink.onData(this.#copies ? Buffer.from(chunk) : chunk)
      this.#catch(goOn)
      return goOn !== false
    } catch (thrown) {
      this.#onThrew(thrown)
      return true
    }
  }

  onFlush(): void {
    try {
      this.#catch(this.#sink.onFlush())
    } catch (thrown) {
      this.#onThrew(thrown)
    }
  }

  onEnd(trailers: HeaderList | null): void {
    try {
      this.#catch(this.#sink.onEnd(trailers))
    } catch (thrown) {
      this.#onThrew(thrown)
    }
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    try {
      this.#catch(this.#sink.onUpgrade(head, stream, rest))
    } catch (thrown) {
      this.#onThrew(thrown)
    }
  }

  onError(error: ProxyError): void {
    // An interceptor may have made the error, and another one may respond in its place.
    if (!this.#exchange.events.hasBegun) this.#exchange.failure = error
    try {
      this.#catch(this.#sink.onError(error))
    } catch (thrown) {
      this.#onThrew(thrown)
    }
  }

  // Flow, called by the interceptor:

  resume(): void {
    this.#flow?.resume()
  }

  retain(): void {
    if (!this.#copies) this.#flow?.retain()
  }

  #catch(returned: unknown): void {
    catchRejection(returned, (thrown) => this.#onThrew(thrown))
  }

  #onThrew(thrown: unknown): void {
    failHook(this.#exchange, this.#name, thrown)
  }
}
