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
  /** A number in [0, 1); says where to begin. Default `Math.random`. */
  random?: () => number
}

/** Above so many candidates nginx's way, which looks at all of them in each turn, takes too long. */
const SMOOTH_LIMIT = 256

/**
 * In turn, in proportion to the weights, and blind to load. Equal weights: one after the other. Unequal ones: nginx's
 * smooth order for up to 256 candidates, earliest deadline first above. Where it begins is chance, by weight: the first request of
 * every process would go to the same backend otherwise. The backends that a retry leaves out keep their
 * turn. Unlike nginx a failure does not lower a weight: taking failing backends out is the health check's part.
 */
export function roundRobin({ random = Math.random }: RoundRobinOptions = {}): Balancer {
  const equal = rotation(random)
  const smooth = smoothWeighted(random)
  const deadlines = earliestDeadlineFirst(random)
  let turns: Rotation = equal
  const turnsFor = perCandidates((candidates) => {
    turns = haveEqualWeights(candidates) ? equal : candidates.length <= SMOOTH_LIMIT ? smooth : deadlines
    turns.begin(candidates)
    return turns
  })
  const pick: Balancer['pick'] = (candidates) => turnsFor(candidates)?.next() ?? turns.among(candidates)
  return { name: 'round-robin', pick, pickUntried: redraw(pick) }
}
