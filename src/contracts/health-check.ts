import type { Backend } from '../model/backend.ts'
import type { Outcome } from '../model/outcome.ts'

/** What a health check may do to the backends of its group. */
export interface HealthControl {
  /**
   * Takes `backend` out of the balance for `ms`. Does nothing if it is out already, if it is the last one available, or if more
   * than `maxEjectedPercent` of the backends that are healthy, not draining and of a weight over 0 would be ejected. Another time
   * than one over 0 and up to 2,147,483,647 ms is logged, and ejects nothing.
   * @returns whether it did.
   */
  eject(backend: Backend, ms: number, reason: string): boolean
  /**
   * Takes `backend` out of the balance until the same is said with `false`, whatever share of the group that leaves. One that
   * becomes healthy is not ejected any more, either.
   */
  setUnhealthy(backend: Backend, isUnhealthy: boolean, reason: string): void
}

/** Judges backends by what becomes of real requests, or by asking them. */
export interface HealthCheck {
  /** Stable label for logs. */
  readonly name: string
  /** An attempt has ended. Hot path: synchronous; what it throws is logged. Client aborts are not reported. */
  observe(backend: Backend, outcome: Outcome, control: HealthControl): void
  /**
   * Looks after `backend` by itself until the function that it returns is called. Of all threads that share the backend one has
   * this called. What it or the function throws, or rejects with, is logged; what it does later is its own.
   */
  watch?(backend: Backend, control: HealthControl): () => void
}
