import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { isShortage } from '../model/errors.ts'
import { connect } from '../pools/dial.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { type Complete, complete } from '../runtime/complete.ts'
import { describeError } from '../runtime/describe-error.ts'
import { longerAttemptMs } from '../runtime/slow-addresses.ts'

/** How to probe a backend. */
export interface ProbeOptions {
  /** Path to request, appended to the path of the backend's URL. Default `/`. */
  path?: string | undefined
  /** `GET` or `HEAD`. Default `GET`. */
  method?: 'GET' | 'HEAD' | undefined
  /** `Host` of the request. Default: the backend's own. */
  host?: string | undefined
  /** Statuses that pass. Default: 200 to 399. */
  statuses?: readonly number[] | undefined
  /**
   * Time from the end of one probe to the next, ms; a random tenth more at most, so that probes do not synchronise.
   * Default 5000.
   */
  intervalMs?: number | undefined
  /** Time limit for the connection and the whole response, ms. Default 2000. */
  timeoutMs?: number | undefined
  /** Probes in a row that must pass before an unhealthy backend is healthy. Default 2. */
  rise?: number | undefined
  /**
   * Probes in a row that must fail before a healthy backend is unhealthy. The first probe alone can mark it unhealthy.
   * Default 3.
   */
  fall?: number | undefined
}

/** The defaults of {@link ProbeOptions}. An empty string or list stands for the default that is described there. */
export const PROBE_DEFAULTS: Readonly<Complete<ProbeOptions>> = Object.freeze({
  path: '/',
  method: 'GET',
  host: '',
  statuses: [],
  intervalMs: 5000,
  timeoutMs: 2000,
  rise: 2,
  fall: 3,
})

/** Largest random delay of a probe, as a share of the interval. */
const JITTER = 0.1
/**
 * A probe's time limit is counted in steps of this, ms. A step during which the process was stalled counts like any
 * other.
 */
const STEP_MS = 100

/**
 * Probes each backend at intervals and marks those that fail as unhealthy. A backend starts healthy. The first probe
 * alone can mark it unhealthy; after that it takes `fall` failures in a row. Each probe has its own connection, and the
 * probes of a backend never overlap.
 *
 * Source: HAProxy's health checks (`option httpchk`, `inter`, `rise`, `fall`; a failed first check marks a server down at once).
 */
