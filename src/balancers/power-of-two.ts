import type { Balancer } from '../contracts/balancer.ts'
import { choiceOfTwo } from './sampling/choice-of-two.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link powerOfTwo}. */
export interface PowerOfTwoOptions {
  /** A number in [0, 1). Default `Math.random`. */
  random?: (() => number) | undefined
}

/**
 * Power of two choices (Mitzenmacher 2001): draws two backends at random and takes the one with fewer pending requests
 * for its weight. It balances almost as well as a look at all backends, at a cost that does not grow with their number.
 * If many proxies share the same backends, they do not all rush to the same one. The default.
 *
 * It compares (pending + 1) / weight, the load that each backend would have after the pick. If both are idle, the first
 * drawn wins: otherwise the heavier one would always win, and light traffic would never reach the other.
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
