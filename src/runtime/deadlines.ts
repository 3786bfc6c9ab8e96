import { warnAbout } from './callbacks.ts'
import type { Clock } from './clock.ts'

/**
 * Something with a deadline. A plain write to {@link Timed.deadline} moves it, so an idle timeout costs nothing per chunk.
 */
export interface Timed {
  /** On the clock's `now()` scale, ms. `Infinity`: none. */
  deadline: number
  /** Position in the list, kept by {@link Deadlines}; -1 while it is in none. */
  index: number
  /** Called once after the deadline; the entry has been removed from the list. An error that it throws is reported. */
  onDeadline(): void
}

/** {@link Timed.index} of an entry that is in no list. */
export const UNWATCHED = -1

/** How late a deadline may be noticed, ms. */
const TICK_MS = 20

/** Longest grace period after the process was stalled, ms. */
const MAX_GRACE_MS = 1000

/**
 * One coarse timer for every deadline of a proxy. Each tick looks at all entries: 10,000 of them cost about
 * 50 us, which is less than 10,000 node timers cost to arm. No timer runs while there are no entries.
 *
 * If the process is stalled (a long computation, SIGSTOP, a moved virtual machine), it reads nothing and must not blame its
 * peers. A late tick therefore checks only the deadlines that had passed at its due time, after the sockets have been read
 * (see {@link Clock.schedule}). Then follows a grace period as long as the stall, counted in ticks, so that work in several
 * steps (a TLS handshake) can finish even if the process is stalled again.
 */
export class Deadlines {
  readonly #clock: Clock
  /** An entry knows its position, so its removal needs no search. A Set takes four times as long (50 ns). */
  readonly #entries: Timed[] = []
  readonly #onThrew: (error: unknown) => void
  #cancelTick: (() => void) | null = null
  /** When the next tick is due. */
  #tickAt = 0
  /** Remaining grace period, ms. Counted in ticks: a tick during which the process was stalled counts like any other. */
  #graceMs = 0

  /** @param onThrew called with an error that {@link Timed.onDeadline} threw. */
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

  /** Removes all entries and stops the timer. */
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
    if (this.#graceMs > 0) this.#graceMs -= TICK_MS
    else this.#check(this.#clock.now())
    this.#cancelTick = null
    if (this.#entries.length > 0) this.#schedule()
    else this.#graceMs = 0
  }

  #check(now: number): void {
    const lateMs = now - this.#tickAt
    const asOf = Math.min(now, this.#tickAt)
    const due: Timed[] = []
    for (const entry of this.#entries) if (entry.deadline <= asOf) due.push(entry)
    // An entry that adds itself again waits for the next tick. Otherwise this loop might never end.
    for (const entry of due) {
      if (entry.index === UNWATCHED) continue
      this.remove(entry)
      try {
        entry.onDeadline()
      } catch (error) {
        this.#onThrew(error)
      }
    }
    if (lateMs > TICK_MS) this.#graceMs = Math.min(lateMs, MAX_GRACE_MS)
  }
}
