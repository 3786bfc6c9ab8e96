import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import { isNotEmpty } from './candidates.ts'

/** The least share of its own that a backend gets in its slow start. */
const MIN_SHARE = 0.1

/**
 * Slow start: of what would go to a backend that has just come, a share that grows with its time stays with it, and the rest
 * goes on to the others. What counts is its age in relation to the oldest candidate's: if all have come together, none is
 * to be favoured.
 * Source: Envoy's slow start (slow_start.rst: aggression 1, min_weight_percent 10), which scales weights; by lot it holds for
 * balancers that know of no weights, too.
 */
export class SlowStart {
  readonly #lengthMs: number
  readonly #clock: Clock

  /** @param lengthMs 0: none. */
  constructor(lengthMs: number, clock: Clock) {
    this.#lengthMs = lengthMs
    this.#clock = clock
  }

  /** `backend` has come, or come back. */
  begin({ state }: Backend): void {
    if (this.#lengthMs > 0) state.setReturned(this.#clock.now())
  }

  /** Whether `backend` is so young that some of its share goes to others. */
  isYoung(backend: Backend): boolean {
    return this.#lengthMs > 0 && this.#shareOf(backend, this.#clock.now()) < 1
  }

  /** @returns those that have had their lot drawn in place of `young`, or `null` if it keeps what it got. */
  othersByLot(young: Backend, candidates: Candidates): Candidates | null {
    const now = this.#clock.now()
    const shares = candidates.map((backend) => this.#shareOf(backend, now))
    const most = shares.reduce((max, share) => Math.max(max, share), 0)
    const isDrawn = (position: number): boolean => {
      const share = shares[position] ?? 1
      return share >= most || this.#clock.random() < share / most
    }
    if (isDrawn(candidates.indexOf(young))) return null
    // Each draws once, whatever the order in which the balancer would look at them; the oldest are always among them.
    const others = candidates.filter((backend, position) => backend !== young && isDrawn(position))
    return isNotEmpty(others) ? others : null
  }

  /** How much of its share a backend may have by its age, from {@link MIN_SHARE} to 1. */
  #shareOf({ state }: Backend, now: number): number {
    const agoMs = state.returnedAgoMs(now)
    if (agoMs < this.#lengthMs) return Math.max(MIN_SHARE, agoMs / this.#lengthMs)
    // Times wrap after 24 days.
    if (agoMs !== Number.POSITIVE_INFINITY) state.clearReturned()
    return 1
  }
}
