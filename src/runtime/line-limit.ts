import type { Clock } from './clock.ts'

/** Maximum lines per second of one kind. */
const LINES_OF_A_KIND = 10

/** Maximum lines per second of all kinds. */
const LINES = 100

/** Limits the rate of log lines, so that neither clients nor an outage can fill a disk. */
export class LineLimit {
  readonly #clock: Pick<Clock, 'now'>
  readonly #linesOf = new Map<string, number>()
  #lines = 0
  #skipped = 0
  #since = Number.NEGATIVE_INFINITY

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  /** Asks for one line. @returns the number of lines refused since the last one, or `null` if this one is refused. */
  take(kind: string): number | null {
    const now = this.#clock.now()
    if (now - this.#since >= 1000) {
      this.#since = now
      this.#lines = 0
      this.#linesOf.clear()
    }
    const lines = this.#linesOf.get(kind) ?? 0
    if (lines >= LINES_OF_A_KIND || this.#lines >= LINES) {
      this.#skipped++
      return null
    }
    this.#linesOf.set(kind, lines + 1)
    this.#lines++
    const skipped = this.#skipped
    this.#skipped = 0
    return skipped
  }
}
