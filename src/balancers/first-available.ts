import type { Balancer } from '../contracts/balancer.ts'

/**
 * Always the first available backend, in the order of the configuration; the others are spares. Weights are ignored,
 * except that a backend of weight 0 is never picked.
 */
export function firstAvailable(): Balancer {
  return {
    name: 'first-available',
    pick: (candidates) => candidates[0],
    pickUntried: (candidates, tried) => candidates.find((backend) => !tried.includes(backend)) ?? candidates[0],
  }
}
