import type { Clock } from '../runtime/clock.ts'
import { seededRandom } from './random.ts'

/** A clock that stands still until it is told to go on. */
export interface ManualClock extends Clock {
  /**
   * Goes on by `ms` and runs what falls due on the way, in order of time and then of scheduling; while a task runs,
   * `now()` is the time it was due at. What a task throws comes out here, and the rest stays scheduled.
   * @throws RangeError for a time that goes back.
   */
  advance(ms: number): void
  /** Tasks that are still to come. */
  readonly scheduled: number
}

/** Where a {@link manualClock} begins. */
export interface ManualClockOptions {
  /** Seed of `random()`. Default 1. */
  readonly seed?: number
  /** What `epoch()` says at the start, ms. Default 2026-01-01T00:00:00Z. */
  readonly epochMs?: number
}

interface Task {
  readonly dueMs: number
  readonly run: () => void
}

/** Time and chance in a test's own hands. @param startMs what `now()` says at the start. Default 0. */
export function manualClock(startMs = 0, options: ManualClockOptions = {}): ManualClock {
  const { seed = 1, epochMs = Date.UTC(2026, 0, 1) } = options
  const tasks = new Set<Task>()
  let nowMs = startMs

  /** The first task that is due by `untilMs`. A set keeps the order of scheduling among equals. */
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
