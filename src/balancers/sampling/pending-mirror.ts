import type { Backend } from '../../model/backend.ts'

/** The pending counts of a set of backends, side by side in memory. */
export interface PendingMirror {
  /** By position in the set. Do not write. */
  readonly counts: Int32Array
  /** Sum of {@link counts}. */
  total(): number
  /** Call it from `onStart` and `onEnd`: the count of `backend` has changed. */
  touch(backend: Backend): void
  /** Reads the count at one position. @returns the count. */
  refresh(position: number): number
  /** Reads the next few positions, in turn. Call it once per pick, to notice the requests of other threads. */
  refreshSome(): void
}

/** Positions that {@link PendingMirror.refreshSome} reads. */
const REFRESHED_AT_ONCE = 8

/**
 * A backend's own count lies three objects deep in memory: reading 64 of 10,000 at random takes about 10 us, much for one
 * pick. A mirror is exact for this thread's requests, provided that `touch` is called. Requests of other threads that
 * share the state show a little later.
 */
export function pendingMirror(backends: readonly Backend[]): PendingMirror {
  const counts = Int32Array.from(backends, ({ pending }) => pending)
  const positions = new Map<Backend, number>()
  for (const [position, backend] of backends.entries()) positions.set(backend, position)
  let total = counts.reduce((sum, count) => sum + count, 0)
  let next = 0

  const refresh = (position: number) => {
    const pending = backends[position]?.pending ?? 0
    total += pending - (counts[position] ?? 0)
    counts[position] = pending
    return pending
  }

  return {
    counts,
    total: () => total,
    touch(backend) {
      const position = positions.get(backend)
      if (position !== undefined) refresh(position)
    },
    refresh,
    refreshSome() {
      for (let refreshed = 0; refreshed < REFRESHED_AT_ONCE; refreshed++) {
        if (next >= backends.length) next = 0
        refresh(next++)
      }
    },
  }
}
