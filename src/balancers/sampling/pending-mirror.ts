import type { Backend } from '../../model/backend.ts'

/** What is pending at each of a set of backends, side by side in memory. */
export interface PendingMirror {
  /** By position in the set. Do not write. */
  readonly counts: Int32Array
  /** Sum of {@link counts}. */
  total(): number
  /** What is pending at `backend` has changed: call it from `onStart` and `onEnd`. */
  touch(backend: Backend): void
  /** Looks again at one position. @returns what is pending there. */
  look(position: number): number
  /** Looks again at the next few positions, in turn. Once per pick, so that what other threads do is noticed. */
  lookOn(): void
}

/** Positions that {@link PendingMirror.lookOn} looks at. */
const LOOKED_AT = 8

/**
 * A backend's own count lies three objects deep in memory: to read 64 of 10,000 at random takes about 10 us, a good part
 * of what a request may take. A mirror is exact as far as this thread goes, provided that `touch` is called; other
 * threads' work on shared state shows a little later.
 */
export function pendingMirror(backends: readonly Backend[]): PendingMirror {
  const counts = Int32Array.from(backends, ({ pending }) => pending)
  const positions = new Map<Backend, number>()
  for (const [position, backend] of backends.entries()) positions.set(backend, position)
  let total = counts.reduce((sum, count) => sum + count, 0)
  let next = 0

  const look = (position: number) => {
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
      if (position !== undefined) look(position)
    },
    look,
    lookOn() {
      for (let looked = 0; looked < LOOKED_AT; looked++) {
        if (next >= backends.length) next = 0
        look(next++)
      }
    },
  }
}
