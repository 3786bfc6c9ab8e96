import type { Clock } from '../runtime/clock.ts'
import { seededRandom } from './random.ts'

/** A clock that advances only when a test says so. */
export interface ManualClock extends Clock {
  /**
   * Advances by `ms` and runs the tasks that fall due, in order of time and then of scheduling. While a task runs, `now()` is
   * the time that it was due at. An error that a task throws is thrown here, and the other tasks stay scheduled.
   * @throws RangeError for a negative time.
   */
  advance(ms: number): void
  /** Number of scheduled tasks. */
  readonly scheduled: number
}

/** Options of a {@link manualClock}. */
export interface ManualClockOptions {
  /** Seed of `random()`. Default 1. */
  readonly seed?: number | undefined
  /** Initial value of `epoch()`, ms. Default 2026-01-01T00:00:00Z. */
  readonly epochMs?: number | undefined
}

interface Task {
  readonly dueMs: number
  readonly run: () => void
}

/** Creates a clock that a test controls. @param startMs initial value of `now()`. Default 0. */
export function manualClock(startMs = 0, options: ManualClockOptions = {}): ManualClock {
  const { seed = 1, epochMs = Date.UTC(2026, 0, 1) } = options
  const tasks = new Set<Task>()
  let nowMs = startMs

  /** The first task that is due by `untilMs`. Tasks with the same time keep the order of scheduling. */
  function nextDue(untilMs: number): Task | null {
    let first: Task | null = null
    for (const task of tasks) {
      if (task.dueMs <= untilMs && (first === null || task.dueMs < first.dueMs)) first = task
    }
    return first
  }

  return {
    now: () => nowMs,
    epoch: () => epochMs + nowMs - startMs,
    random: seededRandom(seed),
    schedule(delayMs, run) {
      const task = { dueMs: nowMs + Math.max(0, delayMs), run }
      tasks.add(task)
      return () => tasks.delete(task)
    },
    advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`time does not go back: advance(${ms})`)
      const untilMs = nowMs + ms
      for (let task = nextDue(untilMs); task !== null; task = nextDue(untilMs)) {
        tasks.delete(task)
        nowMs = task.dueMs
        task.run()
      }
      nowMs = untilMs
    },
    get scheduled() {
      return tasks.size
    },
  }
}
