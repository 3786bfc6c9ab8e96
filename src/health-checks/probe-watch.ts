import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { isShortage } from '../model/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Complete } from '../runtime/complete.ts'
import { describeError } from '../runtime/describe-error.ts'
import { longerAttemptMs } from '../runtime/slow-addresses.ts'
import type { ProbeOptions } from './probe-options.ts'

/** A probe that runs. */
export interface RunningProbe {
  /** Ends it: its result is not wanted any more. */
  destroy(): void
}

/**
 * Sends one probe on a connection of its own.
 * @param attemptMs time limit for each address of the host name; 0: node's default.
 * @param end called with the result: `null` if the backend has passed, why it has not, or the error of its connection. Only the first
 *   call counts. Never called during the call that sends.
 */
export type SendProbe = (
  backend: Backend,
  attemptMs: number,
  end: (result: string | Error | null) => void,
) => RunningProbe

/** Largest random delay of a probe, as a share of the interval. */
const JITTER = 0.1
/**
 * A probe's time limit is counted in steps of this, ms. A step during which the process was stalled counts like any
 * other.
 */
const STEP_MS = 100

/** A health check that probes each backend. */
export function probing(name: string, settings: Complete<ProbeOptions>, clock: Clock, send: SendProbe): HealthCheck {
  return {
    name,
    observe() {},
    watch(backend, control) {
      const watch = new ProbeWatch(backend, control, settings, send, clock)
      watch.probe()
      return () => watch.stop()
    },
  }
}

/** Probes one backend at intervals, and marks it as unhealthy or healthy. */
class ProbeWatch {
  readonly #backend: Backend
  readonly #control: HealthControl
  readonly #settings: Complete<ProbeOptions>
  readonly #send: SendProbe
  readonly #clock: Clock
  /** Results in a row that contradict the backend's state. */
  #contradictions = 0
  #isStopped = false
  #current: RunningProbe | null = null
  /** Counts probes: results of earlier ones are ignored. */
  #number = 0
  #startedAt = 0
  /** Cancels the timer of the next probe, or of the current one. */
  #cancelTimer: () => void = () => {}

  constructor(
    backend: Backend,
    control: HealthControl,
    settings: Complete<ProbeOptions>,
    send: SendProbe,
    clock: Clock,
  ) {
    this.#backend = backend
    this.#control = control
    this.#settings = settings
    this.#send = send
    this.#clock = clock
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelTimer()
    this.#current?.destroy()
  }

  probe(): void {
    this.#startedAt = this.#clock.now()
    this.#start(this.#settings.timeoutMs, 0)
  }

  #start(leftMs: number, attemptMs: number): void {
    const number = ++this.#number
    this.#current = null
    this.#countDown(number, leftMs)
    try {
      this.#current = this.#send(this.#backend, attemptMs, (result) => {
        if (!this.#isStopped && number === this.#number) this.#onResult(result, attemptMs)
      })
    } catch (error) {
      // For example, certificates that cannot be read.
      this.#end(describeError(error))
    }
  }

  #onResult(result: string | Error | null, attemptMs: number): void {
    if (!(result instanceof Error)) this.#end(result)
    // The probe could not be sent for lack of descriptors or the like. That says nothing about the backend.
    else if (isShortage(result)) this.#finish()
    else if (attemptMs > 0 || !this.#retryLonger(result)) this.#end(describeError(result))
  }

  /** Connects once more if node gave an address too little time: {@link longerAttemptMs}. @returns whether it does. */
  #retryLonger(error: Error): boolean {
    const leftMs = this.#startedAt + this.#settings.timeoutMs - this.#clock.now()
    const attemptMs = longerAttemptMs(error, leftMs)
    if (attemptMs === 0 || leftMs <= 0) return false
    this.#cancelTimer()
    this.#start(leftMs, attemptMs)
    return true
  }

  #countDown(number: number, leftMs: number): void {
    const ms = Math.min(leftMs, STEP_MS)
    this.#cancelTimer = this.#clock.schedule(ms, () => {
      if (this.#isStopped || number !== this.#number) return
      if (leftMs > ms) this.#countDown(number, leftMs - ms)
      else this.#conclude(`no response within ${this.#settings.timeoutMs} ms`)
    })
  }

  #end(fault: string | null): void {
    const { timeoutMs } = this.#settings
    const wasStalled = fault !== null && this.#clock.now() - this.#startedAt > timeoutMs + STEP_MS
    if (!wasStalled) return this.#conclude(fault)
    // This process was stalled during the probe, so the failure may be ours. Probe once more.
    this.#cancelTimer()
    this.#current?.destroy()
    this.probe()
  }

  #conclude(fault: string | null): void {
    this.#drop()
    this.#judge(fault)
    this.#scheduleNext()
  }

  #finish(): void {
    this.#drop()
    this.#scheduleNext()
  }

  /** The probe is over: only its first end counts. */
  #drop(): void {
    this.#number++
    this.#cancelTimer()
    this.#current?.destroy()
    this.#current = null
  }

  #scheduleNext(): void {
    const delayMs = this.#settings.intervalMs * (1 + JITTER * this.#clock.random())
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
