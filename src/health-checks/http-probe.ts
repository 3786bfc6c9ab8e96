import http from 'node:http'
import https from 'node:https'
import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { isShortage } from '../model/errors.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { describeError } from '../runtime/describe-error.ts'
import { longerAttemptMs } from '../runtime/slow-addresses.ts'

/** How to ask a backend whether it works. */
export interface ProbeOptions {
  /** Path to ask for, behind the path of the backend's URL. Default `/`. */
  path?: string
  /** `GET` or `HEAD`. Default `GET`. */
  method?: 'GET' | 'HEAD'
  /** `Host` of the request. Default: the backend's own. */
  host?: string
  /** Statuses that say that it works. Default: 200 to 399. */
  statuses?: number[]
  /** From the end of one probe to the next, ms; up to a tenth more by chance, so that probes do not come in step. Default 5000. */
  intervalMs?: number
  /** For an answer to come whole, connection included, ms. Default 2000. */
  timeoutMs?: number
  /** Probes in a row that must pass before an unhealthy backend is healthy. Default 2. */
  rise?: number
  /** Probes in a row that must fail before a healthy backend is unhealthy; the first probe of all decides by itself. Default 3. */
  fall?: number
}

/** The defaults of {@link ProbeOptions}; the only place that has them. An empty string or list: what the docs there say. */
export const PROBE_DEFAULTS: Readonly<Required<ProbeOptions>> = Object.freeze({
  path: '/',
  method: 'GET',
  host: '',
  statuses: [],
  intervalMs: 5000,
  timeoutMs: 2000,
  rise: 2,
  fall: 3,
})

/** Share of the interval by which a probe may come later. */
const JITTER = 0.1
/** A probe's time is counted in pieces of this, ms: one in which the process stood still counts no more than another. */
const PIECE_MS = 100

/**
 * Asks each backend from time to time whether it works, and takes out of the balance those that do not. Backends count as
 * healthy until a probe says otherwise. A probe has a connection of its own and never overlaps with the next.
 *
 * Source: HAProxy's health checks (`option httpchk`, `inter`, `rise`, `fall`; a server goes down at once where its first check fails).
 */
export function httpProbe(options: ProbeOptions = {}, clock: Clock = systemClock): HealthCheck {
  const settings = { ...PROBE_DEFAULTS, ...options }
  return {
    name: 'http-probe',
    observe() {},
    watch(backend, control) {
      const watch = new Watch(backend, control, settings, clock)
      watch.probe()
      return () => watch.stop()
    },
  }
}

class Watch {
  readonly #backend: Backend
  readonly #control: HealthControl
  readonly #settings: Required<ProbeOptions>
  readonly #clock: Clock
  /** Results in a row that speak against the backend's state. */
  #against = 0
  #isStopped = false
  #request: http.ClientRequest | null = null
  #startedAt = 0
  /** Of the next probe, or of the one that runs. */
  #cancelTimer: () => void = () => {}

  constructor(backend: Backend, control: HealthControl, settings: Required<ProbeOptions>, clock: Clock) {
    this.#backend = backend
    this.#control = control
    this.#settings = settings
    this.#clock = clock
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelTimer()
    this.#request?.destroy()
  }

  probe(): void {
    this.#startedAt = this.#clock.now()
    this.#ask(this.#settings.timeoutMs, 0)
  }

