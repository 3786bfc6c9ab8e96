import type { ThreadStats } from '../contracts/executor.ts'
import type { BackendPoolStats, PoolStats } from '../contracts/pool.ts'
import type { Activity } from '../exchange/services.ts'
import type { Group } from '../groups/group.ts'
import type { ProxyStats } from './types.ts'

/** Sums of the statistics of threads that have ended. */
export class PastThreads {
  exchanges = 0
  /** Pool statistics by group name. */
  readonly #pools = new Map<string, PoolStats>()

  /** Adds the final statistics of a thread. Those of removed backends are dropped. */
  add({ exchanges, pools }: ThreadStats, groups: Iterable<Group>): void {
    this.exchanges += exchanges
    for (const { name, backends } of groups) {
      const sum = addPools([this.pool(name), ...poolsOf(pools, name)])
      const kept = sum.backends.filter((one) => backends.some(({ id }) => id === one.backend))
      this.#pools.set(name, { backends: kept.map((one) => ({ ...one, ...NOTHING_NOW })) })
    }
  }

  /** Connections that were opened and reused for a group. */
  pool(group: string): PoolStats {
    return this.#pools.get(group) ?? { backends: [] }
  }
}

/** Current values of a pool that no longer exists. */
const NOTHING_NOW = { connections: 0, idle: 0, connecting: 0, waiting: 0 }

/** Where {@link proxyStats} finds what the listeners do. */
export interface ServingStats {
  readonly past: PastThreads
  threads(): readonly ThreadStats[]
  tls(): ProxyStats['tls']
}

/** Adds up the statistics of this thread, of running threads, and of ended threads. */
export function proxyStats(
  name: string,
  activity: Activity,
  groups: Iterable<Group>,
  serving: ServingStats,
): ProxyStats {
  const threads = serving.threads()
  const { past } = serving
  return {
    name,
    exchanges: threads.reduce((sum, thread) => sum + thread.exchanges, activity.exchanges + past.exchanges),
    active: threads.reduce((sum, thread) => sum + thread.active, activity.active),
    threads: threads.map(({ pools: _, ...thread }) => thread),
    tls: serving.tls(),
    groups: Array.from(groups, (group) => ({
      name: group.name,
      backends: group.backends.map((backend) => {
        const { id, url, weight, pending } = backend
        return { id, url: url.href, weight, pending, status: backend.status() }
      }),
      pool: addPools([
        group.poolStats(),
        past.pool(group.name),
        ...threads.flatMap(({ pools }) => poolsOf(pools, group.name)),
      ]),
    })),
  }
}

/** The statistics that a thread has reported for one group's pool. Each thread has only one proxy, so the group's name is enough. */
function poolsOf(pools: ThreadStats['pools'], group: string): PoolStats[] {
  return pools.filter((one) => one.group === group).map((one) => one.pool)
}

function addPools(all: readonly PoolStats[]): PoolStats {
  const sums = new Map<string, BackendPoolStats>()
  for (const { backends } of all) {
    for (const one of backends) {
      const sum = sums.get(one.backend)
      sums.set(one.backend, sum === undefined ? one : addFigures(sum, one))
    }
  }
  return { backends: Array.from(sums.values()) }
}

function addFigures(one: BackendPoolStats, other: BackendPoolStats): BackendPoolStats {
  return {
    backend: one.backend,
    connections: one.connections + other.connections,
    idle: one.idle + other.idle,
    connecting: one.connecting + other.connecting,
    waiting: one.waiting + other.waiting,
    opened: one.opened + other.opened,
    reused: one.reused + other.reused,
  }
}
