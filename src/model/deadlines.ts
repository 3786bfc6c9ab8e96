import type { Clock } from './clock.ts'

/**
 * Something that may have to be ended when its time has come. Moving the deadline is a plain write to
 * {@link Timed.deadline}, which is what makes an idle timeout cost nothing per chunk.
 */
export interface Timed {
  /** On the clock's `now()` scale, ms. `Infinity`: none. */
  deadline: number
  /** Called once when the deadline has passed; it has been taken off the list. Must not throw. */
  onDeadline(): void
}

/** How late a deadline may be noticed, in ms. */
const TICK_MS = 20

/**
 * One coarse timer for every deadline of a proxy. Each tick looks at all entries: 10,000 of them cost about
 * 50 us, which is less than 10,000 node timers cost to arm. No timer runs while there is nothing to watch.
 */
export class Deadlines {
  readonly #clock: Clock
  readonly #entries = new Set<Timed>()
  #cancelTick: (() => void) | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#entries.size
  }

  add(entry: Timed): void {
    this.#entries.add(entry)
    this.#cancelTick ??= this.#clock.schedule(TICK_MS, this.#tick)
  }

  remove(entry: Timed): void {
    this.#entries.delete(entry)
  }

  /** Forgets everything and stops the timer. */
  close(): void {
    this.#entries.clear()
    this.#cancelTick?.()
    this.#cancelTick = null
  }

  readonly #tick = (): void => {
    const now = this.#clock.now()
    const due: Timed[] = []
    for (const entry of this.#entries) if (entry.deadline <= now) due.push(entry)
    // One that adds itself again waits for the next tick, or it could be called for ever in this one.
    for (const entry of due) if (this.#entries.delete(entry)) entry.onDeadline()
    this.#cancelTick = this.#entries.size === 0 ? null : this.#clock.schedule(TICK_MS, this.#tick)
  }
}
