import type { Backend } from '../model/backend.ts'
import type { Outcome } from '../model/outcome.ts'

/** Actions of a health check on the backends of its group. */
export interface HealthControl {
  /**
   * Ejects `backend`: it gets no requests for `ms`. Does nothing if it is already unavailable, if it is the last available one, or if
   * more than `maxEjectedPercent` of the backends that are healthy, not draining, not disabled and of a weight over 0 would be
   * ejected. `ms` must be over 0 and at most 2,147,483,647; other values are logged, and eject nothing.
   * @returns whether it was ejected.
   */
  eject(backend: Backend, ms: number, reason: string): boolean
  /**
   * Marks `backend` as unhealthy, so that it gets no requests until it is marked as healthy. No share of the group is exempt.
   * A backend that becomes healthy is also no longer ejected.
   */
  setUnhealthy(backend: Backend, isUnhealthy: boolean, reason: string): void
}

/** Judges backends by the outcome of real requests, or by probes. */
export interface HealthCheck {
  /** Stable label for logs. */
  readonly name: string
  /** An attempt has ended. Hot path: synchronous; errors that it throws are logged. Client aborts are not reported. */
  observe(backend: Backend, outcome: Outcome, control: HealthControl): void
  /**
   * Starts to watch `backend`, for instance by probes. The returned function stops it. Called in only one of the threads that share
   * the backend. Errors and rejections of both functions are logged. Errors in later callbacks are the health check's own concern.
   */
  watch?(backend: Backend, control: HealthControl): () => void
}