export function httpProbe(options: ProbeOptions = {}, clock: Clock = systemClock): HealthCheck {
  const settings = complete(PROBE_DEFAULTS, options)
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
  readonly #settings: Complete<ProbeOptions>
  readonly #clock: Clock
  /** Results in a row that contradict the backend's state. */
  #contradictions = 0
  #isStopped = false
  #current: http.ClientRequest | null = null
  #startedAt = 0
  /** Cancels the timer of the next probe, or of the current one. */
  #cancelTimer: () => void = () => {}

  constructor(backend: Backend, control: HealthControl, settings: Complete<ProbeOptions>, clock: Clock) {
    this.#backend = backend
    this.#control = control
    this.#settings = settings
    this.#clock = clock
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelTimer()
    this.#current?.destroy()
  }

  probe(): void {
    this.#startedAt = this.#clock.now()
    this.#request(this.#settings.timeoutMs, 0)
  }

  /** @param attemptMs time limit for each address of the host name; 0: node's default. */
  #request(leftMs: number, attemptMs: number): void {
    let request: http.ClientRequest
    try {
      request = this.#send(attemptMs)
    } catch (error) {
      // For example, certificates that cannot be read.
      this.#end(null, describeError(error))
      return
    }
    this.#current = request
    this.#countDown(request, leftMs)
    request
      .on('error', (error) => {
        if (isShortage(error)) this.#skip(request)
        else if (attemptMs > 0 || !this.#retryLonger(request, error)) this.#end(request, describeError(error))
      })
      .on('close', () => this.#end(request, 'the connection was closed before the end of the response'))
      .on('upgrade', (_response, socket) => socket.destroy())
      .on('response', (response) => {
        response
          .on('error', (error) => this.#end(request, describeError(error)))
          .on('end', () => this.#end(request, this.#fault(response.statusCode ?? 0)))
          .resume()
      })
      .end()
  }

  /** Connects once more if node gave an address too little time: {@link longerAttemptMs}. @returns whether it does. */
  #retryLonger(request: http.ClientRequest, error: Error): boolean {
    if (this.#isStopped || request !== this.#current) return false
    const leftMs = this.#startedAt + this.#settings.timeoutMs - this.#clock.now()
    const attemptMs = longerAttemptMs(error, leftMs)
    if (attemptMs === 0 || leftMs <= 0) return false
    this.#cancelTimer()
    this.#current = null
    this.#request(leftMs, attemptMs)
    return true
  }

  #countDown(request: http.ClientRequest, leftMs: number): void {
    const ms = Math.min(leftMs, STEP_MS)
    this.#cancelTimer = this.#clock.schedule(ms, () => {
      if (leftMs > ms) this.#countDown(request, leftMs - ms)
      else this.#conclude(request, `no response within ${this.#settings.timeoutMs} ms`)
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
      // Always a new connection: the probe also checks that the backend accepts connections.
      agent: false,
      ...(attemptMs > 0 && { autoSelectFamilyAttemptTimeout: attemptMs }),
    }
    if (this.#backend.endpoint.proxyProtocol !== null) {
      // In place of an agent: the PROXY header comes before TLS. It says that the connection is nobody's.
      const createConnection = (): Socket => connect(this.#backend.endpoint, { protocols: ['http/1.1'] }, attemptMs)
      return http.request({ ...request, agent: undefined, createConnection })
    }
    if (!isSecure) return http.request(request)
    return https.request({ ...request, ...(tls as https.RequestOptions), servername })
  }

  /** Why this status does not pass, or `null` if it does. */
  #fault(status: number): string | null {
    const { statuses } = this.#settings
    const isFine = statuses.length === 0 ? status >= 200 && status < 400 : statuses.includes(status)
    return isFine ? null : `status ${status}`
  }

  #end(request: http.ClientRequest | null, fault: string | null): void {
    const { timeoutMs } = this.#settings
    const wasStalled = fault !== null && this.#clock.now() - this.#startedAt > timeoutMs + STEP_MS
    if (!wasStalled || this.#isStopped || request !== this.#current) return this.#conclude(request, fault)
    // This process was stalled during the probe, so the failure may be ours. Probe once more.
    this.#cancelTimer()
    request?.destroy()
    this.probe()
  }

  /** Acts once for each probe: only its first end counts. */
  #conclude(request: http.ClientRequest | null, fault: string | null): void {
    if (this.#isStopped || request !== this.#current) return
    this.#current = null
    this.#cancelTimer()
    request?.destroy()
    this.#judge(fault)
    this.#scheduleNext()
  }

  /**
   * The probe could not be sent because this process lacks descriptors or the like. That says nothing about the
   * backend.
   */
  #skip(request: http.ClientRequest): void {
    if (this.#isStopped || request !== this.#current) return
    this.#current = null
    this.#cancelTimer()
    this.#scheduleNext()
  }

  #scheduleNext(): void {
    const { intervalMs } = this.#settings
    const delayMs = intervalMs * (1 + JITTER * this.#clock.random())
    // setUnhealthy() may have stopped this watch.
    if (!this.#isStopped) this.#cancelTimer = this.#clock.schedule(delayMs, () => this.probe())
  }

  #judge(fault: string | null): void {
    const { rise, fall } = this.#settings
    const isUnhealthy = fault !== null
    const { state } = this.#backend
    // The first probe of any thread: a thread that takes over continues with the known state.
    const isFirst = !state.hasBeenProbed
    if (isFirst) state.setProbed()
    if (this.#backend.isUnhealthy === isUnhealthy) {
      this.#contradictions = 0
      return
    }
    this.#contradictions++
    const needed = isUnhealthy ? (isFirst ? 1 : fall) : rise
    if (this.#contradictions < needed) return
    this.#contradictions = 0
    this.#control.setUnhealthy(this.#backend, isUnhealthy, fault ?? `${rise} probes in a row have passed`)
  }
}
