import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Turns } from './turns.ts'

/** How much a backend is owed, in units of weight. All together they owe each other nothing: the sum is 0. */
interface Standing {
  readonly backend: Backend
  owed: number
}

/**
 * Smooth weighted round robin, as nginx does it (`ngx_http_upstream_round_robin.c`): each candidate is owed its weight
 * more, the one who is owed most is served and pays for all. Weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
 * Linear per turn. What a backend is owed outlives changes of the candidates.
 */
export function smoothTurns(): Turns {
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
      current = candidates.map(standingOf)
    },
    next: () => serve(current),
    among: (some: Candidates) => serve(some.map(standingOf)),
  }
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
