import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'
import { drawOnce } from '../sampling/draws.ts'
import type { Rotation } from './rotation.ts'

/** To begin with a drawn backend, at most so many turns are left out: the lightest of very unequal weights may be further away. */
const MAX_LEFT_OUT = 1024

/** How much a backend is owed, in units of weight. All together they owe each other nothing: the sum is 0. */
interface Standing {
  readonly backend: Backend
  owed: number
}

/**
 * Smooth weighted round robin, as nginx does it (`ngx_http_upstream_round_robin.c`): each candidate is owed its weight
 * more, the one who is owed most is served and pays for all. Weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
 * Linear per turn. What a backend is owed outlives changes of the candidates. The order is always the same; where it begins is
 * chance, by weight.
 */
export function smoothWeighted(random: () => number): Rotation {
  const standings = new WeakMap<Backend, Standing>()
  let current: readonly Standing[] = []

  const standingOf = (backend: Backend) => {
    const known = standings.get(backend)
    if (known !== undefined) return known
    const standing = { backend, owed: 0 }
    standings.set(backend, standing)
    return standing
  }

  return {
    begin(candidates) {
      const areNew = !candidates.some((backend) => standings.has(backend))
      current = candidates.map(standingOf)
      if (areNew) advanceTo(drawOnce(candidates, random), current)
    },
    next: () => serve(current),
    // Where none is owed anything there is no turn to keep.
    among: (some: Candidates) =>
      some.some((backend) => standings.has(backend)) ? serve(some.map(standingOf)) : drawOnce(some, random),
  }
}

/** Leaves out turns until it is `wanted`'s. */
function advanceTo(wanted: Backend, standings: readonly Standing[]): void {
  for (let turn = 0; turn < MAX_LEFT_OUT && leader(standings) !== wanted; turn++) serve(standings)
}

/** Who is served next. */
function leader(standings: readonly Standing[]): Backend {
  let best = standings[0] as Standing
  for (const standing of standings) {
    if (standing.owed + standing.backend.weight > best.owed + best.backend.weight) best = standing
  }
  return best.backend
}

function serve(standings: readonly Standing[]): Backend {
  let total = 0
  let best = standings[0] as Standing
  for (const standing of standings) {
    const { weight } = standing.backend
    total += weight
    standing.owed += weight
    if (standing.owed > best.owed) best = standing
  }
  best.owed -= total
  return best.backend
}
