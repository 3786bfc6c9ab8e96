import type { Connection, ResponseHead, ResponseSink } from '../contracts/pool.ts'
import type { RequestHeaders } from '../headers/request.ts'
import { responseHeaders } from '../headers/response.ts'
import { passableTrailers } from '../headers/trailers.ts'
import { hasBoundChallenge } from '../http1/connection-auth.ts'
import { removeField } from '../http1/fields.ts'
import { describeError, ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { HeaderList, Timeouts } from '../model/exchange-view.ts'
import type { Outcome, OutcomeKind } from '../model/outcome.ts'
import { catchRejection, isPromise } from '../runtime/callbacks.ts'
import { BaseExchange } from './attempts.ts'
import type { Front, FrontBody, FrontEvents, Retainable } from './front.ts'
import { errorResponse } from './local-response.ts'
import { type BodyWatcher, ReplayableBody } from './replayable-body.ts'
import type { Destination, Parts } from './services.ts'

/** What one call may say differently. */
export interface ExchangeOverrides {
  readonly timeouts?: Partial<Timeouts> | undefined
  /** Called in place of our own answer, when nothing has been sent to the client yet. */
  readonly onError?: ((error: ProxyError) => void) | undefined
}

const NONE: Readonly<HeaderList> = []

/** What the exchange waits for; decides what an idle or late exchange is called. */
const WAITING = 0
const SENDING = 1
const AWAITING_HEAD = 2
const RECEIVING = 3
const ENDED = 4

/** What `limits.minBodyBytesPerSecond` and `limits.minReadBytesPerSecond` let a client be late at first, ms. */
const RATE_GRACE_MS = 5000

/**
 * One client request and all that becomes of it.
 *
 *     1 accept -> 2 route -> 3 pick -> 4 lease -> 5 forward -> 6 respond -> 7 record
 *                              ^______ another attempt ______|
 *
 * One object for the whole way, no promise and no closure where a connection is at hand. Whatever happens, it ends
 * once, in {@link Exchange.#end}.
 */
export class Exchange extends BaseExchange implements ResponseSink, FrontEvents, BodyWatcher, Retainable {
  declare readonly front: Front
  readonly #overrides: ExchangeOverrides | null
  readonly #requestBodyBytes: number | null
  readonly #body: ReplayableBody | null
  #connection: Connection | null = null
  /** Whose bytes the front was given last; it may still use them when the connection has gone back. */
  #lender: Connection | null = null
  #phase = WAITING
  /** Of the response, as received: what its trailers may say depends on them. */
  #responseHeaders: Readonly<HeaderList> = NONE
  #isClientBlocked = false
  /** When this attempt's request began to be sent; once all of it is, when that was. */
  #sentAt = 0
  /** When the client was asked for what it sends now, and how much has come since. */
  #awaitedAt = 0
  #awaitedBytes = 0
  /** Since when the client takes no more of the response, and how long it did so before; kept for `limits.minReadBytesPerSecond`. */
  #blockedAt = -1
  #blockedMs = 0

  // 1 accept

  constructor(
    parts: Parts,
    front: Front,
    headers: RequestHeaders,
    body: FrontBody | null,
    overrides: ExchangeOverrides | null,
  ) {
    super(parts, front, front.peer, headers)
    this.#overrides = overrides
    this.#requestBodyBytes = headers.bodyBytes
    if (body?.isDecoded === true) removeField(headers.list, 'content-encoding')
    if (body?.expectsContinue === true) headers.list.push('Expect', '100-continue')
    this.#body = body === null ? null : new ReplayableBody(body, parts.limits.replayBytes, this, headers.counted)
  }

  /** Goes the whole way. @param override goes there in place of asking the routes. */
  begin(override: Destination | null): void {
    const { state, limits } = this.parts
    if (state.isClosed) return this.reject('ERR_PROXY_CLOSED', 'the proxy is closed')
    // 2 route
    const error = this.route(override, this.#overrides?.timeouts)
    if (error !== null) return this.#fail(error)
    const { maxBodyBytes } = limits
    if (maxBodyBytes > 0 && this.#requestBodyBytes !== null && this.#requestBodyBytes > maxBodyBytes) {
      return this.reject('ERR_PROXY_BODY_TOO_LARGE', `the request body is larger than ${maxBodyBytes} bytes`)
    }
    this.attempt()
  }

  protected attempt(): void {
    // 3 pick
    this.#phase = WAITING
    const error = this.pick()
    if (error !== null) return this.#fail(error)
    // 4 lease
    let leased: Connection | Promise<Connection>
    try {
      leased = this.pool.acquire(this.backend as NonNullable<typeof this.backend>, this)
    } catch (thrown) {
      return this.#onLeaseFailed(thrown)
    }
    if (isPromise(leased)) this.#await(leased)
    else this.#onLeased(leased)
  }

  #await(leased: PromiseLike<Connection>): void {
    try {
      leased.then(
        (connection) => this.#onLeased(connection),
        (thrown) => this.#onLeaseFailed(thrown),
      )
    } catch (thrown) {
      this.#onLeaseFailed(thrown)
    }
  }

  #onLeased(connection: Connection): void {
    if (!isConnection(connection)) this.#onLeaseFailed(new TypeError('acquire() gave no connection'))
    else if (this.#phase === WAITING) this.#forward(connection)
    else this.#release(connection, ABORTED)
  }

  #onLeaseFailed(error: unknown): void {
    if (this.#phase !== WAITING) return
    if (error instanceof ProxyError && error.code === 'ERR_PROXY_NO_BACKEND' && this.pickAgain(error)) return
    if (error instanceof ProxyError) this.onError(error)
    else this.onError(this.hookError('pool', error))
  }

  // 5 forward

  #forward(connection: Connection): void {
    const body = this.#body
    this.#connection = connection
    this.#lender = connection
    const now = this.parts.clock.now()
    this.#phase = body === null ? AWAITING_HEAD : SENDING
    this.#sentAt = now
    this.extend(body === null ? this.timeouts.headers : this.timeouts.idle, now)
    try {
      const returned: unknown = connection.send(this.outgoingHead(), body, this)
      if (isPromise(returned)) catchRejection(returned, (error) => this.onPoolThrew(error))
    } catch (error) {
      this.#fail(this.hookError('pool', error))
    }
  }

  onBodyProgress(bytes: number): void {
    this.requestBytes += bytes
    const { maxBodyBytes } = this.parts.limits
    if (maxBodyBytes > 0 && this.requestBytes > maxBodyBytes) {
      this.reject('ERR_PROXY_BODY_TOO_LARGE', `the request body is larger than ${maxBodyBytes} bytes`)
    } else if (this.#phase === SENDING) {
      this.#awaitedBytes += bytes
      this.#awaitBody(this.parts.clock.now())
    } else if (this.#phase === RECEIVING) this.extend(this.timeouts.idle)
  }

  onBodyAwaited(): void {
    this.#awaitedAt = this.parts.clock.now()
    this.#awaitedBytes = 0
    if (this.#phase === SENDING) this.#awaitBody(this.#awaitedAt)
  }

  onBodyHeld(): void {
    if (this.#phase === SENDING) this.extend(this.timeouts.idle)
  }

  #awaitBody(now: number): void {
    this.extend(this.timeouts.idle, now)
    if (this.parts.limits.minBodyBytesPerSecond > 0) this.deadline = Math.min(this.deadline, this.#slowAt)
  }

  /** When the client is too slow if nothing more comes. */
  get #slowAt(): number {
    return this.#awaitedAt + RATE_GRACE_MS + (this.#awaitedBytes * 1000) / this.parts.limits.minBodyBytesPerSecond
  }

  onBodyComplete(): void {
    if (this.#phase !== SENDING) return
    this.#phase = AWAITING_HEAD
    this.#sentAt = this.parts.clock.now()
    this.extend(this.timeouts.headers, this.#sentAt)
  }

  // 6 respond

  onInformational(head: ResponseHead): void {
    if (this.#phase === ENDED) return
    try {
      this.front.inform(head)
    } catch (thrown) {
      this.onFrontThrew(thrown)
    }
  }

  onHead(head: ResponseHead): void {
    if (this.#phase === ENDED) return
    const { clock, events, via } = this.parts
    const now = clock.now()
    this.firstByteMs = now - this.startedAt
    this.status = head.status
    this.#responseHeaders = head.headers
    this.#phase = RECEIVING
    this.extend(this.timeouts.idle, now)
    this.#body?.forget()
    if (head.status === 401 && hasBoundChallenge(head.headers)) return this.#refuseBoundChallenge()
    const isBodiless = this.method === 'HEAD' || head.status === 304
    const bodyBytes = head.status === 204 ? -1 : head.bodyBytes
    const headers = responseHeaders(head.headers, {
      bodyBytes,
      isBodiless,
      takesTrailers: head.bodyBytes < 0 && !isBodiless && this.front.minorVersion === 1,
      via,
      isUpgradeRequired: head.status === 426,
    })
    const status = this.transformResponse(head.status, headers)
    if (status instanceof ProxyError) return this.#fail(status)
    this.status = status
    if (events.has('response')) events.emit('response', this, status)
    if (this.parts.state.isClosing) headers.push('Connection', 'close')
    try {
      this.front.respond(status, status === head.status ? head.reason : '', headers, head.bodyBytes)
    } catch (thrown) {
      this.#fail(this.hookError('the response', thrown))
    }
  }

  /** Its other half could come over another connection, and what it authenticates would be another client's, too. */
  #refuseBoundChallenge(): void {
    const { backend, group } = this
    const message =
      `backend ${backend?.id} of group ${group} asks for NTLM or Negotiate authentication, which cannot pass a proxy that ` +
      'shares connections: have it offer another scheme instead (Basic, Bearer), or let clients reach it directly'
    // It has answered, and nothing is wrong with it.
    this.endAttempt('answered', null)
    this.#fail(new ProxyError('ERR_PROXY_BAD_RESPONSE', message, { backend, attempt: this.attempts }))
  }

  onData(chunk: Buffer): boolean {
    if (this.#phase === ENDED) return true
    this.responseBytes += chunk.length
    this.extend(this.timeouts.idle)
    let goOn = true
    try {
      goOn = this.front.write(chunk, this)
    } catch (thrown) {
      this.onFrontThrew(thrown)
    }
    this.#isClientBlocked = !goOn
    if (!goOn || this.#blockedAt >= 0) this.#awaitReader()
    return goOn
  }

  /** The front still uses the chunk that was just delivered. */
  retain(): void {
    const returned: unknown = this.#lender?.retain()
    if (isPromise(returned)) catchRejection(returned, (thrown) => this.onPoolThrew(thrown))
  }

  #awaitReader(): void {
    if (this.parts.limits.minReadBytesPerSecond === 0 || this.#phase !== RECEIVING) return
    if (this.#blockedAt < 0) this.#blockedAt = this.parts.clock.now()
    this.deadline = Math.min(this.deadline, this.#unreadAt)
  }

  /** When the client has read too slowly if it takes nothing more. Time in which it waits for the backend is not counted. */
  get #unreadAt(): number {
    const { minReadBytesPerSecond } = this.parts.limits
    return this.#blockedAt - this.#blockedMs + RATE_GRACE_MS + (this.responseBytes * 1000) / minReadBytesPerSecond
  }

  onFlush(): void {
    if (this.#phase !== RECEIVING) return
    try {
      this.front.flush()
    } catch (thrown) {
      this.onFrontThrew(thrown)
    }
  }

  onEnd(trailers: HeaderList | null): void {
    if (this.#phase === ENDED) return
    this.endAttempt('answered', null)
    // Whatever is late from now on, it is not the backend.
    this.#isClientBlocked = true
    try {
      this.front.end(trailers === null ? null : passableTrailers(trailers, this.#responseHeaders))
    } catch (thrown) {
      this.onFrontThrew(thrown)
    }
  }

  onClientDrain(): void {
    this.#isClientBlocked = false
    if (this.#phase !== RECEIVING) return
    const now = this.parts.clock.now()
    if (this.#blockedAt >= 0) {
      this.#blockedMs += now - this.#blockedAt
      this.#blockedAt = -1
    }
    this.extend(this.timeouts.idle, now)
    try {
      const returned: unknown = this.#connection?.resume()
      if (isPromise(returned)) catchRejection(returned, (thrown) => this.onPoolThrew(thrown))
    } catch (thrown) {
      this.onPoolThrew(thrown)
    }
  }

  onClientDone(): void {
    if (this.#phase === RECEIVING && !this.isAttempting) return this.#end('answered', null)
    // The application has answered by itself.
    this.endAttempt('aborted', null)
    this.#end('local', null)
  }

  onClientGone(): void {
    if (this.#phase === ENDED) return
    const error = new ProxyError('ERR_PROXY_CLIENT_GONE', 'the client closed the connection before it had the answer', {
      backend: this.backend,
      attempt: this.attempts,
    })
    this.endAttempt('aborted', error)
    this.#end('aborted', error)
  }

  // What goes wrong:

  onFrontThrew(thrown: unknown): void {
    this.onError(this.hookError('the response', thrown))
  }

  onPoolThrew(thrown: unknown): void {
    this.onError(this.hookError('pool', thrown))
  }

  onError(error: ProxyError): void {
    if (this.#phase === ENDED) return
    if (this.#phase === RECEIVING) {
      this.endAttempt('truncated', error)
      this.#abort()
      this.#end('truncated', error)
      return
    }
    const isReplayable = this.#body === null || this.#body.isReplayable
    if (!this.tryAgain(error, isReplayable, this.#connection?.isReused ?? false)) this.#fail(error)
  }

  onDeadline(): void {
    // The list has let go of it; an attempt that fails may be followed by another.
    this.parts.deadlines.add(this)
    const { headers, idle, total } = this.timeouts
    const now = this.parts.clock.now()
    if (now >= this.totalAt) {
      // It counts as no head in time where the backend has had the whole request for most of it.
      const isBackends = this.#phase === AWAITING_HEAD && (now - this.#sentAt) * 2 >= total
      return this.#timeOut('ERR_PROXY_TOTAL_TIMEOUT', `the exchange took more than ${total} ms`, true, isBackends)
    }
    if (this.#phase === AWAITING_HEAD) {
      return this.#timeOut(
        'ERR_PROXY_HEADERS_TIMEOUT',
        `backend ${this.backend?.id} did not answer within ${headers} ms`,
        false,
      )
    }
    const isClients = this.#phase === SENDING ? this.#body?.isWaitingForClient : this.#isClientBlocked
    const { minBodyBytesPerSecond, minReadBytesPerSecond } = this.parts.limits
    if (isClients && this.#phase === SENDING && minBodyBytesPerSecond > 0 && now >= this.#slowAt) {
      return this.#timeOut(
        'ERR_PROXY_CLIENT_TIMEOUT',
        `the client sent less than ${minBodyBytesPerSecond} bytes a second`,
        true,
      )
    }
    if (this.#blockedAt >= 0 && now >= this.#unreadAt) {
      return this.#timeOut(
        'ERR_PROXY_CLIENT_TIMEOUT',
        `the client took less than ${minReadBytesPerSecond} bytes a second`,
        true,
      )
    }
    if (isClients) return this.#timeOut('ERR_PROXY_CLIENT_TIMEOUT', `the client moved no byte for ${idle} ms`, true)
    // A backend that takes no more of a body counts; one that has nothing to say for a while, in a stream of events, does not.
    const isBackends = this.#phase === SENDING
    this.#timeOut(
      'ERR_PROXY_IDLE_TIMEOUT',
      `backend ${this.backend?.id} moved no byte for ${idle} ms`,
      false,
      isBackends,
    )
  }

  /**
   * @param isFinal no other attempt would help.
   * @param blamesBackend where it is not as the code says by itself.
   */
  #timeOut(code: ProxyErrorCode, message: string, isFinal: boolean, blamesBackend?: boolean): void {
    const details = { backend: this.backend, attempt: this.attempts }
    const error = new ProxyError(code, message, blamesBackend === undefined ? details : { ...details, blamesBackend })
    if (!isFinal || this.#phase === RECEIVING) this.onError(error)
    else {
      this.endAttempt(error.side === 'client' ? 'aborted' : 'failed', error)
      this.#fail(error)
    }
  }

  /** Ends it without another attempt, for a reason that lies in the request. */
  reject(code: ProxyErrorCode, message: string): void {
    const error = new ProxyError(code, message)
    if (this.#phase === RECEIVING) return this.onError(error)
    this.endAttempt('aborted', error)
    this.#fail(error)
  }

  /** Answers with an error; the attempt, if any, has ended. */
  #fail(error: ProxyError): void {
    if (this.#phase === ENDED) return
    this.endAttempt('failed', error)
    const { onError } = this.#overrides ?? {}
    this.status = error.status
    this.#end(error.side === 'backend' || this.attempts > 0 ? 'failed' : 'local', error)
    if (onError !== undefined) {
      try {
        catchRejection(onError(error), (thrown) => this.#onErrorThrew(thrown, error))
      } catch (thrown) {
        this.#onErrorThrew(thrown, error)
      }
    } else this.#answer(error)
  }

  #onErrorThrew(thrown: unknown, error: ProxyError): void {
    this.parts.logger.error({ err: thrown }, `onError threw: ${describeError(thrown)}`)
    this.#answer(error)
  }

  /** The exchange has ended. */
  #answer(error: ProxyError): void {
    const answer = errorResponse(error)
    if (this.parts.state.isClosing) answer.headers.push('Connection', 'close')
    try {
      this.front.refuse(error.status, answer.headers, answer.text)
    } catch (thrown) {
      this.parts.logger.error({ err: thrown }, `the response threw: ${describeError(thrown)}`)
      this.#abort()
    }
  }

  #abort(): void {
    try {
      this.front.abort()
    } catch (thrown) {
      this.parts.logger.error({ err: thrown }, `the response threw: ${describeError(thrown)}`)
    }
  }

  /** Gives the connection back, too. */
  protected override endAttempt(kind: OutcomeKind, error: ProxyError | null, wasKept = false): Outcome | null {
    const outcome = super.endAttempt(kind, error, wasKept)
    const connection = this.#connection
    if (outcome === null) return null
    this.#connection = null
    if (kind !== 'answered') this.#body?.detach()
    if (connection !== null) this.#release(connection, outcome)
    return outcome
  }

  #release(connection: Connection, outcome: Outcome): void {
    try {
      const returned: unknown = connection.release(outcome)
      if (isPromise(returned)) catchRejection(returned, (thrown) => this.tellPool(thrown))
    } catch (thrown) {
      this.tellPool(thrown)
    }
  }

  // 7 record

  /** The one end of every exchange. */
  #end(kind: OutcomeKind, error: ProxyError | null): void {
    if (this.#phase === ENDED) return
    this.#phase = ENDED
    this.#body?.abandon()
    this.end(kind, error)
  }
}

const ABORTED: Outcome = { kind: 'aborted', status: 0, error: null, firstByteMs: -1, totalMs: 0 }

/** A pool of the user's may give anything. */
function isConnection(leased: Connection | null | undefined): leased is Connection {
  try {
    return typeof leased?.send === 'function'
  } catch {
    return false
  }
}
