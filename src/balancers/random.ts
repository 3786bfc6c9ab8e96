import type { Balancer } from '../contracts/balancer.ts'
import { drawOnce, drawsFrom } from './sampling/draws.ts'
import { perCandidates } from './sampling/per-candidates.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link random}. */
export interface RandomOptions {
  /** A number in [0, 1). Default `Math.random`. */
  random?: () => number
}

/** Any backend, in proportion to the weights. Blind to load: {@link powerOfTwo} costs hardly more and does better. */
export function random({ random = Math.random }: RandomOptions = {}): Balancer {
  const drawsFor = perCandidates((candidates) => drawsFrom(candidates, random))
  const pick: Balancer['pick'] = (candidates) => {
    const draws = drawsFor(candidates)
    if (draws === null) return drawOnce(candidates, random)
    return candidates[draws.one()] ?? candidates[0]
  }
  return { name: 'random', pick, pickUntried: redraw(pick) }
}
