import type { Affinity } from '../contracts/affinity.ts'
import type { Balancer } from '../contracts/balancer.ts'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Pool } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { Backend, BackendInit } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import type { GroupState } from '../runtime/group-state.ts'

/** The policies of a group, as its options give them. */
export interface GroupPolicies {
  readonly name: string
  readonly balancer: Balancer
  readonly affinity: Affinity | null
  readonly healthCheck: HealthCheck | null
  /** Share of the backends that would be available otherwise that may be ejected at one time, percent; the last one never is. */
  readonly maxEjectedPercent: number
  /** For this long a backend that has come, or come back, gets less than its share, ms; 0: not at all. */
  readonly slowStartMs: number
  readonly retry: RetryPolicy | null
}

/** What the options say of a group. */
export interface GroupSettings extends GroupPolicies {
  /** The policies as they were given: two groups that were given the same need not be told apart. */
  readonly given: Readonly<Record<string, unknown>>
  readonly backends: readonly BackendInit[]
  /** A pool of the user's, or what one is made from. */
  readonly pool: unknown
}

/** What a {@link Group} is made of. */
export interface GroupDeps extends GroupPolicies {
  readonly backends: readonly Backend[]
  readonly pool: Pool
  readonly clock: Clock
  /** Numbers of the group itself. */
  readonly state: GroupState
  /** Other threads pick from the same backends. */
  readonly isShared: boolean
  /** A backend was ejected for `ms`, or has come back. */
  onEject(backend: Backend, ms: number, reason: string): void
  onUneject(backend: Backend): void
  /** A probe has found a backend unhealthy, or healthy again. */
  onHealth(backend: Backend, reason: string): void
  /** The health check threw. */
  onThrew(error: unknown): void
  onPoolThrew(error: unknown): void
  onBalancerThrew(error: unknown): void
}
