import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import { isNotEmpty } from './candidates.ts'

/** Smallest fraction of its share that a backend gets during slow start. */
const MIN_SHARE = 0.1

/**
 * Slow start: a new backend keeps only a fraction of the attempts that the balancer gives it, and the others get the rest. The
 * fraction grows with its age, relative to the oldest candidate's: if all backends are equally new, none gets less.
 * Source: Envoy's slow start (slow_start.rst: aggression 1, min_weight_percent 10), which scales weights. Random draws also work
 * for balancers without weights.
 */
export class SlowStart {
  readonly #lengthMs: number
  readonly #clock: Clock

  /** @param lengthMs length of the slow start, ms; 0: no slow start. */
  constructor(lengthMs: number, clock: Clock) {
    this.#lengthMs = lengthMs
    this.#clock = clock
  }

  /** Starts the slow start of a backend that was added or has returned. */
  begin({ state }: Backend): void {
    if (this.#lengthMs > 0) state.setReturned(this.#clock.now())
  }

  /** Whether `backend` is so young that some of its share goes to others. */
  isYoung(backend: Backend): boolean {
    return this.#lengthMs > 0 && this.#shareOf(backend, this.#clock.now()) < 1
  }

  /** Draws at random. @returns the candidates that may take the attempt instead of `young`, or `null` if it keeps the attempt. */
  othersByLot(young: Backend, candidates: Candidates): Candidates | null {
    const now = this.#clock.now()
    const shares = candidates.map((backend) => this.#shareOf(backend, now))
    const most = shares.reduce((max, share) => Math.max(max, share), 0)
    const isDrawn = (position: number): boolean => {
      const share = shares[position] ?? 1
      return share >= most || this.#clock.random() < share / most
    }
    if (isDrawn(candidates.indexOf(young))) return null
    // Each candidate draws once, whatever the balancer's order. The oldest are always included.
    const others = candidates.filter((backend, position) => backend !== young && isDrawn(position))
    return isNotEmpty(others) ? others : null
  }

  /** The fraction of its share that a backend gets at its age, from {@link MIN_SHARE} to 1. */
  #shareOf({ state }: Backend, now: number): number {
    const agoMs = state.returnedAgoMs(now)
    if (agoMs < this.#lengthMs) return Math.max(MIN_SHARE, agoMs / this.#lengthMs)
    // Clear it, because stored times wrap after 24 days.
    if (agoMs !== Number.POSITIVE_INFINITY) state.clearReturned()
    return 1
  }
}
