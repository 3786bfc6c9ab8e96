/** The first replacement comes at once; then the wait doubles from here, ms. */
const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 5000
/** A thread that has served this long does not count among the crashes of a loop, ms. */
const STABLE_MS = 10_000
/** After so long without a death what was before is forgotten, ms. */
const FORGET_MS = 60_000

/** Decides when a thread that died is replaced, and when to give up. */
export class CrashGuard {
  readonly #maxCrashes: number
  #crashes = 0
  #lastAt = Number.NEGATIVE_INFINITY

  /** @param maxCrashes so many in a row, none of them after ten seconds of service, are a loop. */
  constructor(maxCrashes: number) {
    this.#maxCrashes = maxCrashes
  }

  /** Other code runs now. */
  forget(): void {
    this.#crashes = 0
  }

  /** A thread has died, after `servedMs`. @returns ms to wait before it is replaced, or -1 to give up. */
  onDeath(now: number, servedMs: number): number {
    const isNew = servedMs >= STABLE_MS || now - this.#lastAt >= FORGET_MS
    this.#crashes = isNew ? 1 : this.#crashes + 1
    this.#lastAt = now
    if (this.#crashes >= this.#maxCrashes) return -1
    return this.#crashes === 1 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#crashes - 2))
  }
}
