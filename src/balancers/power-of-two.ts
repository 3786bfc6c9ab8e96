import type { Balancer } from '../contracts/balancer.ts'
import { choiceOfTwo } from './sampling/choice-of-two.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link powerOfTwo}. */
export interface PowerOfTwoOptions {
  /** A number in [0, 1). Default `Math.random`. */
  random?: () => number
}

/**
 * Power of two choices (Mitzenmacher 2001): of two backends drawn at random, the one with less pending for its weight.
 * Almost as even as looking at all of them, at a cost that does not grow with their number; and where many proxies
 * balance over the same backends, they do not all run to the same one. The default.
 *
 * Compares (pending + 1) / weight, what each would have if it were chosen. While both are idle the order of the draw
 * decides: otherwise the heavier one would win each time, and light traffic would never reach the other.
 */
export function powerOfTwo({ random = Math.random }: PowerOfTwoOptions = {}): Balancer {
  const pick = choiceOfTwo(random, (second, first) => {
    const ofSecond = second.pending
    const ofFirst = first.pending
    if (ofSecond === 0 && ofFirst === 0) return false
    return (ofSecond + 1) * first.weight < (ofFirst + 1) * second.weight
  })
  return { name: 'power-of-two', pick, pickUntried: redraw(pick) }
}
