import type { Running, ThreadStats } from './contracts/executor.ts'
import type { BackendPoolStats, PoolStats } from './contracts/pool.ts'
import type { ProxyStats } from './proxy.ts'
import type { Group } from './request/group.ts'
import type { ProxyState } from './request/parts.ts'

/** The figures of this thread and those of the threads of `running`, added up. */
export function proxyStats(state: ProxyState, groups: Iterable<Group>, running: Iterable<Running>): ProxyStats {
  const all = Array.from(running)
  const threads = all.flatMap((one) => one.threads())
  const past = all.reduce((sum, one) => sum + one.pastExchanges, 0)
  return {
    exchanges: threads.reduce((sum, thread) => sum + thread.exchanges, state.exchanges + past),
    active: threads.reduce((sum, thread) => sum + thread.active, state.active),
    threads: threads.map(({ pools: _, ...thread }) => thread),
    groups: Array.from(groups, (group) => ({
      name: group.name,
      backends: group.backends.map(({ id, url, weight, pending, isAvailable, isEjected, isUnhealthy }) => {
        return { id, url: url.href, weight, pending, isAvailable, isEjected, isUnhealthy }
      }),
      pool: addPools([group.pool.stats(), ...threads.flatMap((thread) => poolsOf(thread, group.name))]),
    })),
  }
}

/** What a thread told of its pools, of one group. */
function poolsOf({ pools }: ThreadStats, group: string): PoolStats[] {
  const [told] = pools as readonly (readonly { readonly group: string; readonly pool: PoolStats }[])[]
  return (told ?? []).filter((one) => one.group === group).map((one) => one.pool)
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
