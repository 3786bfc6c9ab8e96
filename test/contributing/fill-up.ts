import type { Balancer } from '../../src/contracts/balancer.ts'

/** Options of {@link fillUp}. */
export interface FillUpOptions {
  /** Pending exchanges that a backend gets before the next one gets any. Default 8. */
  limit?: number
}

/**
 * Fills the first backend up to a limit before the second one gets anything, and so on: the last ones stay idle and can be
 * switched off. If all are full, the first one gets the rest.
 */
export function fillUp({ limit = 8 }: FillUpOptions = {}): Balancer {
  if (!(Number.isInteger(limit) && limit > 0)) {
    throw new TypeError(`fill-up: limit is ${limit}; give a whole number over 0, such as limit: 8`)
  }
  return {
    name: 'fill-up',
    pick(candidates) {
      for (const backend of candidates) if (backend.pending < limit) return backend
      return candidates[0]
    },
  }
}
