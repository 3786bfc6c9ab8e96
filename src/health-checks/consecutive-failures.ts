import type { HealthCheck } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { judgedStatus } from '../model/grpc.ts'
import type { Outcome } from '../model/outcome.ts'
import type { Complete } from '../runtime/complete.ts'

/** When to eject a backend because of failed requests. */
export interface EjectionOptions {
  /**
   * Failures in a row that eject a backend: no connection, a reset, an invalid response, no response head in time
   * ({@link ProxyError.blamesBackend}), or one of `statuses`. Default 5.
   */
  consecutiveFailures?: number | undefined
  /**
   * Statuses of a backend's responses that count as failures. Default none: a response shows that the backend works, and its
   * status often depends on the URL. Danger: a client that can cause a listed status can have healthy backends ejected. To
   * take out a backend that responds only with errors, use probes. In gRPC, UNAVAILABLE (14) and RESOURCE_EXHAUSTED (8) count as
   * 503, INTERNAL (13) as 500.
   */
  statuses?: readonly number[] | undefined
  /** Length of the first ejection, ms; each further one in a row is twice as long. Default 30000. */
  baseMs?: number | undefined
  /** Longest ejection, ms. Default 300000. */
  maxMs?: number | undefined
  /**
   * Share of the backends that may be ejected at one time, in percent of those that are healthy, not draining, and have a
   * weight over 0. Default 50; 0: none. The last available backend is never ejected.
   */
  maxEjectedPercent?: number | undefined
}

/** The defaults of {@link EjectionOptions}. */
export const EJECTION_DEFAULTS: Readonly<Complete<EjectionOptions>> = Object.freeze({
  consecutiveFailures: 5,
  statuses: [],
  baseMs: 30_000,
  maxMs: 300_000,
  maxEjectedPercent: 50,
})

/**
 * Ejects a backend after a number of failures in a row. Each ejection is twice as long as the one before; every success
 * after the return undoes one doubling. The counts are in `backend.state`, so threads count together.
 *
 * {@link HealthControl} enforces `maxEjectedPercent`, since only the group knows all its backends.
 *
 * Source: Envoy's outlier detection (outlier_detection.proto: consecutive_5xx, base_ejection_time, max_ejection_time).
 * Envoy undoes a doubling for each interval without an ejection; here each success does.
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
      // An attempt that fails during the ejection began before it, so it must not count towards the next ejection.
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
  // Reads before it writes: there is mostly nothing to clear, and a write evicts the cache line of every other thread.
  if (state.failures !== 0) state.clearFailures()
  if (state.ejections > 0 && !state.isEjected) state.ejections -= 1
}

function isSuccess(outcome: Outcome, statuses: ReadonlySet<number>): boolean {
  const { kind } = outcome
  return (kind === 'answered' || kind === 'upgraded') && !statuses.has(judgedStatus(outcome))
}

function isFailure(outcome: Outcome, statuses: ReadonlySet<number>): boolean {
  const { kind, error } = outcome
  if (kind === 'failed' || kind === 'truncated') return error?.blamesBackend === true
  return (kind === 'answered' || kind === 'upgraded') && statuses.has(judgedStatus(outcome))
}

function reason({ error, status, grpcStatus }: Outcome): string {
  if (error === null && grpcStatus !== null && grpcStatus !== 0) return `gRPC status ${grpcStatus}`
  return error === null ? `status ${status}` : `${error.code} (${error.message})`
}
