import type { HealthCheck } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import type { Outcome } from '../model/outcome.ts'

/** When to take a backend out of the balance on the evidence of real requests. */
export interface EjectionOptions {
  /**
   * Failures in a row: no connection, reset, garbage, no head in time ({@link ProxyError.blamesBackend}), or one of `statuses`.
   * Default 5.
   */
  consecutiveFailures?: number
  /**
   * Statuses of a backend's responses that count as failures. Default none: a response shows that the backend works, and its
   * status is often the URL's. Danger: whoever can ask for a URL that is answered with a listed status can have healthy backends
   * ejected. To take out a backend that only answers errors, probe it.
   */
  statuses?: number[]
  /** Length of the first ejection, ms; doubles with each one in a row. Default 30000. */
  baseMs?: number
  /** Longest ejection, ms. Default 300000. */
  maxMs?: number
  /**
   * Share of the backends that may be ejected at one time, percent, of those that are healthy, not draining and of a weight over
   * 0. Default 50; 0: none. The last available backend is never ejected, whatever the percentage.
   */
  maxEjectedPercent?: number
}

/** The defaults of {@link EjectionOptions}; the only place that has them. */
export const EJECTION_DEFAULTS: Readonly<Required<EjectionOptions>> = Object.freeze({
  consecutiveFailures: 5,
  statuses: [],
  baseMs: 30_000,
  maxMs: 300_000,
  maxEjectedPercent: 50,
})

/**
 * Ejects a backend after so many failures in a row. Each ejection is twice as long as the one before; every success
 * after the return takes one doubling back. Its counts lie in `backend.state`, so threads judge together.
 *
 * `maxEjectedPercent` is for the one who provides {@link HealthControl}, which alone knows the whole group.
 *
 * Source: Envoy's outlier detection (outlier_detection.proto: consecutive_5xx, base_ejection_time, max_ejection_time).
 * Envoy takes a doubling back for each interval that passes without ejection; here requests are the evidence.
 */
export function consecutiveFailures(options: EjectionOptions = {}): HealthCheck {
  const limit = options.consecutiveFailures ?? EJECTION_DEFAULTS.consecutiveFailures
  const statuses = new Set(options.statuses ?? EJECTION_DEFAULTS.statuses)
  const baseMs = options.baseMs ?? EJECTION_DEFAULTS.baseMs
  const maxMs = options.maxMs ?? EJECTION_DEFAULTS.maxMs

  return {
    name: 'consecutive-failures',
    observe(backend, outcome, control) {
      const { state } = backend
      if (isSuccess(outcome, statuses)) return succeed(backend)
      // What fails after the ejection began before it: the same evidence must not count for the next one.
      if (state.isEjected || !isFailure(outcome, statuses)) return
      const failures = state.addFailure()
      if (failures < limit) return
      const ms = Math.min(baseMs * 2 ** state.ejections, maxMs)
      if (!control.eject(backend, ms, `${failures} failures in a row, the last: ${reason(outcome)}`)) return
      state.ejections += 1
      state.clearFailures()
    },
  }
}

function succeed({ state }: Backend): void {
  // Reads before writes: a write would take the line from every other thread, and there is mostly nothing to clear.
  if (state.failures !== 0) state.clearFailures()
  if (state.ejections > 0 && !state.isEjected) state.ejections -= 1
}

function isSuccess({ kind, status }: Outcome, statuses: ReadonlySet<number>): boolean {
  return (kind === 'answered' || kind === 'upgraded') && !statuses.has(status)
}

function isFailure({ kind, status, error }: Outcome, statuses: ReadonlySet<number>): boolean {
  if (kind === 'failed' || kind === 'truncated') return error?.blamesBackend === true
  return (kind === 'answered' || kind === 'upgraded') && statuses.has(status)
}

function reason({ error, status }: Outcome): string {
  return error === null ? `status ${status}` : `${error.code} (${error.message})`
}
