import type { Balancer } from '../contracts/balancer.ts'

/**
 * Always the first available backend, in the order of the configuration: the others are spares. Weights count for
 * nothing, except that 0 takes a backend out.
 */
export function firstAvailable(): Balancer {
  return {
    name: 'first-available',
    pick: (candidates) => candidates[0],
    pickUntried: (candidates, tried) => candidates.find((backend) => !tried.includes(backend)) ?? candidates[0],
  }
}
