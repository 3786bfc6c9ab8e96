import type { Affinity } from '../contracts/affinity.ts'
import type { Balancer } from '../contracts/balancer.ts'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Pool } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { Backend, BackendInit } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import type { GroupState } from '../runtime/group-state.ts'

/** The policies of a group, from its options. */
export interface GroupPolicies {
  readonly name: string
  readonly balancer: Balancer
  readonly affinity: Affinity | null
  readonly healthCheck: HealthCheck | null
  /** Share of the otherwise available backends that may be ejected at one time, percent. The last one is never ejected. */
  readonly maxEjectedPercent: number
  /** How long a backend that was added, or has returned, gets less than its share, ms; 0: no slow start. */
  readonly slowStartMs: number
  readonly retry: RetryPolicy | null
}

/** The options of a group. */
export interface GroupSettings extends GroupPolicies {
  /** The policies as given, to detect that an update does not change them. */
  readonly given: Readonly<Record<string, unknown>>
  readonly backends: readonly BackendInit[]
  /** A custom pool, or the settings for a built-in one. */
  readonly pool: unknown
}

/** The parts and options of a {@link Group}. */
export interface GroupDeps extends GroupPolicies {
  readonly backends: readonly Backend[]
  readonly pool: Pool
  readonly clock: Clock
  /** State of the group itself, which threads may share. */
  readonly state: GroupState
  /** Other threads use the same state. */
  readonly isShared: boolean
  /** A backend was ejected for `ms`. */
  onEject(backend: Backend, ms: number, reason: string): void
  /** The ejection of a backend has ended. */
  onUneject(backend: Backend): void
  /** A probe has found that a backend became unhealthy or healthy. */
  onHealth(backend: Backend, reason: string): void
  /** The health check threw. */
  onThrew(error: unknown): void
  onPoolThrew(error: unknown): void
  onBalancerThrew(error: unknown): void
}
