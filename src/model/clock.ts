import { AsyncResource } from 'node:async_hooks'

/** The only source of time and chance. Tests hand in a manual one; see `heddle/testing`. */
export interface Clock {
  /** Monotonic time in milliseconds, from an origin that all threads of the process share. Never goes back. */
  now(): number
  /** Wall-clock time in milliseconds since the Unix epoch; for log lines only. */
  epoch(): number
  /** A number in [0, 1). */
  random(): number
  /**
   * Runs `task` once after `delayMs` (24 days at the most). The timer does not keep the process alive.
   * @returns a function that cancels it; calling it late or twice does nothing.
   */
  schedule(delayMs: number, task: () => void): () => void
}

/** Each thread's `performance.now()` counts from its own start; what threads tell each other needs one scale. */
const ORIGIN = Number(process.hrtime.bigint()) / 1e6 - performance.now()

/** The longest time that node's timers know, ms. */
export const LONGEST_MS = 2 ** 31 - 1

/** The machine's own time and `Math.random`. */
export const systemClock: Clock = {
  now: () => ORIGIN + performance.now(),
  epoch: () => Date.now(),
  random: () => Math.random(),
  schedule(delayMs, task) {
    // node's own timers run at once what is later.
    const timer = setTimeout(task, Math.min(delayMs, LONGEST_MS))
    timer.unref()
    return () => clearTimeout(timer)
  },
}

/** `clock`, whose tasks run in the async context that this is called in, and not in that of the request that has happened to schedule them. */
export function inThisContext(clock: Clock): Clock {
  const scope = new AsyncResource('heddle.clock', { requireManualDestroy: true })
  return {
    now: () => clock.now(),
    epoch: () => clock.epoch(),
    random: () => clock.random(),
    schedule: (delayMs, task) => scope.runInAsyncScope(clock.schedule, clock, delayMs, task),
  }
}
