import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'

/** Waits for the ends of ejections. Every thread that knows of one does, since the thread that began it may die; the first ends it. */
export class Returns {
  readonly #clock: Clock
  readonly #onDue: (backend: Backend, hasEnded: boolean) => void
  /** Cancel the wait. */
  readonly #waits = new Map<Backend, () => void>()
  #isClosed = false

  /**
   * @param onDue the time has come, and the ejection has ended here; or not: another thread was first, or the backend was ejected
   * again meanwhile, or the timer came a little early.
   */
  constructor(clock: Clock, onDue: (backend: Backend, hasEnded: boolean) => void) {
    this.#clock = clock
    this.#onDue = onDue
  }

  /** `backend` is ejected. */
  await(backend: Backend): void {
    if (this.#isClosed || this.#waits.has(backend)) return
    const { state } = backend
    const leftMs = Math.max(0, state.ejectionLeftMs(this.#clock.now()))
    this.#waits.set(
      backend,
      this.#clock.schedule(leftMs, () => {
        this.#waits.delete(backend)
        this.#onDue(backend, state.endEjection(this.#clock.now()))
      }),
    )
  }

  /** Waits no longer for those. */
  forget(isOver: (backend: Backend) => boolean): void {
    for (const [backend, cancel] of this.#waits) {
      if (!isOver(backend)) continue
      this.#waits.delete(backend)
      cancel()
    }
  }

  /** From now on waits for none. */
  close(): void {
    this.#isClosed = true
    this.forget(() => true)
  }
}
