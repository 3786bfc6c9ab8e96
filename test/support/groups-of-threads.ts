import type { Affinity } from '../../src/contracts/affinity.ts'
import type { Balancer } from '../../src/contracts/balancer.ts'
import type { HealthCheck } from '../../src/contracts/health-check.ts'
import type { Pool } from '../../src/contracts/pool.ts'
import { Group } from '../../src/groups/group.ts'
import { Backend } from '../../src/model/backend.ts'
import type { Clock } from '../../src/runtime/clock.ts'
import { SharedStateMemory } from '../../src/runtime/state-memory.ts'
import { type ManualClock, manualClock, mockPool } from '../../src/testing/index.ts'

/** Always the first candidate. */
export const first: Balancer = { name: 'first', pick: ([one]) => one }

interface Setting {
  /** Ids of the backends. */
  readonly ids: readonly string[]
  readonly threads?: number
  readonly maxEjectedPercent?: number
  readonly slowStartMs?: number
  readonly balancer?: Balancer
  readonly affinity?: Affinity
  /** Of the pool of each thread. */
  readonly repick?: (thread: number, ...args: Parameters<NonNullable<Pool['repick']>>) => void
  readonly healthCheck?: HealthCheck
  readonly clock?: ManualClock
  /** Of the first thread, in place of {@link clock}. */
  readonly firstClock?: Clock
  /** What any thread tells, in order. */
  readonly told?: string[]
}

/** One group as each of some threads sees it: every thread has its own objects on the same shared numbers. */
export function groupsOfThreads(setting: Setting): Group[] {
  const { ids, threads = 1, maxEjectedPercent = 100, slowStartMs = 0, balancer = first, told = [] } = setting
  const clock = setting.clock ?? manualClock()
  const buffer = SharedStateMemory.allocate(threads, 0)
  return Array.from({ length: threads }, (_, thread) => {
    const memory = new SharedStateMemory(buffer, thread)
    return new Group({
      name: 'default',
      backends: ids.map((id) => new Backend({ url: `http://${id}`, id }, memory.backendState(id))),
      balancer,
      affinity: setting.affinity ?? null,
      pool: { ...mockPool({}), repick: (isOut, hasMore) => setting.repick?.(thread, isOut, hasMore) },
      healthCheck: setting.healthCheck ?? null,
      maxEjectedPercent,
      slowStartMs,
      retry: null,
      clock: thread === 0 ? (setting.firstClock ?? clock) : clock,
      state: memory.groupState('group'),
      isShared: threads > 1,
      onEject: ({ id }) => void told.push(`eject ${id}`),
      onUneject: ({ id }) => void told.push(`uneject ${id}`),
      onHealth: ({ id, isUnhealthy }) => void told.push(`${isUnhealthy ? 'unhealthy' : 'healthy'} ${id}`),
      onThrew: fail,
      onPoolThrew: fail,
      onBalancerThrew: fail,
    })
  })
}

/** The backend of this id. */
export function backendOf(group: Group, id: string): Backend {
  const found = group.backends.find((backend) => backend.id === id)
  if (found === undefined) throw new Error(`the group has no backend ${id}`)
  return found
}

/** Ids of the candidates for an exchange that has tried none. */
export function candidateIds(group: Group): string[] {
  return Array.from(group.candidates([]) ?? [], ({ id }) => id)
}

function fail(error: unknown): never {
  throw error
}
