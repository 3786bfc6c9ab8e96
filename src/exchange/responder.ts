import type { Duplex } from 'node:stream'
import type { Flow, ResponseSink } from '../contracts/pool.ts'
import type { OutgoingResponse } from '../contracts/transform.ts'
import type { Group } from '../groups/group.ts'
import { responseHeaders } from '../headers/response.ts'
import { passableTrailers } from '../headers/trailers.ts'
import { headerView } from '../headers/view.ts'
import { fieldValues } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import { hookError, ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { assertSync } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Exchange } from './exchange.ts'
import type { FrontEvents } from './front.ts'
import { isFinalStatus } from './outgoing.ts'
import { UpgradedConnection } from './upgraded-connection.ts'

const NONE: Readonly<HeaderList> = []

const WAITING = 0
const RESPONDING = 1
const COMPLETE = 2

/** Step 7 of an exchange: passes the response to the client. It is the last sink, outside all interceptors. */
export class Responder implements ResponseSink, FrontEvents {
  readonly #exchange: Exchange
  #state = WAITING
  #flow: Flow | null = null
  /** Headers of the response, as received. They decide which trailers may be passed on. */
  #headers: Readonly<HeaderList> = NONE
  #isClientBlocked = false

  constructor(exchange: Exchange) {
    this.#exchange = exchange
  }

  /** Some of a response may have reached the client. */
  get hasBegun(): boolean {
    return this.#state !== WAITING
  }
  /** All of the response was given to the front. */
  get isComplete(): boolean {
    return this.#state === COMPLETE
  }
  /** The client, and not the backend, must act next. */
  get isClientBlocked(): boolean {
    return this.#isClientBlocked
  }

