/** The first replacement is immediate; later waits double from here, ms. */
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 5000
/** A thread that has served this long is no part of a crash loop, ms. */
const STABLE_MS = 10_000
/** After this time without a crash the count starts at zero, ms. */
const FORGET_MS = 60_000

/** Decides when to replace a thread that died, and when to give up. */
export class CrashGuard {
  readonly #maxCrashes: number
  #crashes = 0
  #lastAt = Number.NEGATIVE_INFINITY

  /** @param maxCrashes number of crashes in a row, each within ten seconds of service, that make a crash loop. */
  constructor(maxCrashes: number) {
    this.#maxCrashes = maxCrashes
  }

  /** Starts the count at zero, because the threads run other code now. */
  reset(): void {
    this.#crashes = 0
  }

  /** Counts a thread that died after it served for `servedMs`. @returns ms to wait before it is replaced; -1 to give up. */
  onDeath(now: number, servedMs: number): number {
    const isNew = servedMs >= STABLE_MS || now - this.#lastAt >= FORGET_MS
    this.#crashes = isNew ? 1 : this.#crashes + 1
    this.#lastAt = now
    if (this.#crashes >= this.#maxCrashes) return -1
    return this.#crashes === 1 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#crashes - 2))
  }
}
