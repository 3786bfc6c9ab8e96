import { warnAbout } from './callbacks.ts'
import type { Clock } from './clock.ts'

/**
 * Something that may have to be ended when its time has come. Moving the deadline is a plain write to
 * {@link Timed.deadline}, which is what makes an idle timeout cost nothing per chunk.
 */
export interface Timed {
  /** On the clock's `now()` scale, ms. `Infinity`: none. */
  deadline: number
  /** Its position in the list, kept by {@link Deadlines}; -1 while it is in none. */
  index: number
  /** Called once when the deadline has passed; it has been taken off the list. What it throws is told, and ends nothing else. */
  onDeadline(): void
}

/** {@link Timed.index} of what is in no list. */
export const UNWATCHED = -1

/** How late a deadline may be noticed, in ms. */
const TICK_MS = 20

/** For so long at the most nobody is judged after the process has stood still, ms. */
const MAX_GRACE_MS = 1000

/**
 * One coarse timer for every deadline of a proxy. Each tick looks at all entries: 10,000 of them cost about
 * 50 us, which is less than 10,000 node timers cost to arm. No timer runs while there is nothing to watch.
 *
 * While the process stands still (a long computation, SIGSTOP, a virtual machine that is moved) nobody is heard, and nobody
 * must be blamed for it: a late tick judges only what was due when it should have come, after the sockets have been read
 * (see {@link Clock.schedule}), and nobody is judged again before ticks have passed for as long, so that what takes several
 * steps (a TLS handshake) has time for them, also where the process stands still again meanwhile.
 */
export class Deadlines {
  readonly #clock: Clock
  /** An entry knows its position, so that to take it off costs no search. A Set takes four times as long (50 ns). */
  readonly #entries: Timed[] = []
  readonly #onThrew: (error: unknown) => void
  #cancelTick: (() => void) | null = null
  /** When the next tick should come. */
  #tickAt = 0
  /** For so long nobody is judged, ms. Counted in ticks: one that the process stood still for counts no more than another. */
  #drainTimeoutMs = 0

  /** @param onThrew told what an {@link Timed.onDeadline} has thrown. */
  constructor(clock: Clock, onThrew: (error: unknown) => void = warnAbout('a deadline')) {
    this.#clock = clock
    this.#onThrew = onThrew
  }

  get size(): number {
    return this.#entries.length
  }

  add(entry: Timed): void {
    if (entry.index !== UNWATCHED) return
    entry.index = this.#entries.push(entry) - 1
    if (this.#cancelTick === null) this.#schedule()
  }

  remove(entry: Timed): void {
    const { index } = entry
    if (index === UNWATCHED) return
    entry.index = UNWATCHED
    const last = this.#entries.pop() as Timed
    if (last === entry) return
    this.#entries[index] = last
    last.index = index
  }

  /** Forgets everything and stops the timer. */
  close(): void {
    for (const entry of this.#entries.splice(0)) entry.index = UNWATCHED
    this.#cancelTick?.()
    this.#cancelTick = null
  }

  #schedule(): void {
    this.#tickAt = this.#clock.now() + TICK_MS
    this.#cancelTick = this.#clock.schedule(TICK_MS, this.#tick)
  }

  readonly #tick = (): void => {
    if (this.#drainTimeoutMs > 0) this.#drainTimeoutMs -= TICK_MS
    else this.#judge(this.#clock.now())
    this.#cancelTick = null
    if (this.#entries.length > 0) this.#schedule()
    else this.#drainTimeoutMs = 0
  }

  #judge(now: number): void {
    const lateMs = now - this.#tickAt
    const asOf = Math.min(now, this.#tickAt)
    const due: Timed[] = []
    for (const entry of this.#entries) if (entry.deadline <= asOf) due.push(entry)
    // One that adds itself again waits for the next tick, or it could be called for ever in this one.
    for (const entry of due) {
      if (entry.index === UNWATCHED) continue
      this.remove(entry)
      try {
        entry.onDeadline()
      } catch (error) {
        this.#onThrew(error)
      }
    }
    if (lateMs > TICK_MS) this.#drainTimeoutMs = Math.min(lateMs, MAX_GRACE_MS)
  }
}
