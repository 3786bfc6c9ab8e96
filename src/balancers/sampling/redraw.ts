import type { Balancer } from '../../contracts/balancer.ts'
import { isNotEmpty } from './weights.ts'

/** Bounds the picks that may hit a tried backend. With few tried of many, the first pick is usually untried. */
const MAX_PICKS = 8

/**
 * `pickUntried` for a balancer whose picks vary: picks among all candidates until the pick is untried, so the shares of
 * the others stay as they are. If most of the weight was tried, it picks from an array of the untried ones instead.
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
