/** Costs of what a hostile peer does for nothing, in points. An honest one hardly does any of it. */
export const COST = Object.freeze({
  /** RST_STREAM before our response has ended (CVE-2023-44487). */
  reset: 1,
  /** A frame that made us reset a stream (CVE-2025-8671). */
  fault: 2,
  /** PING, SETTINGS: both must be answered. */
  answered: 1,
  /** DATA without data that does not end its stream. */
  emptyData: 1,
  /** WINDOW_UPDATE of little use, PRIORITY, an ACK, a type that we do not know. */
  small: 0.25,
  /** A frame on a stream that is closed. */
  closed: 1,
})

/** A WINDOW_UPDATE below this is of little use, bytes. */
export const SMALL_UPDATE = 1024

/** Points of a bucket with a patience of 1. */
export const SAVED = 300
const PER_SECOND = 50

/** Counts the points of one peer: a bucket of 300 points that regains 50 each second, and one for each exchange that ends well. */
export class Demerits {
  readonly #now: () => number
  /** Multiplies what the bucket holds and regains. */
  readonly #patience: number
  #left: number
  #at: number

  constructor(now: () => number, patience = 1) {
    this.#now = now
    this.#patience = patience
    this.#left = SAVED * patience
    this.#at = now()
  }

  /** @returns whether the peer may go on. */
  add(points: number): boolean {
    this.#left -= points
    if (this.#left >= 0) return true
    const now = this.#now()
    this.credit(((now - this.#at) / 1000) * PER_SECOND * this.#patience)
    this.#at = now
    return this.#left >= 0
  }

  credit(points: number): void {
    this.#left = Math.min(SAVED * this.#patience, this.#left + points)
  }
}
