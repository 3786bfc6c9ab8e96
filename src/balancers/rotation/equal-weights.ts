import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'
import { drawOnce } from '../sampling/draws.ts'
import type { Rotation } from './rotation.ts'

const FEW = 8

/**
 * One after the other, for equal weights. The first one is random, so that many processes that start together do not
 * all begin with the same backend. When the candidates change, the rotation continues after the last one picked.
 */
export function rotation(random: () => number): Rotation {
  let candidates: readonly Backend[] = []
  let upcoming = 0

  const take = (position: number, backend: Backend) => {
    upcoming = position + 1 === candidates.length ? 0 : position + 1
    return backend
  }

  return {
    begin(changed: Candidates) {
      const last = candidates.at(upcoming - 1)
      const position = last === undefined ? -1 : changed.indexOf(last)
      upcoming = position < 0 ? Math.floor(random() * changed.length) : (position + 1) % changed.length
      candidates = changed
    },
    next() {
      const position = upcoming
      return take(position, candidates[position] as Backend)
    },
    among(some) {
      let wanted: Set<Backend> | null = null
      for (let step = 0; step < candidates.length; step++) {
        const position = (upcoming + step) % candidates.length
        const backend = candidates[position]
        if (backend === undefined) continue
        // A retry excludes only a few backends, so the search usually ends at once. The set is for the rare long search.
        if (step >= FEW) wanted ??= new Set(some)
        if (wanted?.has(backend) ?? some.includes(backend)) return take(position, backend)
      }
      return drawOnce(some, random)
    },
  }
}