  /** @param attemptMs for each address of a name; 0 in the first attempt to connect. */
  #ask(leftMs: number, attemptMs: number): void {
    let request: http.ClientRequest
    try {
      request = this.#send(attemptMs)
    } catch (error) {
      // Certificates that cannot be read, perhaps.
      this.#end(null, describeError(error))
      return
    }
    this.#request = request
    this.#countDown(request, leftMs)
    request
      .on('error', (error) => {
        if (isShortage(error)) this.#skip(request)
        else if (attemptMs > 0 || !this.#askLonger(request, error)) this.#end(request, describeError(error))
      })
      .on('close', () => this.#end(request, 'the connection was closed before the end of the answer'))
      .on('upgrade', (_response, socket) => socket.destroy())
      .on('response', (response) => {
        response
          .on('error', (error) => this.#end(request, describeError(error)))
          .on('end', () => this.#end(request, this.#fault(response.statusCode ?? 0)))
          .resume()
      })
      .end()
  }

  /** Asks once more where an address was cut short: {@link longerAttemptMs}. @returns whether there is anything to wait for. */
  #askLonger(request: http.ClientRequest, error: Error): boolean {
    if (this.#isStopped || request !== this.#request) return false
    const leftMs = this.#startedAt + this.#settings.timeoutMs - this.#clock.now()
    const attemptMs = longerAttemptMs(error, leftMs)
    if (attemptMs === 0 || leftMs <= 0) return false
    this.#cancelTimer()
    this.#request = null
    this.#ask(leftMs, attemptMs)
    return true
  }

  #countDown(request: http.ClientRequest, leftMs: number): void {
    const ms = Math.min(leftMs, PIECE_MS)
    this.#cancelTimer = this.#clock.schedule(ms, () => {
      if (leftMs > ms) this.#countDown(request, leftMs - ms)
      else this.#conclude(request, `no answer within ${this.#settings.timeoutMs} ms`)
    })
  }

  #send(attemptMs: number): http.ClientRequest {
    const { basePath, host, endpoint } = this.#backend
    const { hostname, port, socketPath, isSecure, servername, tls } = endpoint
    const { path, method } = this.#settings
    const request: http.RequestOptions = {
      ...(socketPath === null ? { host: hostname, port } : { socketPath }),
      path: `${basePath}${path}`,
      method,
      headers: { Host: this.#settings.host || host, 'User-Agent': 'heddle-probe' },
      // A connection of its own: whether it can be had is part of the question.
      agent: false,
      ...(attemptMs > 0 && { autoSelectFamilyAttemptTimeout: attemptMs }),
    }
    if (!isSecure) return http.request(request)
    return https.request({ ...request, ...(tls as https.RequestOptions), servername })
  }

  /** Why an answer with this status is none that we want, or `null`. */
  #fault(status: number): string | null {
    const { statuses } = this.#settings
    const isFine = statuses.length === 0 ? status >= 200 && status < 400 : statuses.includes(status)
    return isFine ? null : `status ${status}`
  }

  #end(request: http.ClientRequest | null, fault: string | null): void {
    const { timeoutMs } = this.#settings
    const isOurs = fault !== null && this.#clock.now() - this.#startedAt > timeoutMs + PIECE_MS
    if (!isOurs || this.#isStopped || request !== this.#request) return this.#conclude(request, fault)
    // We stood still while it ran: the backend may have given us up for that. It is asked again.
    this.#cancelTimer()
    request?.destroy()
    this.probe()
  }

  /** Once for each probe: the first end is what counts. */
  #conclude(request: http.ClientRequest | null, fault: string | null): void {
    if (this.#isStopped || request !== this.#request) return
    this.#request = null
    this.#cancelTimer()
    request?.destroy()
    this.#judge(fault)
    this.#scheduleNext()
  }

  /** For want of a descriptor or the like of our own the backend could not be asked: that says nothing of it. */
  #skip(request: http.ClientRequest): void {
    if (this.#isStopped || request !== this.#request) return
    this.#request = null
    this.#cancelTimer()
    this.#scheduleNext()
  }

  #scheduleNext(): void {
    const { intervalMs } = this.#settings
    const delayMs = intervalMs * (1 + JITTER * this.#clock.random())
    // What is told may have stopped us.
    if (!this.#isStopped) this.#cancelTimer = this.#clock.schedule(delayMs, () => this.probe())
  }

  #judge(fault: string | null): void {
    const { rise, fall } = this.#settings
    const isUnhealthy = fault !== null
    const { state } = this.#backend
    // Of all threads and of all times: one that takes over goes on with what is known.
    const isFirst = !state.hasBeenProbed
    if (isFirst) state.setProbed()
    if (this.#backend.isUnhealthy === isUnhealthy) {
      this.#against = 0
      return
    }
    this.#against++
    const needed = isUnhealthy ? (isFirst ? 1 : fall) : rise
    if (this.#against < needed) return
    this.#against = 0
    this.#control.setUnhealthy(this.#backend, isUnhealthy, fault ?? `${rise} probes in a row have passed`)
  }
}
