import type { Backend } from '../model/backend.ts'
import type { Outcome } from '../model/outcome.ts'

/** What a health check may do to the backends of its group. */
export interface HealthControl {
  /** Takes `backend` out of the balance for `ms`. Does nothing where the group would lose more than its share (`maxEjectedPercent`). @returns whether it did. */
  eject(backend: Backend, ms: number, reason: string): boolean
}

/** Judges backends by what becomes of real requests. */
export interface HealthCheck {
  /** Stable label for logs. */
  readonly name: string
  /** An attempt has ended. Hot path: synchronous, must not throw. Client aborts are not reported. */
  observe(backend: Backend, outcome: Outcome, control: HealthControl): void
}
