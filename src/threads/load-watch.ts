import { Scaler } from './scaler.ts'
import type { ThreadSettings } from './settings.ts'
import { REPORT_MS, type ThreadSet } from './thread-set.ts'

/** Measures how busy the threads are, and says when one is to be added or retired. */
export class LoadWatch {
  readonly #threads: ThreadSet
  readonly #clock: ThreadSettings['clock']
  readonly #scaler: Scaler
  readonly #scale: (step: 1 | -1, reason: string) => void
  #cancel: () => void

  /** @param scale called with threads to add (1) or retire (-1), and why. */
  constructor(threads: ThreadSet, settings: ThreadSettings, scale: (step: 1 | -1, reason: string) => void) {
    this.#threads = threads
    this.#clock = settings.clock
    this.#scaler = new Scaler(settings, settings.scale)
    this.#scale = scale
    this.#cancel = this.#clock.schedule(REPORT_MS, this.#measure)
  }

  close(): void {
    this.#cancel()
  }

  readonly #measure = (): void => {
    const serving = this.#threads.serving()
    for (const thread of serving) thread.measure()
    const utilizations = serving.map((thread) => thread.utilization)
    const step = this.#scaler.decide(this.#clock.now(), utilizations)
    if (step !== 0) {
      const mean = utilizations.reduce((sum, one) => sum + one, 0) / utilizations.length
      this.#scale(step, `event loops are busy for ${Math.round(mean * 100)} % of the time`)
    }
    this.#cancel = this.#clock.schedule(REPORT_MS, this.#measure)
  }
}
