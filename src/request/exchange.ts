import type { Connection, RequestHead, ResponseHead, ResponseSink } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { OutgoingRequest, OutgoingResponse } from '../contracts/transform.ts'
import { fieldValue, removeField } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import type { Timed } from '../model/deadlines.ts'
import { describeError, ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { ExchangeView, HeaderList, Timeouts } from '../model/exchange.ts'
import type { Outcome, OutcomeKind } from '../model/outcome.ts'
import type { ResolvedRoute } from '../options.ts'
import { localAnswer } from './answers.ts'
import { type BodyWatcher, ReplayableBody } from './body.ts'
import { clientAddressOf } from './client-address.ts'
import type { Front, FrontBody, FrontEvents } from './front.ts'
import type { Group } from './group.ts'
import { headerView } from './header-view.ts'
import type { Destination, Parts } from './parts.ts'
import { recordExchange } from './record.ts'
import type { RequestHeaders } from './request-headers.ts'
import { responseHeaders } from './response-headers.ts'
import { repeatability } from './retry.ts'
import { parseTarget, withoutDotSegments } from './target.ts'
import { passableTrailers } from './trailers.ts'

/** What one call may say differently. */
export interface ExchangeOverrides {
  readonly timeouts?: Partial<Timeouts> | undefined
  /** Called in place of our own answer, when nothing has been sent to the client yet. */
  readonly onError?: ((error: ProxyError) => void) | undefined
}

/** What the exchange waits for; decides what an idle or late exchange is called. */
const WAITING = 0
const SENDING = 1
const AWAITING_HEAD = 2
const RECEIVING = 3
const ENDED = 4

const NONE: readonly Backend[] = []

/**
 * One client request and all that becomes of it.
 *
 *     1 accept -> 2 route -> 3 pick -> 4 lease -> 5 forward -> 6 respond -> 7 record
 *                              ^______ another attempt ______|
 *
 * One object for the whole way, no promise and no closure where a connection is at hand. Whatever happens, it ends
 * once, in {@link Exchange.#end}.
 */
export class Exchange implements ExchangeView, ResponseSink, FrontEvents, BodyWatcher, Timed {
  readonly id: number
  readonly method: string
  readonly target: string
  readonly headers: Readonly<HeaderList>
  readonly startedAt: number
  deadline = Number.POSITIVE_INFINITY
  timeouts: Timeouts
  attempts = 0
  backend: Backend | null = null
  requestBytes = 0
  responseBytes = 0
  status = 0
  firstByteMs = -1
  backendMs = 0

  readonly front: Front
  readonly #parts: Parts
  readonly #overrides: ExchangeOverrides | null
  readonly #headers: RequestHeaders
  readonly #body: ReplayableBody | null
  #route: ResolvedRoute | null = null
  #group: Group | null = null
  #head: RequestHead | null = null
  #lacksHost = false
  #tried = NONE
  #connection: Connection | null = null
  #phase = WAITING
  #attemptAt = 0
  #totalAt = Number.POSITIVE_INFINITY
  #hasRepeatedStale = false
  #isClientBlocked = false
  #cancelRetry: (() => void) | null = null
  #abort: AbortController | null = null

  // 1 accept

  constructor(
    parts: Parts,
    front: Front,
    headers: RequestHeaders,
    body: FrontBody | null,
    overrides: ExchangeOverrides | null,
  ) {
    this.id = ++parts.state.exchanges
    this.front = front
    this.method = front.method
    this.target = front.target
    this.headers = front.headers
    this.startedAt = parts.clock.now()
    this.timeouts = parts.timeouts
    this.#parts = parts
    this.#overrides = overrides
    this.#headers = headers
    if (body?.isDecoded === true) removeField(this.#headers.list, 'content-encoding')
    if (body?.expectsContinue === true) this.#headers.list.push('Expect', '100-continue')
    this.#body = body === null ? null : new ReplayableBody(body, parts.limits.replayBytes, this)
    parts.state.active++
    parts.deadlines.add(this)
    if (parts.events.has('request')) parts.events.emit('request', this)
  }

  get host(): string {
    return this.#headers.host
  }

  get clientAddress(): string {
    return clientAddressOf(this.front.peer, this.#headers.forwardedFor, this.#parts.isTrusted)
  }

  get group(): string {
    return this.#group?.name ?? ''
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#phase === ENDED) this.#abort.abort()
    return this.#abort.signal
  }

  header(name: string): string | undefined {
    return fieldValue(this.headers, name)
  }

  /** Goes the whole way. @param override goes there in place of asking the routes. */
  begin(override: Destination | null): void {
    const parts = this.#parts
    if (parts.state.isClosed) return this.reject('ERR_PROXY_CLOSED', 'the proxy is closed')
    const { fault, bodyBytes } = this.#headers
    if (fault !== null) return this.reject('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
    const target = parseTarget(this.method, this.target)
    if (target === null) return this.reject('ERR_PROXY_BAD_REQUEST', 'the request target cannot be passed on')
    const { maxBodyBytes } = parts.limits
    if (maxBodyBytes > 0 && bodyBytes !== null && bodyBytes > maxBodyBytes) {
      return this.reject('ERR_PROXY_BODY_TOO_LARGE', `the request body is larger than ${maxBodyBytes} bytes`)
    }
    // 2 route
    const path = parts.router.looksAtPaths ? withoutDotSegments(target.path) : target.path
    const found = override ?? parts.find(this.method, target.host ?? this.host, path)
    if (found === null) return this.reject('ERR_PROXY_NO_ROUTE', 'no route matches the request')
    this.#route = found.route
    this.#group = found.group
    this.timeouts = merged(found.route.timeouts, this.#overrides?.timeouts)
    if (this.timeouts.total > 0) this.#totalAt = this.startedAt + this.timeouts.total
    this.deadline = this.#totalAt
    const { list, hasHost } = this.#headers
    this.#lacksHost = !hasHost && target.host === null
    if (target.host !== null) setHosts(list, this.host, target.host)
    this.#head = { method: this.method, path, headers: list }
    if (found.route.transforms.length > 0 && !this.#transformRequest(this.#head)) return
    this.#attempt()
  }

  #transformRequest(head: RequestHead): boolean {
    // What is put before a path must stay before it.
    const path = withoutDotSegments(head.path)
    const request: OutgoingRequest = { method: head.method, path, headers: headerView(head.headers) }
    for (const transform of this.#route?.transforms ?? []) {
      try {
        transform.request?.(request, this)
        if (!PATH.test(request.path)) throw new TypeError(`${JSON.stringify(request.path)} is not a path`)
      } catch (error) {
        this.#fail(this.#hookError(`transform ${transform.name}`, error))
        return false
      }
    }
    this.#lacksHost = !request.headers.has('host')
    this.#head = { method: head.method, path: request.path, headers: head.headers }
    return true
  }

  // 3 pick

  #attempt(): void {
    const group = this.#group as Group
    const { events, clock } = this.#parts
    this.#phase = WAITING
    const candidates = group.candidates(this.#tried)
    if (candidates === null) {
      this.#fail(new ProxyError('ERR_PROXY_NO_BACKEND', `no backend of group ${group.name} is available`))
      return
    }
    let backend: Backend
    try {
      backend = group.balancer.pick(candidates, this)
      if (backend?.cells === undefined) throw new TypeError('pick() returned no backend')
    } catch (error) {
      this.#fail(this.#hookError(`balancer ${group.balancer.name}`, error))
      return
    }
    this.backend = backend
    this.attempts++
    this.#attemptAt = clock.now()
    backend.cells.addPending(1)
    try {
      group.balancer.onStart?.(backend, this)
    } catch (error) {
      this.#parts.logger.error(
        { err: error },
        `balancer ${group.balancer.name}: onStart threw: ${describeError(error)}`,
      )
    }
    if (this.attempts === 1) this.#tellPolicy(group.retry)
    if (events.has('attempt')) events.emit('attempt', this, backend)
    // 4 lease
    let leased: Connection | Promise<Connection>
    try {
      leased = group.pool.acquire(backend, this)
    } catch (error) {
      return this.#onLeaseFailed(error)
    }
    if (isPromise(leased)) {
      leased.then(
        (connection) => this.#onLeased(connection),
        (error) => this.#onLeaseFailed(error),
      )
    } else this.#forward(leased)
  }

  #onLeased(connection: Connection): void {
    if (this.#phase === WAITING) this.#forward(connection)
    else connection.release(ABORTED)
  }

  #onLeaseFailed(error: unknown): void {
    if (this.#phase !== WAITING) return
    if (error instanceof ProxyError) this.onError(error)
    else this.onError(this.#hookError('pool', error))
  }

  // 5 forward

  #forward(connection: Connection): void {
    const body = this.#body
    this.#connection = connection
    this.#phase = body === null ? AWAITING_HEAD : SENDING
    this.#extend(body === null ? this.timeouts.headers : this.timeouts.idle)
    try {
      connection.send(this.#headFor(this.backend as Backend), body, this)
    } catch (error) {
      this.#fail(this.#hookError('pool', error))
    }
  }

  #headFor(backend: Backend): RequestHead {
    const head = this.#head as RequestHead
    const showsBackend = this.#lacksHost || this.#parts.hostHeader === 'backend'
    if (!showsBackend && backend.basePath === '') return head
    const headers = showsBackend ? withHost(head.headers, backend.host) : head.headers
    if (backend.basePath === '' || head.path === '*') return { method: head.method, path: head.path, headers }
    return { method: head.method, path: backend.basePath + withoutDotSegments(head.path), headers }
  }

  onBodyProgress(bytes: number): void {
    this.requestBytes += bytes
    const { maxBodyBytes } = this.#parts.limits
    if (maxBodyBytes > 0 && this.requestBytes > maxBodyBytes) {
      this.reject('ERR_PROXY_BODY_TOO_LARGE', `the request body is larger than ${maxBodyBytes} bytes`)
    } else if (this.#phase === SENDING || this.#phase === RECEIVING) this.#extend(this.timeouts.idle)
  }

  onBodyComplete(): void {
    if (this.#phase !== SENDING) return
    this.#phase = AWAITING_HEAD
    this.#extend(this.timeouts.headers)
  }

  // 6 respond

  onInformational(head: ResponseHead): void {
    if (this.#phase !== ENDED) this.front.inform(head)
  }

  onHead(head: ResponseHead): void {
    if (this.#phase === ENDED) return
    const { clock, events, via } = this.#parts
    this.firstByteMs = clock.now() - this.startedAt
    this.status = head.status
    this.#phase = RECEIVING
    this.#extend(this.timeouts.idle)
    this.#body?.forget()
    const isBodiless = this.method === 'HEAD' || head.status === 304
    const bodyBytes = head.status === 204 ? -1 : head.bodyBytes
    const headers = responseHeaders(head.headers, {
      bodyBytes,
      isBodiless,
      takesTrailers: head.bodyBytes < 0 && !isBodiless && this.front.minorVersion === 1,
      via,
    })
    let { status, reason } = head
    const transforms = this.#route?.transforms ?? []
    if (transforms.length > 0) {
      const response: OutgoingResponse = { status, headers: headerView(headers) }
      for (const transform of transforms) {
        try {
          transform.response?.(response, this)
          if (!isFinalStatus(response.status)) throw new TypeError(`${response.status} is not the status of an answer`)
        } catch (error) {
          return this.#fail(this.#hookError(`transform ${transform.name}`, error))
        }
      }
      if (response.status !== status) reason = ''
      status = response.status
      this.status = status
    }
    if (events.has('response')) events.emit('response', this, status)
    if (this.#parts.state.isClosing) headers.push('Connection', 'close')
    try {
      this.front.respond(status, reason, headers, head.bodyBytes)
    } catch (error) {
      this.#fail(this.#hookError('the response head', error))
    }
  }

  onData(chunk: Buffer): boolean {
    if (this.#phase === ENDED) return true
    this.responseBytes += chunk.length
    this.#extend(this.timeouts.idle)
    const goOn = this.front.write(chunk, this.#connection as Connection)
    this.#isClientBlocked = !goOn
    return goOn
  }

  onFlush(): void {
    if (this.#phase === RECEIVING) this.front.flush()
  }

  onEnd(trailers: HeaderList | null): void {
    if (this.#phase === ENDED) return
    this.#endAttempt('answered', null)
    // Whatever is late from now on, it is not the backend.
    this.#isClientBlocked = true
    this.front.end(trailers === null ? null : passableTrailers(trailers))
  }

  onClientDrain(): void {
    this.#isClientBlocked = false
    if (this.#phase !== RECEIVING) return
    this.#extend(this.timeouts.idle)
    this.#connection?.resume()
  }

  onClientDone(): void {
    if (this.#phase === RECEIVING && this.#attemptAt < 0) return this.#end('answered', null)
    // The application has answered by itself.
    this.#endAttempt('aborted', null)
    this.#end('local', null)
  }

  onClientGone(): void {
    if (this.#phase === ENDED) return
    const error = new ProxyError('ERR_PROXY_CLIENT_GONE', 'the client closed the connection before it had the answer', {
      backend: this.backend,
      attempt: this.attempts,
    })
    this.#endAttempt('aborted', error)
    this.#end('aborted', error)
  }

  // What goes wrong:

  onError(error: ProxyError): void {
    if (this.#phase === ENDED) return
    if (this.#phase === RECEIVING) {
      this.#endAttempt('cut', error)
      this.front.cut()
      this.#end('cut', error)
      return
    }
    const repeat = repeatability({
      method: this.method,
      error,
      isReplayable: this.#body === null || this.#body.isReplayable,
      wasReused: this.#connection?.isReused ?? false,
      hasRepeatedStale: this.#hasRepeatedStale,
    })
    const backend = this.backend as Backend
    this.#endAttempt('failed', error, repeat === 'stale')
    if (repeat === 'stale') {
      this.#hasRepeatedStale = true
      this.#retry(error, 0)
      return
    }
    this.#tried = [...this.#tried, backend]
    const delayMs = repeat === 'policy' && this.#mayHelp(error) ? this.#askPolicy(error) : -1
    if (delayMs < 0) this.#fail(error)
    else this.#retry(error, delayMs)
  }

  /** Where all are busy, to ask the same one again would only make its queue longer. */
  #mayHelp({ code }: ProxyError): boolean {
    const isBusy = code === 'ERR_PROXY_POOL_FULL' || code === 'ERR_PROXY_ACQUIRE_TIMEOUT'
    return !isBusy || (this.#group as Group).hasUntried(this.#tried)
  }

  #tellPolicy(retry: RetryPolicy | null): void {
    try {
      retry?.onExchange?.()
    } catch (thrown) {
      this.#parts.logger.error({ err: thrown }, `retry policy ${retry?.name} threw: ${describeError(thrown)}`)
    }
  }

  #askPolicy(error: ProxyError): number {
    const retry = this.#group?.retry ?? null
    if (retry === null) return -1
    try {
      return retry.next(this, error)
    } catch (thrown) {
      this.#parts.logger.error({ err: thrown }, `retry policy ${retry.name} threw: ${describeError(thrown)}`)
      return -1
    }
  }

  #retry(error: ProxyError, delayMs: number): void {
    const { events, clock, logger } = this.#parts
    logger.info({ exchange: this.id, code: error.code, delayMs }, `retrying: ${error.message}`)
    if (events.has('retry')) events.emit('retry', this, error, delayMs)
    this.#phase = WAITING
    this.deadline = this.#totalAt
    if (delayMs === 0) return this.#attempt()
    this.#cancelRetry = clock.schedule(delayMs, () => {
      this.#cancelRetry = null
      this.#attempt()
    })
  }

  onDeadline(): void {
    // The list has let go of it; an attempt that fails may be followed by another.
    this.#parts.deadlines.add(this)
    const { headers, idle, total } = this.timeouts
    const now = this.#parts.clock.now()
    if (now >= this.#totalAt)
      return this.#timeOut('ERR_PROXY_TOTAL_TIMEOUT', `the exchange took more than ${total} ms`, true)
    if (this.#phase === AWAITING_HEAD) {
      return this.#timeOut(
        'ERR_PROXY_HEADERS_TIMEOUT',
        `backend ${this.backend?.id} did not answer within ${headers} ms`,
        false,
      )
    }
    const isClients = this.#phase === SENDING ? this.#body?.isWaitingForClient : this.#isClientBlocked
    if (isClients) return this.#timeOut('ERR_PROXY_CLIENT_TIMEOUT', `the client moved no byte for ${idle} ms`, true)
    this.#timeOut('ERR_PROXY_IDLE_TIMEOUT', `backend ${this.backend?.id} moved no byte for ${idle} ms`, false)
  }

  /** @param isFinal no other attempt would help. */
  #timeOut(code: ProxyErrorCode, message: string, isFinal: boolean): void {
    const error = new ProxyError(code, message, { backend: this.backend, attempt: this.attempts })
    if (!isFinal || this.#phase === RECEIVING) this.onError(error)
    else {
      this.#endAttempt(error.side === 'client' ? 'aborted' : 'failed', error)
      this.#fail(error)
    }
  }

  /** Ends it without another attempt, for a reason that lies in the request. */
  reject(code: ProxyErrorCode, message: string): void {
    const error = new ProxyError(code, message)
    if (this.#phase === RECEIVING) return this.onError(error)
    this.#endAttempt('aborted', error)
    this.#fail(error)
  }

  /** Answers with an error; the attempt, if any, has ended. */
  #fail(error: ProxyError): void {
    if (this.#phase === ENDED) return
    this.#endAttempt('failed', error)
    const { onError } = this.#overrides ?? {}
    this.status = error.status
    this.#end(error.side === 'backend' || this.attempts > 0 ? 'failed' : 'local', error)
    if (onError !== undefined) {
      try {
        return onError(error)
      } catch (thrown) {
        this.#parts.logger.error({ err: thrown }, `onError threw: ${describeError(thrown)}`)
      }
    }
    const answer = localAnswer(error)
    if (this.#parts.state.isClosing) answer.headers.push('Connection', 'close')
    this.front.refuse(error.status, answer.headers, answer.text)
  }

  /** Gives the connection back and the backend its numbers; nothing where no attempt runs. */
  #endAttempt(kind: OutcomeKind, error: ProxyError | null, wasStale = false): void {
    const backend = this.backend
    const connection = this.#connection
    if (backend === null || this.#attemptAt < 0) return
    const group = this.#group as Group
    const totalMs = this.#parts.clock.now() - this.#attemptAt
    const firstByteMs =
      this.status === 0 || this.firstByteMs < 0 ? -1 : this.firstByteMs - (this.#attemptAt - this.startedAt)
    const outcome: Outcome = { kind, status: this.status, error, firstByteMs, totalMs }
    this.#attemptAt = -1
    this.backendMs += totalMs
    this.#connection = null
    if (kind !== 'answered') this.#body?.detach()
    connection?.release(outcome)
    backend.cells.addPending(-1)
    try {
      group.balancer.onEnd?.(backend, outcome)
      if (!wasStale && kind !== 'aborted') group.healthCheck?.observe(backend, outcome, group)
    } catch (thrown) {
      this.#parts.logger.error(
        { err: thrown },
        `balancer or health check of group ${group.name} threw: ${describeError(thrown)}`,
      )
    }
  }

  // 7 record

  /** The one end of every exchange. */
  #end(kind: OutcomeKind, error: ProxyError | null): void {
    if (this.#phase === ENDED) return
    this.#phase = ENDED
    const parts = this.#parts
    parts.deadlines.remove(this)
    this.#cancelRetry?.()
    this.#abort?.abort()
    this.#body?.abandon()
    recordExchange(parts, this, kind, error)
  }

  /** No byte for `ms` from now on is too long. */
  #extend(ms: number): void {
    this.deadline = ms > 0 ? Math.min(this.#totalAt, this.#parts.clock.now() + ms) : this.#totalAt
  }

  #hookError(whose: string, cause: unknown): ProxyError {
    return new ProxyError('ERR_PROXY_HOOK', `${whose} threw: ${describeError(cause)}`, { cause, backend: this.backend })
  }
}

const ABORTED: Outcome = { kind: 'aborted', status: 0, error: null, firstByteMs: -1, totalMs: 0 }

/** What may stand as a path in a request line: no spaces, no control characters, one byte each. */
const PATH = /^(?:\/[\x21-\x7e\x80-\xff]*|\*)$/

function isPromise(leased: Connection | Promise<Connection>): leased is Promise<Connection> {
  return typeof (leased as Promise<Connection>).then === 'function'
}

function withHost(headers: HeaderList, host: string): HeaderList {
  const copy = headers.slice()
  for (let i = 0; i < copy.length; i += 2) {
    if (copy[i]?.length !== 4 || copy[i]?.toLowerCase() !== 'host') continue
    copy[i + 1] = host
    return copy
  }
  copy.unshift('Host', host)
  return copy
}

/** The host of an absolute-form target replaces what `Host` said (RFC 9112 section 3.2.2), in what we tell of it too. */
function setHosts(headers: HeaderList, before: string, host: string): void {
  let hasHost = false
  for (let i = 0; i < headers.length; i += 2) {
    const lower = headers[i]?.toLowerCase()
    if (lower === 'host') hasHost = true
    else if (lower !== 'x-forwarded-host' || headers[i + 1] !== before) continue
    headers[i + 1] = host
  }
  if (!hasHost) headers.unshift('Host', host)
}

/** A whole answer's, of three digits. */
function isFinalStatus(status: number): boolean {
  return Number.isInteger(status) && status >= 200 && status <= 999
}

function merged(base: Timeouts, over: Partial<Timeouts> | undefined): Timeouts {
  return over === undefined ? base : { ...base, ...over }
}
