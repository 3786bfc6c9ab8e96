import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'

/** Whether all backends have the same weight. */
export function haveEqualWeights(backends: readonly Backend[]): boolean {
  const weight = backends[0]?.weight
  return backends.every((backend) => backend.weight === weight)
}

/** Sum of the weights. */
export function totalWeight(backends: readonly Backend[]): number {
  let total = 0
  for (const backend of backends) total += backend.weight
  return total
}

/** Whether there is a backend to pick. */
export function isNotEmpty(backends: readonly Backend[]): backends is Candidates {
  return backends.length > 0
}
