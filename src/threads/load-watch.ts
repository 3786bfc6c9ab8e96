import { Scaler } from './scaler.ts'
import type { ThreadSettings } from './settings.ts'
import { REPORT_MS, type ThreadSet } from './thread-set.ts'

/** Measures the utilization of the threads, and decides when to add or retire one. */
export class LoadWatch {
  readonly #threads: ThreadSet
  readonly #clock: ThreadSettings['clock']
  readonly #scaler: Scaler
  readonly #scale: (step: 1 | -1, reason: string) => void
  #cancel: () => void

  /** @param scale called with the number of threads to add (1) or retire (-1), and the reason. */
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
      const mean = utilizations.reduce((sum, utilization) => sum + utilization, 0) / utilizations.length
      this.#scale(step, `event loops are busy for ${Math.round(mean * 100)} % of the time`)
    }
    this.#cancel = this.#clock.schedule(REPORT_MS, this.#measure)
  }
}