  onInformational(head: ResponseHead): void {
    if (this.#exchange.isEnded || this.#state !== WAITING) return
    try {
      this.#exchange.front.inform(head)
    } catch (thrown) {
      this.#failWith(thrown)
    }
  }

  // 7 respond

  onHead(head: ResponseHead, flow: Flow): void {
    const exchange = this.#exchange
    if (exchange.isEnded) return
    const { front, method, services, snapshot } = exchange
    if (front.ownStatus !== null) return this.#onClientDone()
    this.#flow = flow
    this.#headers = head.headers
    exchange.body?.forget()
    const isBodiless = method === 'HEAD' || head.status === 304
    const headers = responseHeaders(head.headers, {
      bodyBytes: head.status === 204 ? -1 : head.bodyBytes,
      isBodiless,
      takesTrailers: !isBodiless && front.takesTrailers(head.bodyBytes),
      via: snapshot.forwarding.via,
      isUpgradeRequired: head.status === 426,
    })
    exchange.status = head.status
    const status = this.#transform(head.status, headers)
    if (status instanceof ProxyError) return exchange.fail(status)
    exchange.status = status
    this.#state = RESPONDING
    exchange.client.stopAwaiting()
    if (services.observers.has('onResponse')) services.observers.notify('onResponse', exchange, status)
    // The client may stop an unfinished upload, and the connection could not be reused.
    if (services.activity.isClosing || (status >= 300 && !front.isRequestComplete)) front.isLast = true
    try {
      front.respond({ status, reason: status === head.status ? head.reason : '', headers, bodyBytes: head.bodyBytes })
    } catch (thrown) {
      this.#state = WAITING
      exchange.fail(hookError('the response', thrown, exchange.backend))
    }
  }

  /** Applies affinity and the route's transforms to the head of the response. @returns the status to send, or the error. */
  #transform(status: number, headers: HeaderList): number | ProxyError {
    const { route } = this.#exchange
    if (route === null) return status
    const fault = route.group.affinity === null ? null : this.#bind(route.group, headers)
    if (fault !== null) return fault
    if (route.transforms.length === 0) return status
    const response: OutgoingResponse = { status, headers: headerView(headers) }
    for (const transform of route.transforms) {
      try {
        assertSync(transform.response?.(response, this.#exchange))
        if (response.status !== status && !isFinalStatus(response.status))
          throw new TypeError(`${response.status} is not the status of a response`)
      } catch (error) {
        return hookError(`transform ${transform.name}`, error, this.#exchange.backend)
      }
    }
    return response.status
  }

  /** Lets the group's affinity write the client's backend into the response. @returns the error, or `null`. */
  #bind(group: Group, headers: HeaderList): ProxyError | null {
    const { backend } = this.#exchange
    try {
      // There is no backend if an interceptor has responded by itself.
      if (backend !== null) group.bind(backend, headerView(headers), this.#exchange)
      return null
    } catch (error) {
      return hookError(`bind() of affinity ${group.affinity?.name}`, error, backend)
    }
  }

  onData(chunk: Buffer): boolean {
    const exchange = this.#exchange
    if (exchange.isEnded) return true
    exchange.responseBytes += chunk.length
    let goOn = true
    try {
      goOn = exchange.front.write(chunk, this.#flow as Flow)
    } catch (thrown) {
      this.#failWith(thrown)
    }
    this.#isClientBlocked = !goOn
    exchange.client.onBlocked(!goOn)
    return goOn
  }

  onFlush(): void {
    if (this.#exchange.isEnded || this.#state !== RESPONDING) return
    try {
      this.#exchange.front.flush()
    } catch (thrown) {
      this.#failWith(thrown)
    }
  }

  onEnd(trailers: HeaderList | null): void {
    const exchange = this.#exchange
    if (exchange.isEnded) return
    this.#state = COMPLETE
    this.#isClientBlocked = true
    exchange.client.awaitLastBytes()
    try {
      exchange.front.end(trailers === null ? null : passableTrailers(trailers, this.#headers))
    } catch (thrown) {
      this.#failWith(thrown)
    }
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    const exchange = this.#exchange
    const { front, services, snapshot } = exchange
    if (exchange.isEnded || front.ownStatus !== null) {
      stream.destroy()
      return this.#onClientDone()
    }
    if (front.upgrade === undefined) {
      stream.destroy()
      return exchange.fail(hookError('pool', new TypeError('it switched protocols, and nobody has asked for that')))
    }
    exchange.status = head.status
    const shape = { bodyBytes: -1, isBodiless: false, takesTrailers: false, via: snapshot.forwarding.via }
    const headers = responseHeaders(head.headers, shape)
    const error = this.#transform(head.status, headers)
    if (error instanceof ProxyError) {
      stream.destroy()
      return exchange.fail(error)
    }
    headers.push('Connection', 'Upgrade', 'Upgrade', fieldValues(head.headers, 'upgrade').join(', '))
    this.#state = RESPONDING
    try {
      const upgraded = new UpgradedConnection(exchange)
      exchange.client.tunnel = upgraded
      const tunnel = front.upgrade(headers, stream, rest, upgraded)
      upgraded.begin(tunnel)
      if (services.activity.isClosing) tunnel.goAway()
    } catch (thrown) {
      stream.destroy()
      return this.#failWith(thrown)
    }
    const { observers } = services
    if (observers.has('onUpgrade')) observers.notify('onUpgrade', exchange, exchange.backend as Backend)
  }

  onError(error: ProxyError): void {
    this.#exchange.fail(error)
  }

  onClientDrain(): void {
    this.#exchange.enter(this.#onClientDrain, this)
  }

  #onClientDrain(): void {
    const exchange = this.#exchange
    this.#isClientBlocked = this.#state === COMPLETE
    if (exchange.isEnded || this.#state === WAITING) return
    exchange.client.onDrain(this.#state === COMPLETE)
    if (this.#state === RESPONDING) this.#flow?.resume()
  }

  onClientDone(): void {
    this.#exchange.enter(this.#onClientDone, this)
  }

  #onClientDone(): void {
    const exchange = this.#exchange
    const { attempts, failure, front } = exchange
    const isOurs = this.#state === COMPLETE
    if (!isOurs && !exchange.isEnded) exchange.status = front.ownStatus ?? 0
    // Local, because either an interceptor or the application has responded by itself. An attempt may still run.
    const kind = attempts === 0 || !isOurs ? 'local' : 'answered'
    exchange.end(failure === null ? kind : 'failed', failure, 'aborted')
  }

  onClientGone(): void {
    this.#exchange.enter(this.#onClientGone, this)
  }

  #onClientGone(): void {
    const { backend, attempts } = this.#exchange
    const message = 'the client closed the connection before it had the response'
    this.#exchange.end('aborted', new ProxyError('ERR_PROXY_CLIENT_GONE', message, { backend, attempt: attempts }))
  }

  onFrontThrew(thrown: unknown): void {
    const { id, isEnded, services } = this.#exchange
    // The exchange is already recorded, perhaps with the error for which this response was sent: only log.
    if (isEnded) services.logger.error({ exchange: id, err: thrown }, `the response threw: ${describeError(thrown)}`)
    this.#exchange.enter(this.#failWith, this, thrown)
  }

  #failWith(thrown: unknown): void {
    this.#exchange.fail(hookError('the response', thrown, this.#exchange.backend))
  }
}
