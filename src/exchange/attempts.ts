import type { ResolvedRoute } from '../config/options.ts'
import type { RequestHead } from '../contracts/pool.ts'
import type { OutgoingRequest, OutgoingResponse } from '../contracts/transform.ts'
import type { Group } from '../groups/group.ts'
import { clientAddressOf } from '../headers/client-address.ts'
import type { RequestHeaders } from '../headers/request.ts'
import { headerView } from '../headers/view.ts'
import { fieldValue } from '../http1/fields.ts'
import type { Backend } from '../model/backend.ts'
import { describeError, ProxyError } from '../model/errors.ts'
import type { HeaderList, Timeouts } from '../model/exchange-view.ts'
import type { Outcome, OutcomeKind } from '../model/outcome.ts'
import { below } from '../model/path.ts'
import { isMethod } from '../routing/target.ts'
import { assertSync, catchRejection, isPromise } from '../runtime/callbacks.ts'
import { type Timed, UNWATCHED } from '../runtime/deadlines.ts'
import type { Peer } from './front.ts'
import { type Recordable, recordExchange } from './record.ts'
import { retrySafety } from './retry-safety.ts'
import type { Destination, Parts } from './services.ts'

/** Why `signal` is aborted; as node makes it, but once: a stack trace of its own would cost each exchange 5 us. */
const OVER = new DOMException('This operation was aborted', 'AbortError')

/** A request as a front has read it. */
export interface ReceivedRequest {
  readonly method: string
  readonly target: string
  readonly minorVersion: number
}

const NONE: readonly Backend[] = []

/** So often an exchange that waits for a connection picks again, whatever a pool says. */
const MAX_REPICKS = 16

/**
 * What every exchange does alike, whoever carries its bytes: route, pick, try again, and the accounts of each attempt
 * and of the whole. A base class and not a part, since each request would have to make one.
 */
export abstract class BaseExchange implements Recordable, Timed {
  readonly id: number
  readonly method: string
  readonly target: string
  readonly headers: Readonly<HeaderList>
  readonly front: { readonly minorVersion: number }
  readonly startedAt: number
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  timeouts: Timeouts
  attempts = 0
  backend: Backend | null = null
  requestBytes = 0
  responseBytes = 0
  status = 0
  firstByteMs = -1
  backendMs = 0

  readonly #parts: Parts
  readonly #peer: Peer
  readonly #headers: RequestHeaders
  #route: ResolvedRoute | null = null
  #group: Group | null = null
  #head: RequestHead | null = null
  #lacksHost = false
  #tried = NONE
  #attemptAt = -1
  #totalAt = Number.POSITIVE_INFINITY
  #hasReconnected = false
  /** How often it picked again because its backend, or the choice, had changed while it waited. */
  #repicks = 0
  #isEnded = false
  #cancelRetry: (() => void) | null = null
  #abort: AbortController | null = null

  constructor(parts: Parts, request: ReceivedRequest, peer: Peer, headers: RequestHeaders) {
    this.id = parts.state.begin()
    this.front = request
    this.method = request.method
    this.target = request.target
    this.headers = headers.counted
    this.startedAt = parts.clock.now()
    this.timeouts = parts.timeouts
    this.#parts = parts
    this.#peer = peer
    this.#headers = headers
    parts.deadlines.add(this)
    if (parts.events.has('request')) parts.events.emit('request', this)
  }

  get host(): string {
    return this.#headers.host
  }

