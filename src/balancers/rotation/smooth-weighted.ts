import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'
import { drawOnce } from '../sampling/draws.ts'
import type { Rotation } from './rotation.ts'

/** Bounds the search for the first backend. With very unequal weights, the turn of the lightest may be further away. */
const MAX_SKIPPED = 1024

/** nginx's `current_weight` of a backend: the weight that it is owed. The sum over all backends is 0. */
interface Entry {
  readonly backend: Backend
  owed: number
}

/**
 * Smooth weighted round robin, as in nginx (`ngx_http_upstream_round_robin.c`): each pick adds its weight to every
 * candidate, takes the one with the largest sum, and subtracts the total weight from that one. Weights 5, 1, 1 give
 * a a b a c a a, not a a a a a b c. A pick takes linear time. The sums outlive changes of the candidates. The order is
 * fixed; its start is random, by weight.
 */
export function smoothWeighted(random: () => number): Rotation {
  const entries = new WeakMap<Backend, Entry>()
  let current: readonly Entry[] = []

  const entryOf = (backend: Backend) => {
    const known = entries.get(backend)
    if (known !== undefined) return known
    const entry = { backend, owed: 0 }
    entries.set(backend, entry)
    return entry
  }

  return {
    begin(candidates) {
      const areNew = !candidates.some((backend) => entries.has(backend))
      current = candidates.map(entryOf)
      if (areNew) advanceTo(drawOnce(candidates, random), current)
    },
    next: () => serve(current),
    // Before the first pick there is no order to keep.
    among: (some: Candidates) =>
      some.some((backend) => entries.has(backend)) ? serve(some.map(entryOf)) : drawOnce(some, random),
  }
}

/** Skips picks until `wanted` is the next one. */
function advanceTo(wanted: Backend, entries: readonly Entry[]): void {
  for (let skipped = 0; skipped < MAX_SKIPPED && leader(entries) !== wanted; skipped++) serve(entries)
}

/** The backend that {@link serve} picks next. */
function leader(entries: readonly Entry[]): Backend {
  let best = entries[0] as Entry
  for (const entry of entries) {
    if (entry.owed + entry.backend.weight > best.owed + best.backend.weight) best = entry
  }
  return best.backend
}

function serve(entries: readonly Entry[]): Backend {
  let total = 0
  let best = entries[0] as Entry
  for (const entry of entries) {
    const { weight } = entry.backend
    total += weight
    entry.owed += weight
    if (entry.owed > best.owed) best = entry
  }
  best.owed -= total
  return best.backend
}
