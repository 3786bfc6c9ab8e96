import type { AttemptTimes, AttemptView } from '../contracts/observer.ts'
import type { Lease } from '../contracts/pool.ts'
import type { Backend } from '../model/backend.ts'
import { hookError, ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { Outcome, OutcomeKind } from '../model/outcome.ts'
import { catchRejection, isPromise } from '../runtime/callbacks.ts'
import { type Timed, UNWATCHED } from '../runtime/deadlines.ts'
import { AttemptResponse } from './attempt-response.ts'
import type { Attempts } from './attempts.ts'
import type { Exchange } from './exchange.ts'

/** Phases: the thing that an attempt waits for. It decides which limit is reported as reached. */
const LEASE = 0
const BODY = 1
const HEAD = 2
const RESPONSE = 3
const TUNNEL = 4
const ENDED = 5

/** One attempt at one backend: its lease, its time limits and its measurements. It ends exactly once, and is its own outcome. */
export class Attempt implements AttemptView, Timed, Outcome {
  readonly backend: Backend
  /** 1 for the first attempt. */
  readonly number: number
  kind: OutcomeKind = 'aborted'
  status = 0
  grpcStatus: number | null = null
  error: ProxyError | null = null
  firstByteMs = -1
  totalMs = 0
  deadline = Number.POSITIVE_INFINITY
  index = UNWATCHED
  #phase = LEASE
  readonly exchange: Exchange
  readonly #attempts: Attempts
  readonly #startedAt: number
  #lease: Lease | null = null
  #leasedAt = -1
  /** When sending the request began; after all of it is sent, when that was completed. */
  #sentAt = 0

  constructor(attempts: Attempts, backend: Backend, number: number, startedAt: number) {
    this.#attempts = attempts
    this.exchange = attempts.exchange
    this.backend = backend
    this.number = number
    this.#startedAt = startedAt
  }

  /** The request's body has not been sent completely. */
  get isSending(): boolean {
    return this.#phase === BODY
  }

  /** The response has begun, and has not ended. */
  get isResponding(): boolean {
    return this.#phase === RESPONSE
  }

  get isEnded(): boolean {
    return this.#phase === ENDED
  }

  get wasReused(): boolean {
    return this.#lease?.isReused ?? false
  }

  get times(): AttemptTimes {
    const { connectMs, tlsMs } = this.#lease?.setup ?? KEPT
    const leasedMs = this.#leasedAt < 0 ? -1 : this.#leasedAt - this.#startedAt
    return {
      queueMs: leasedMs < 0 ? -1 : Math.max(0, leasedMs - connectMs - tlsMs),
      connectMs: leasedMs < 0 ? -1 : connectMs,
      tlsMs: leasedMs < 0 ? -1 : tlsMs,
      firstByteMs: this.firstByteMs < 0 ? -1 : this.firstByteMs - leasedMs,
      bodyMs: this.firstByteMs < 0 ? -1 : this.totalMs - this.firstByteMs,
    }
  }

  /** The backend has had the whole request for at least half of `limitMs`, and has not sent a response head. */
  hasAwaitedHeadFor(limitMs: number, now: number): boolean {
    return this.#phase === HEAD && (now - this.#sentAt) * 2 >= limitMs
  }

  // 4 lease

  awaitLease(leased: PromiseLike<Lease>): void {
    try {
      leased.then(
        (lease) => this.onLeased(lease),
        (thrown) => this.onLeaseFailed(thrown),
      )
    } catch (thrown) {
      this.onLeaseFailed(thrown)
    }
  }

  onLeased(lease: Lease): void {
    if (!isLease(lease)) this.onLeaseFailed(new TypeError('acquire() gave no lease'))
    else if (this.#phase === LEASE) this.#send(lease)
    else this.#release(lease)
  }

  onLeaseFailed(thrown: unknown): void {
    if (this.#phase !== LEASE) return
    const error = thrown instanceof ProxyError ? thrown : hookError('pool', thrown, this.backend)
    if (error.code === 'ERR_PROXY_NO_BACKEND' && this.#attempts.pickAgain(this, error)) return
    this.onError(error)
  }

  // 5 send

  #send(lease: Lease): void {
    const { services, timeouts } = this.exchange
    const { body } = this.#attempts
    const now = services.clock.now()
    this.#lease = lease
    this.#leasedAt = now
    this.#sentAt = now
    this.#phase = body === null ? HEAD : BODY
    this.extend(body === null ? timeouts.headers : timeouts.idle, now)
    services.deadlines.add(this)
    try {
      const response = new AttemptResponse(this.#attempts, this)
      const returned: unknown = lease.send(this.#attempts.headFor(this.backend), body, response)
      if (isPromise(returned)) catchRejection(returned, (error) => this.onPoolThrew(error))
    } catch (error) {
      this.exchange.fail(hookError('pool', error, this.backend))
    }
  }

  onBodyProgress(now: number): void {
    if (this.#phase === BODY || this.#phase === RESPONSE) this.extend(this.exchange.timeouts.idle, now)
  }

  onBodyComplete(): void {
    if (this.#phase !== BODY) return
    const { services, timeouts } = this.exchange
    this.#phase = HEAD
    this.#sentAt = services.clock.now()
    this.extend(timeouts.headers, this.#sentAt)
  }

  /** Notes the status of the response, which begins now. */
  onStatus(status: number): void {
    const exchange = this.exchange
    const now = exchange.services.clock.now()
    exchange.firstByteMs = now - exchange.startedAt
    this.firstByteMs = now - this.#startedAt
    this.status = status
    this.#phase = RESPONSE
    this.extend(exchange.timeouts.idle, now)
  }

  /** Bytes of the response have arrived, or the client has taken some. */
  onResponseProgress(): void {
    if (this.#phase === RESPONSE) this.extend(this.exchange.timeouts.idle, this.exchange.services.clock.now())
  }

  onUpgraded(): void {
    this.#phase = TUNNEL
    this.deadline = Number.POSITIVE_INFINITY
  }

  // Failures:

  onError(error: ProxyError): void {
    if (this.#phase === ENDED) return
    if (error.attempt === 0) error.attempt = this.number
    if (this.#phase < RESPONSE) return this.#attempts.judge(this, error)
    this.end('truncated', error)
    this.#attempts.giveUp(error)
  }

  onPoolThrew(thrown: unknown): void {
    const error = thrown instanceof ProxyError ? thrown : hookError('pool', thrown, this.backend)
    this.exchange.enter(this.onError, this, error)
  }

  extend(ms: number, now: number): void {
    this.deadline = ms > 0 ? now + ms : Number.POSITIVE_INFINITY
  }

  onDeadline(): void {
    this.exchange.enter(this.#onLate, this)
  }

  #onLate(): void {
    // The list has removed it. An attempt that is late because of the client is added again and runs until its end.
    const { client, services, timeouts } = this.exchange
    services.deadlines.add(this)
    if (client.endIfTotalReached(services.clock.now())) return
    const { headers, idle } = timeouts
    const { id } = this.backend
    if (this.#phase === HEAD) {
      return this.#timeOut('ERR_PROXY_HEADERS_TIMEOUT', `backend ${id} did not respond within ${headers} ms`, true)
    }
    const isSending = this.#phase === BODY
    if (this.exchange.isWaitingForClient(isSending)) return client.onIdle()
    // A backend that stops reading the body is to blame. One that pauses within its response, such as a stream of events, is not.
    const isBlamed = isSending && !this.#attempts.isWaitingForBody
    this.#timeOut('ERR_PROXY_IDLE_TIMEOUT', `backend ${id} moved no byte for ${idle} ms`, isBlamed)
  }

  #timeOut(code: ProxyErrorCode, message: string, blamesBackend: boolean): void {
    this.onError(new ProxyError(code, message, { backend: this.backend, attempt: this.number, blamesBackend }))
  }

  /** Ends it once: releases the lease and the backend's pending count. @param isNoEvidence it says nothing about the backend's health. */
  end(kind: OutcomeKind, error: ProxyError | null, isNoEvidence = false): void {
    if (this.#phase === ENDED) return
    const { services } = this.exchange
    this.#phase = ENDED
    this.kind = kind
    this.error = error
    this.totalMs = services.clock.now() - this.#startedAt
    services.deadlines.remove(this)
    this.exchange.backendMs += this.totalMs
    this.#attempts.account(this, isNoEvidence)
    if (services.observers.has('onAttemptEnd')) services.observers.notify('onAttemptEnd', this, this)
    if (kind !== 'answered' || this.#attempts.body !== this.exchange.body) this.#attempts.stopBody()
    if (this.#lease !== null) this.#release(this.#lease)
  }

  #release(lease: Lease): void {
    const note = (thrown: unknown): void => this.#attempts.notePoolThrew(thrown)
    try {
      const returned: unknown = lease.release(this)
      if (isPromise(returned)) catchRejection(returned, note)
    } catch (thrown) {
      note(thrown)
    }
  }
}

const KEPT = { connectMs: 0, tlsMs: 0 }

/** Whether it is usable as a lease: a custom pool may return anything. */
function isLease(leased: Lease | null | undefined): leased is Lease {
  try {
    return typeof leased?.send === 'function'
  } catch {
    return false
  }
}
