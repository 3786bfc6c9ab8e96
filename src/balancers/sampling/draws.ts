import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'
import { haveEqualWeights, totalWeight } from './weights.ts'

/** Draws positions in one array of candidates by chance, in proportion to the weights. */
export interface Draws {
  one(): number
  /** A position that is not `first`. Only where there is more than one. */
  other(first: number): number
}

/** Prepares draws that take the same time whatever the number of candidates. Linear; keep the result with the array. */
export function drawsFrom(candidates: Candidates, random: () => number): Draws {
  return haveEqualWeights(candidates) ? equalDraws(candidates.length, random) : aliasDraws(candidates, random)
}

/**
 * One of `candidates`, in proportion to the weights, without preparation: for the array of a retry. Linear.
 * `except` is not drawn, unless it is the only one.
 */
export function drawOnce(candidates: Candidates, random: () => number, except?: Backend): Backend {
  let left = random() * (totalWeight(candidates) - (except?.weight ?? 0))
  // What rounding leaves over goes to the last one that may be drawn.
  let drawn = candidates[0]
  for (const backend of candidates) {
    if (backend === except) continue
    drawn = backend
    left -= backend.weight
    if (left < 0) break
  }
  return drawn
}

function equalDraws(count: number, random: () => number): Draws {
  return {
    one: () => Math.floor(random() * count),
    other(first) {
      // From one position fewer, stepping over `first`: always distinct, never loops.
      const draw = Math.floor(random() * (count - 1))
      return draw < first ? draw : draw + 1
    },
  }
}

/** Draws of a second position before chance is given up: where one weight is most of the total, it keeps being drawn. */
const REDRAWS = 8

/** The alias method (Walker 1977; Vose 1991): each position keeps a share of its own slot and lends the rest to one other. */
function aliasDraws(candidates: Candidates, random: () => number): Draws {
  const count = candidates.length
  const average = totalWeight(candidates) / count
  const share = Float64Array.from(candidates, ({ weight }) => weight / average)
  const alias = Uint32Array.from(candidates, (_, position) => position)
  const poor: number[] = []
  const rich: number[] = []
  for (const [position, own] of share.entries()) (own < 1 ? poor : rich).push(position)
  for (let giver = rich.pop(); giver !== undefined; giver = rich.pop()) {
    const taker = poor.pop()
    if (taker === undefined) break
    alias[taker] = giver
    const left = (share[giver] ?? 0) + (share[taker] ?? 0) - 1
    share[giver] = left
    if (left < 1) poor.push(giver)
    else rich.push(giver)
  }
  const one = () => {
    const draw = random() * count
    const position = Math.floor(draw)
    return draw - position < (share[position] ?? 1) ? position : (alias[position] ?? 0)
  }
  return {
    one,
    other(first) {
      for (let draw = 0; draw < REDRAWS; draw++) {
        const position = one()
        if (position !== first) return position
      }
      const step = 1 + Math.floor(random() * (count - 1))
      return (first + step) % count
    },
  }
}
