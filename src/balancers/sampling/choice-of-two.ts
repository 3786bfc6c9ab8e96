import type { Balancer } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'
import { drawOnce, drawsFrom } from './draws.ts'
import { perCandidates } from './per-candidates.ts'

/**
 * Draws two distinct candidates in proportion to their weights and takes the second if `isBetter` says so. A tie goes to
 * the first drawn, which is random, so idle backends share the load.
 */
export function choiceOfTwo(
  random: () => number,
  isBetter: (second: Backend, first: Backend) => boolean,
): Balancer['pick'] {
  const drawsFor = perCandidates((candidates) => drawsFrom(candidates, random))
  return (candidates) => {
    if (candidates.length === 1) return candidates[0]
    const draws = drawsFor(candidates)
    if (draws === null) {
      const first = drawOnce(candidates, random)
      const second = drawOnce(candidates, random, first)
      return isBetter(second, first) ? second : first
    }
    const position = draws.draw()
    const first = candidates[position] ?? candidates[0]
    const second = candidates[draws.drawOther(position)] ?? first
    return isBetter(second, first) ? second : first
  }
}
