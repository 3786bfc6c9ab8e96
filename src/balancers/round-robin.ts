import type { Balancer } from '../contracts/balancer.ts'
import { earliestDeadlineFirst } from './rotation/earliest-deadline-first.ts'
import { rotation } from './rotation/equal-weights.ts'
import type { Rotation } from './rotation/rotation.ts'
import { smoothWeighted } from './rotation/smooth-weighted.ts'
import { perCandidates } from './sampling/per-candidates.ts'
import { redraw } from './sampling/redraw.ts'
import { haveEqualWeights } from './sampling/weights.ts'

/** Options of {@link roundRobin}. */
export interface RoundRobinOptions {
  /** A number in [0, 1), for the start of the rotation. Default `Math.random`. */
  random?: (() => number) | undefined
}

/** nginx's algorithm looks at every candidate in each pick: above this number it takes too long. */
const SMOOTH_LIMIT = 256

/**
 * In turn, in proportion to the weights; it ignores load. Equal weights: one after the other. Unequal weights: nginx's
 * smooth order for up to 256 candidates, earliest deadline first above. The start is random, by weight; otherwise the
 * first request of every process would go to the same backend. A backend that a retry skips keeps its turn. Unlike in
 * nginx, a failure does not lower a weight: health checks take out failing backends.
 */
export function roundRobin({ random = Math.random }: RoundRobinOptions = {}): Balancer {
  const equal = rotation(random)
  const smooth = smoothWeighted(random)
  const deadlines = earliestDeadlineFirst(random)
  let current: Rotation = equal
  const rotationFor = perCandidates((candidates) => {
    current = haveEqualWeights(candidates) ? equal : candidates.length <= SMOOTH_LIMIT ? smooth : deadlines
    current.begin(candidates)
    return current
  })
  const pick: Balancer['pick'] = (candidates) => rotationFor(candidates)?.next() ?? current.among(candidates)
  return { name: 'round-robin', pick, pickUntried: redraw(pick) }
}