  get clientAddress(): string {
    return clientAddressOf(this.#peer, this.#headers.forwardedFor, this.#parts.isTrusted)
  }

  get group(): string {
    return this.#group?.name ?? ''
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#isEnded) this.#abort.abort(OVER)
    return this.#abort.signal
  }

  header(name: string): string | undefined {
    return fieldValue(this.headers, name)
  }

  abstract onDeadline(): void
  /** Tries {@link BaseExchange.pick} and what follows. */
  protected abstract attempt(): void

  protected get parts(): Parts {
    return this.#parts
  }

  protected get isEnded(): boolean {
    return this.#isEnded
  }

  /** An attempt is under way. */
  protected get isAttempting(): boolean {
    return this.#attemptAt >= 0
  }

  protected get pool(): Group['pool'] {
    return (this.#group as Group).pool
  }

  /** When the limit on the whole exchange is reached, on the clock's scale. */
  protected get totalAt(): number {
    return this.#totalAt
  }

  /** Step 2: finds the way and prepares the head. @returns why it cannot go on, or `null`. */
  protected route(override: Destination | null, timeouts: Partial<Timeouts> | undefined): ProxyError | null {
    const parts = this.#parts
    const { fault, misuse, list, hasHost, isHostSet } = this.#headers
    if (fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
    if (misuse !== null)
      return new ProxyError('ERR_PROXY_HOOK', `the application has changed req.headers, and ${misuse}`)
    // An application may have changed it.
    if (!isMethod(this.method)) return new ProxyError('ERR_PROXY_BAD_REQUEST', 'the method cannot be passed on')
    const target = parts.read(this.method, this.target)
    if (target === null) return new ProxyError('ERR_PROXY_BAD_REQUEST', 'the request target cannot be passed on')
    if (target.fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${target.fault}`)
    const targetHost = isHostSet ? null : target.host
    const found = override ?? parts.find(this.method, targetHost ?? this.host, target.matched)
    if (found === null) return new ProxyError('ERR_PROXY_NO_ROUTE', 'no route matches the request')
    this.#route = found.route
    this.#group = found.group
    this.timeouts = timeouts === undefined ? found.route.timeouts : { ...found.route.timeouts, ...timeouts }
    if (this.timeouts.total > 0) this.#totalAt = this.startedAt + this.timeouts.total
    this.deadline = this.#totalAt
    this.#lacksHost = !hasHost && targetHost === null
    if (targetHost !== null) setHosts(list, this.host, targetHost)
    this.#head = { method: this.method, path: target.path, headers: list }
    return found.route.transforms.length === 0 ? null : this.#transformRequest(this.#head)
  }

  #transformRequest(head: RequestHead): ProxyError | null {
    // What is put before a path must stay before it.
    const { path, fault } = this.#parts.confine(head.path)
    if (fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
    const request: OutgoingRequest = { method: head.method, path, headers: headerView(head.headers) }
    for (const transform of this.#route?.transforms ?? []) {
      try {
        assertSync(transform.request?.(request, this))
        if (!PATH.test(request.path)) throw new TypeError(`${JSON.stringify(request.path)} is not a path`)
      } catch (error) {
        return this.hookError(`transform ${transform.name}`, error)
      }
    }
    this.#lacksHost = !request.headers.has('host')
    this.#head = { method: head.method, path: request.path, headers: head.headers }
    return null
  }

  /** Lets the route's transforms at the head of the answer. @returns the status to send, or why there is none. */
  protected transformResponse(status: number, headers: HeaderList): number | ProxyError {
    const fault = this.#bind(headers)
    if (fault !== null) return fault
    const transforms = this.#route?.transforms ?? []
    if (transforms.length === 0) return status
    const response: OutgoingResponse = { status, headers: headerView(headers) }
    for (const transform of transforms) {
      try {
        assertSync(transform.response?.(response, this))
        if (response.status !== status && !isFinalStatus(response.status))
          throw new TypeError(`${response.status} is not the status of an answer`)
      } catch (error) {
        return this.hookError(`transform ${transform.name}`, error)
      }
    }
    return response.status
  }

  /** Has the group's affinity say in the response where the client belongs. @returns why it cannot, or `null`. */
  #bind(headers: HeaderList): ProxyError | null {
    const group = this.#group as Group
    if (group.affinity === null) return null
    try {
      group.bind(this.backend as Backend, headerView(headers), this)
      return null
    } catch (error) {
      return this.hookError('bind()', error)
    }
  }

  /** Step 3: begins an attempt at {@link BaseExchange.backend}. @returns why there is none, or `null`. */
  protected pick(): ProxyError | null {
    const group = this.#group as Group
    const { events, clock } = this.#parts
    if (group.hasBasePaths) {
      const fault = this.#confine()
      if (fault !== null) return fault
    }
    let backend: Backend | null
    try {
      backend = group.take(this.#tried, this)
    } catch (error) {
      return this.hookError(`balancer ${group.balancer.name}`, error)
    }
    if (backend === null) {
      return new ProxyError('ERR_PROXY_NO_BACKEND', `no backend of group ${group.name} is available`)
    }
    this.backend = backend
    // What comes before the first attempt takes no time worth a look at the clock (80 ns).
    this.#attemptAt = this.attempts++ === 0 && this.#repicks === 0 ? this.startedAt : clock.now()
    try {
      this.#catchRejection(group.balancer.onStart?.(backend, this))
    } catch (error) {
      this.#tellThrown(error)
    }
    if (this.attempts === 1 && this.#repicks === 0) this.#tellPolicy(group)
    if (events.has('attempt')) events.emit('attempt', this, backend)
    return null
  }

  /** What is asked for must stay below the path of a backend's URL, whatever transforms have made of it. */
  #confine(): ProxyError | null {
    const head = this.#head as RequestHead
    const { path, fault } = this.#parts.confine(head.path)
    if (fault !== null) return new ProxyError('ERR_PROXY_BAD_REQUEST', `the request has ${fault}`)
    if (path !== head.path) this.#head = { ...head, path }
    return null
  }

  #tellPolicy({ retry }: Group): void {
    try {
      this.#catchRejection(retry?.onExchange?.())
    } catch (thrown) {
      this.#tellThrown(thrown)
    }
  }

  /** The head for the backend that was picked. */
  protected outgoingHead(): RequestHead {
    const head = this.#head as RequestHead
    const backend = this.backend as Backend
    const showsBackend = this.#lacksHost || this.#parts.hostHeader === 'backend'
    if (!showsBackend && backend.basePath === '') return head
    const headers = showsBackend ? withHost(head.headers, backend.host) : head.headers
    return { method: head.method, path: below(backend.basePath, head.path, this.target), headers }
  }

  /**
   * The wait for a connection is of no use any more: picks again, as if it had not waited. Nobody is to blame, and it
   * is no retry. @returns `false` where that has been so too often.
   */
  protected pickAgain(error: ProxyError): boolean {
    if (this.#repicks === MAX_REPICKS) return false
    this.#repicks++
    this.endAttempt('aborted', error)
    this.attempts--
    this.attempt()
    return true
  }

  /** An attempt has failed; ends it. @returns whether another follows by itself. */
  protected tryAgain(error: ProxyError, isReplayable: boolean, wasReused: boolean): boolean {
    const hasReconnected = this.#hasReconnected
    const repeat = retrySafety({ method: this.method, error, isReplayable, wasReused, hasReconnected })
    // A backend may close a kept connection whenever it likes, and we were too late to see it: no evidence, repeated or not.
    this.endAttempt('failed', error, wasReused && error.code === 'ERR_PROXY_RESET')
    if (repeat === 'reconnect') this.#hasReconnected = true
    else this.#tried = [...this.#tried, this.backend as Backend]
    const delayMs =
      repeat === 'reconnect' ? 0 : repeat === 'policy' && this.#mayHelp(error) ? this.#askPolicy(error) : -1
    if (delayMs < 0) return false
    const { events, clock, logger } = this.#parts
    logger.info({ exchange: this.id, code: error.code, delayMs }, `retrying: ${error.message}`)
    if (events.has('retry')) events.emit('retry', this, error, delayMs)
    this.deadline = this.#totalAt
    if (delayMs === 0) this.attempt()
    else {
      this.#cancelRetry = clock.schedule(delayMs, () => {
        this.#cancelRetry = null
        this.attempt()
      })
    }
    return true
  }

  /** Where all are busy, to ask the same one again would only make its queue longer. */
  #mayHelp({ code }: ProxyError): boolean {
    const isBusy = code === 'ERR_PROXY_POOL_FULL' || code === 'ERR_PROXY_ACQUIRE_TIMEOUT'
    return !isBusy || (this.#group as Group).hasUntried(this.#tried)
  }

  #askPolicy(error: ProxyError): number {
    const retry = this.#group?.retry ?? null
    if (retry === null) return -1
    try {
      const delayMs: unknown = retry.next(this, error)
      assertSync(delayMs)
      if (typeof delayMs === 'number' && (delayMs < 0 || Number.isFinite(delayMs))) return delayMs
      throw new TypeError(`next() of retry policy ${retry.name} returned ${String(delayMs)}, which is not a time in ms`)
    } catch (thrown) {
      this.#tellThrown(thrown)
      return -1
    }
  }

  /** Gives the backend its numbers back. @returns `null` where no attempt runs. */
  protected endAttempt(kind: OutcomeKind, error: ProxyError | null, wasKept = false): Outcome | null {
    const { backend } = this
    if (backend === null || this.#attemptAt < 0) return null
    const group = this.#group as Group
    const totalMs = this.#parts.clock.now() - this.#attemptAt
    const firstByteMs =
      this.status === 0 || this.firstByteMs < 0 ? -1 : this.firstByteMs - (this.#attemptAt - this.startedAt)
    const outcome: Outcome = { kind, status: this.status, error, firstByteMs, totalMs }
    this.#attemptAt = -1
    this.backendMs += totalMs
    backend.state.addPending(-1)
    try {
      this.#catchRejection(group.balancer.onEnd?.(backend, outcome))
    } catch (thrown) {
      this.#tellThrown(thrown)
    }
    try {
      if (!wasKept && kind !== 'aborted') this.#catchRejection(group.healthCheck?.observe(backend, outcome, group))
    } catch (thrown) {
      this.#tellThrown(thrown)
    }
    return outcome
  }

  /** Step 7: the one end of every exchange. @returns `false` where it had ended before. */
  protected end(kind: OutcomeKind, error: ProxyError | null): boolean {
    if (this.#isEnded) return false
    this.#isEnded = true
    this.#parts.deadlines.remove(this)
    this.#cancelRetry?.()
    this.#abort?.abort(OVER)
    recordExchange(this.#parts, this, kind, error)
    return true
  }

  /** No byte for `ms` from now on is too long. */
  protected extend(ms: number, now?: number): void {
    this.deadline = ms > 0 ? Math.min(this.#totalAt, (now ?? this.#parts.clock.now()) + ms) : this.#totalAt
  }

  protected hookError(whose: string, cause: unknown): ProxyError {
    return new ProxyError('ERR_PROXY_HOOK', `${whose} threw: ${describeError(cause)}`, { cause, backend: this.backend })
  }

  #catchRejection(returned: unknown): void {
    if (isPromise(returned)) catchRejection(returned, (error) => this.#tellThrown(error))
  }

  protected tellPool(thrown: unknown): void {
    this.#parts.logger.error({ err: thrown }, `the pool of group ${this.group} threw: ${describeError(thrown)}`)
  }

  #tellThrown(error: unknown): void {
    this.#parts.logger.error({ err: error }, `a policy of group ${this.group} threw: ${describeError(error)}`)
  }
}

/** What may stand as a path in a request line: no spaces, no control characters, one byte each. */
const PATH = /^(?:\/[\x21-\x7e\x80-\xff]*|\*)$/

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
