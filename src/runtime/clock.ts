import { AsyncResource } from 'node:async_hooks'
import { assertSync, catchRejection } from './callbacks.ts'

/** The only source of time and chance. Tests use a manual one; see `heddle/testing`. */
export interface Clock {
  /** Monotonic time in milliseconds, from an origin that all threads of the process share. Never goes back. */
  now(): number
  /** Wall-clock time in milliseconds since the Unix epoch; for log lines only. */
  epoch(): number
  /** A number in [0, 1). */
  random(): number
  /**
   * Runs `task` once after `delayMs` (at most 24 days), and after the sockets have been read once more: data may have arrived
   * in time while the process was busy. The timer does not keep the process alive.
   * @returns a function that cancels it. A late or repeated call does nothing.
   */
  schedule(delayMs: number, task: () => void): () => void
}

/** Each thread's `performance.now()` counts from its own start, but threads exchange times and need one scale. */
const ORIGIN = Number(process.hrtime.bigint()) / 1e6 - performance.now()

/** The longest delay of node's timers, ms. */
export const LONGEST_MS = 2 ** 31 - 1

/** The machine's time and `Math.random`. */
export const systemClock: Clock = {
  now: () => ORIGIN + performance.now(),
  epoch: () => Date.now(),
  random: () => Math.random(),
  schedule(delayMs, task) {
    let immediate: NodeJS.Immediate | undefined
    // The event loop runs late timers before it reads the sockets, and immediates after that.
    const onTime = (): void => {
      immediate = setImmediate(task)
    }
    // Node runs a timer with a longer delay at once.
    const timer = setTimeout(onTime, Math.min(delayMs, LONGEST_MS))
    timer.unref()
    return () => {
      clearTimeout(timer)
      clearImmediate(immediate)
    }
  },
}

/**
 * Guards a user's clock: if it throws or returns an invalid value, the machine's clock takes over.
 * @param onError called with the first error only.
 */
export function guardedClock(clock: Clock, onError: (error: unknown) => void): Clock {
  let isReported = false
  let lastMs = 0
  /** Added to the machine's time, so that it continues from {@link lastMs}. */
  let offsetMs: number | null = null
  function report(error: unknown): void {
    if (isReported) return
    isReported = true
    onError(error)
  }
  function read(method: 'now' | 'epoch' | 'random', isValid: (value: number) => boolean): number | null {
    try {
      const value: unknown = clock[method]()
      if (typeof value === 'number' && isValid(value)) return value
      assertSync(value)
      throw new TypeError(`${method}() returned ${String(value)}`)
    } catch (error) {
      report(error)
      return null
    }
  }
  return {
    now() {
      const nowMs = offsetMs === null ? read('now', Number.isFinite) : null
      if (nowMs === null) {
        offsetMs ??= lastMs - systemClock.now()
        return systemClock.now() + offsetMs
      }
      lastMs = nowMs
      return nowMs
    },
    epoch: () => read('epoch', Number.isFinite) ?? systemClock.epoch(),
    random: () => read('random', (value) => value >= 0 && value < 1) ?? systemClock.random(),
    schedule(delayMs, task) {
      try {
        const cancel: unknown = clock.schedule(delayMs, task)
        if (typeof cancel === 'function') return () => void cancel()
        catchRejection(cancel, report)
        report(new TypeError('schedule() returned no function that cancels'))
        return nothing
      } catch (error) {
        report(error)
        return systemClock.schedule(delayMs, task)
      }
    },
  }
}

function nothing(): void {}

/** A clock whose tasks run in the current async context, not in that of the request that happens to schedule them. */
export function inThisContext(clock: Clock): Clock {
  const scope = new AsyncResource('heddle.clock', { requireManualDestroy: true })
  return {
    now: () => clock.now(),
    epoch: () => clock.epoch(),
    random: () => clock.random(),
    schedule: (delayMs, task) => scope.runInAsyncScope(clock.schedule, clock, delayMs, task),
  }
}
