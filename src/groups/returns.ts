import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'

/**
 * Waits for the ends of ejections. Every thread that knows of an ejection waits, since the thread that began it may die. The first
 * thread to wake ends it.
 */
export class Returns {
  readonly #clock: Clock
  readonly #onDue: (backend: Backend, hasEnded: boolean) => void
  /** Functions that cancel the wait. */
  readonly #waits = new Map<Backend, () => void>()

  /**
   * @param onDue called at the end of the wait. `hasEnded` says whether this thread has ended the ejection. If `false`, another
   * thread was first, the backend was ejected a second time meanwhile, or the timer fired a little early.
   */
  constructor(clock: Clock, onDue: (backend: Backend, hasEnded: boolean) => void) {
    this.#clock = clock
    this.#onDue = onDue
  }

  /** Waits for the end of the ejection of `backend`. No effect if it already waits, or after {@link close}. */
  await(backend: Backend): void {
    if (this.#waits.has(backend)) return
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

  /** Stops waiting for the backends that match. */
  forget(isOver: (backend: Backend) => boolean): void {
    for (const [backend, cancel] of this.#waits) {
      if (!isOver(backend)) continue
      this.#waits.delete(backend)
      cancel()
    }
  }
}
