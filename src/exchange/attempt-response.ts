import type { Duplex } from 'node:stream'
import type { Flow, ResponseSink } from '../contracts/pool.ts'
import { hasBoundChallenge } from '../http1/connection-auth.ts'
import { ProxyError } from '../model/errors.ts'
import type { HeaderList } from '../model/exchange-view.ts'
import type { ResponseHead } from '../model/message.ts'
import { catchRejection, isPromise } from '../runtime/callbacks.ts'
import type { Attempt } from './attempt.ts'
import type { Attempts } from './attempts.ts'
import type { Exchange } from './exchange.ts'

/**
 * The response of one attempt, on its way from the pool to the sink of the attempts. It is also the flow by which the sink controls
 * it. The pool calls from its own async context, so each call enters that of the request first.
 */
export class AttemptResponse implements ResponseSink, Flow {
  readonly #attempts: Attempts
  readonly #attempt: Attempt
  readonly #exchange: Exchange
  readonly #sink: ResponseSink
  #flow: Flow | null = null

  constructor(attempts: Attempts, attempt: Attempt) {
    this.#attempts = attempts
    this.#attempt = attempt
    this.#exchange = attempts.exchange
    this.#sink = attempts.sink
  }

  onInformational(head: ResponseHead): void {
    this.#exchange.enter(this.#onInformational, this, head)
  }

  #onInformational(head: ResponseHead): void {
    if (!this.#attempt.isEnded) this.#sink.onInformational(head)
  }

  onHead(head: ResponseHead, flow: Flow): void {
    const { scope } = this.#exchange.front
    if (scope === null) this.#onHead(head, flow)
    else scope.runInAsyncScope(this.#onHead, this, head, flow)
  }

  #onHead(head: ResponseHead, flow: Flow): void {
    if (this.#attempt.isEnded) return
    this.#attempt.onStatus(head.status)
    this.#flow = flow
    this.#exchange.failure = null
    this.#noteGrpcStatus(head.headers)
    if (head.status === 401 && hasBoundChallenge(head.headers)) return this.#refuseBoundChallenge()
    this.#sink.onHead(head, this)
  }

  #noteGrpcStatus(fields: Readonly<HeaderList>): void {
    const { grpc } = this.#exchange
    if (grpc !== null) this.#attempt.grpcStatus = grpc.note(fields)
  }

  /**
   * NTLM and Negotiate authenticate a connection. The next step of the handshake could use another connection, and an
   * authenticated connection would serve other clients too.
   */
  #refuseBoundChallenge(): void {
    const { backend, number } = this.#attempt
    const message =
      `backend ${backend.id} of group ${this.#exchange.group} asks for NTLM or Negotiate authentication, which cannot pass a proxy ` +
      'that shares connections: have it offer another scheme instead (Basic, Bearer), or let clients reach it directly'
    // The backend has responded, and is healthy.
    this.#attempt.end('answered', null)
    this.#attempts.giveUp(new ProxyError('ERR_PROXY_BAD_RESPONSE', message, { backend, attempt: number }))
  }

  onData(chunk: Buffer): boolean {
    const { scope } = this.#exchange.front
    return scope === null ? this.#onData(chunk) : scope.runInAsyncScope(this.#onData, this, chunk)
  }

  #onData(chunk: Buffer): boolean {
    if (!this.#attempt.isResponding) return true
    this.#attempt.onResponseProgress()
    return this.#sink.onData(chunk)
  }

  onFlush(): void {
    if (!this.#attempt.isResponding) return
    const { scope } = this.#exchange.front
    if (scope === null) this.#sink.onFlush()
    else scope.runInAsyncScope(this.#sink.onFlush, this.#sink)
  }

  onEnd(trailers: HeaderList | null): void {
    const { scope } = this.#exchange.front
    if (scope === null) this.#onEnd(trailers)
    else scope.runInAsyncScope(this.#onEnd, this, trailers)
  }

  #onEnd(trailers: HeaderList | null): void {
    if (this.#attempt.isEnded) return
    if (trailers !== null) this.#noteGrpcStatus(trailers)
    this.#attempt.end('answered', null)
    this.#attempts.finish()
    this.#sink.onEnd(trailers)
  }

  onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    this.#exchange.enter(this.#onUpgrade, this, head, stream, rest)
  }

  #onUpgrade(head: ResponseHead, stream: Duplex, rest: Buffer): void {
    if (this.#attempt.isEnded) return void stream.destroy()
    this.#attempt.onStatus(head.status)
    this.#attempt.onUpgraded()
    // The limit holds until the interceptors pass the upgrade on.
    if (this.#exchange.route?.handler != null) this.#exchange.client.awaitInterceptors()
    this.#sink.onUpgrade(head, stream, rest)
  }

  onError(error: ProxyError): void {
    this.#exchange.enter(this.#attempt.onError, this.#attempt, error)
  }

  // Flow of the body, called by the sink:

  resume(): void {
    // An interceptor may call too late, when the connection already carries a request of another exchange.
    if (!this.#attempt.isResponding) return
    this.#attempt.onResponseProgress()
    try {
      this.#catch(this.#flow?.resume())
    } catch (thrown) {
      this.#attempt.onPoolThrew(thrown)
    }
  }

  /** Allowed after the end too: the front may still use the last bytes. */
  retain(): void {
    this.#catch(this.#flow?.retain())
  }

  #catch(returned: unknown): void {
    if (isPromise(returned)) catchRejection(returned, (thrown) => this.#attempt.onPoolThrew(thrown))
  }
}
