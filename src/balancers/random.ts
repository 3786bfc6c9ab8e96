import type { Balancer } from '../contracts/balancer.ts'
import { drawOnce, drawsFrom } from './sampling/draws.ts'
import { perCandidates } from './sampling/per-candidates.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link random}. */
export interface RandomOptions {
  /** A number in [0, 1). Default `Math.random`. */
  random?: (() => number) | undefined
}

/**
 * Picks at random, in proportion to the weights. It ignores load: {@link powerOfTwo} balances better at hardly more
 * cost.
 */
export function random({ random = Math.random }: RandomOptions = {}): Balancer {
  const drawsFor = perCandidates((candidates) => drawsFrom(candidates, random))
  const pick: Balancer['pick'] = (candidates) => {
    const draws = drawsFor(candidates)
    if (draws === null) return drawOnce(candidates, random)
    return candidates[draws.draw()] ?? candidates[0]
  }
  return { name: 'random', pick, pickUntried: redraw(pick) }
}
