import type { Balancer } from '../../contracts/balancer.ts'
import { isNotEmpty } from './weights.ts'

/** So often one that was tried may be picked again: with few tried of many, once is rare. */
const MAX_PICKS = 8

/**
 * `pickUntried` of a balancer whose picks differ from one to the next: picks among all until it is one that was not tried, which
 * leaves the shares of the others as they are. Only if most of the weight was tried, among an array of the others.
 */
export function redraw(pick: Balancer['pick']): NonNullable<Balancer['pickUntried']> {
  return (candidates, tried, exchange) => {
    for (let picks = 0; picks < MAX_PICKS; picks++) {
      const backend = pick(candidates, exchange)
      if (!tried.includes(backend)) return backend
    }
    const untried = candidates.filter((backend) => !tried.includes(backend))
    return pick(isNotEmpty(untried) ? untried : candidates, exchange)
  }
}
