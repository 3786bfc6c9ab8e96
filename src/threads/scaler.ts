import { type Complete, complete } from '../runtime/complete.ts'

/** When to add and retire threads, by the utilization of their event loops. */
export interface ScaleOptions {
  /** A thread is added when the utilization of every thread has stayed above this. Default 0.8. */
  growAbove?: number | undefined
  /** A thread is retired when the mean utilization has stayed below this. Default 0.3. */
  shrinkBelow?: number | undefined
  /** How long the utilization must stay there, ms. Default 5000. */
  forMs?: number | undefined
  /** Least time between two changes, ms. Default 10000. */
  coolDownMs?: number | undefined
}

/** The defaults of {@link ScaleOptions}. */
export const SCALE_DEFAULTS: Readonly<Complete<ScaleOptions>> = Object.freeze({
  growAbove: 0.8,
  shrinkBelow: 0.3,
  forMs: 5000,
  coolDownMs: 10_000,
})

/**
 * Adds or retires one thread at a time, between `min` and `max`. All threads must be busy before one is added: if only one is
 * busy, the kernel spreads unevenly, and another thread would help little. The mean decides about retiring.
 */
export class Scaler {
  readonly #bounds: { readonly min: number; readonly max: number }
  readonly #options: Complete<ScaleOptions>
  #busySince = Number.POSITIVE_INFINITY
  #idleSince = Number.POSITIVE_INFINITY
  #quietUntil = Number.NEGATIVE_INFINITY

  constructor(bounds: { readonly min: number; readonly max: number }, options: ScaleOptions) {
    this.#bounds = bounds
    this.#options = complete(SCALE_DEFAULTS, options)
  }

  /** @param utilizations of the serving threads. @returns the number of threads to add (1) or retire (-1). */
  decide(now: number, utilizations: readonly number[]): -1 | 0 | 1 {
    const { growAbove, shrinkBelow, forMs, coolDownMs } = this.#options
    const count = utilizations.length
    if (count === 0) return 0
    const mean = utilizations.reduce((sum, utilization) => sum + utilization, 0) / count
    const areBusy = utilizations.every((utilization) => utilization > growAbove)
    this.#busySince = areBusy ? Math.min(this.#busySince, now) : Infinity
    this.#idleSince = mean < shrinkBelow ? Math.min(this.#idleSince, now) : Infinity
    if (now < this.#quietUntil) return 0
    const step =
      count < this.#bounds.max && now - this.#busySince >= forMs
        ? 1
        : count > this.#bounds.min && now - this.#idleSince >= forMs
          ? -1
          : 0
    if (step !== 0) {
      this.#quietUntil = now + coolDownMs
      this.#busySince = Infinity
      this.#idleSince = Infinity
    }
    return step
  }
}
