import { AsyncResource } from 'node:async_hooks'
import { assertSync, catchRejection } from './callbacks.ts'

/** The only source of time and chance. Tests hand in a manual one; see `heddle/testing`. */
export interface Clock {
  /** Monotonic time in milliseconds, from an origin that all threads of the process share. Never goes back. */
  now(): number
  /** Wall-clock time in milliseconds since the Unix epoch; for log lines only. */
  epoch(): number
  /** A number in [0, 1). */
  random(): number
  /**
   * Runs `task` once after `delayMs` (24 days at the most), when the sockets have been read once since: what a task judges
   * may have come in time while the process did something else. The timer does not keep the process alive.
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
    let immediate: NodeJS.Immediate | undefined
    // The event loop runs timers that are late before it looks at sockets, and immediates after it.
    const onTime = (): void => {
      immediate = setImmediate(task)
    }
    // node's own timers run at once what is later.
    const timer = setTimeout(onTime, Math.min(delayMs, LONGEST_MS))
    timer.unref()
    return () => {
      clearTimeout(timer)
      clearImmediate(immediate)
    }
  },
}

/**
 * A clock of the user's, of which no mistake ends anything: where it throws, or gives what is no time, the machine's own
 * goes on from there. @param tell is told the first of its mistakes.
 */
export function guardedClock(clock: Clock, tell: (error: unknown) => void): Clock {
  let isTold = false
  let lastMs = 0
  /** What the machine's time lacks to {@link lastMs}. */
  let offsetMs: number | null = null
  function mistake(error: unknown): void {
    if (isTold) return
    isTold = true
    tell(error)
  }
  function ask(what: 'now' | 'epoch' | 'random', isFine: (value: number) => boolean): number | null {
    try {
      const value: unknown = clock[what]()
      if (typeof value === 'number' && isFine(value)) return value
      assertSync(value)
      throw new TypeError(`${what}() returned ${String(value)}`)
    } catch (error) {
      mistake(error)
      return null
    }
  }
  return {
    now() {
      const given = offsetMs === null ? ask('now', Number.isFinite) : null
      if (given === null) {
        offsetMs ??= lastMs - systemClock.now()
        return systemClock.now() + offsetMs
      }
      lastMs = given
      return given
    },
    epoch: () => ask('epoch', Number.isFinite) ?? systemClock.epoch(),
    random: () => ask('random', (value) => value >= 0 && value < 1) ?? systemClock.random(),
    schedule(delayMs, task) {
      try {
        const cancel: unknown = clock.schedule(delayMs, task)
        if (typeof cancel === 'function') return () => void cancel()
        catchRejection(cancel, mistake)
        mistake(new TypeError('schedule() returned no function that cancels'))
        return nothing
      } catch (error) {
        mistake(error)
        return systemClock.schedule(delayMs, task)
      }
    },
  }
}

function nothing(): void {}
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
