import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'
import { haveEqualWeights, totalWeight } from './weights.ts'

/** Draws positions in one array of candidates at random, in proportion to the weights. */
export interface Draws {
  draw(): number
  /** A position that is not `first`. Only for more than one candidate. */
  drawOther(first: number): number
}

/** Prepares draws in constant time. The preparation takes linear time, so keep the result with the array. */
export function drawsFrom(candidates: Candidates, random: () => number): Draws {
  return haveEqualWeights(candidates) ? equalDraws(candidates.length, random) : aliasDraws(candidates, random)
}

/**
 * Draws one of `candidates` in proportion to the weights, without preparation: for the array of a retry. Takes linear
 * time. `except` is drawn only if it is the only candidate.
 */
export function drawOnce(candidates: Candidates, random: () => number, except?: Backend): Backend {
  let left = random() * (totalWeight(candidates) - (except?.weight ?? 0))
  // If rounding leaves a remainder, the last one is drawn.
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
    draw: () => Math.floor(random() * count),
    drawOther(first) {
      // Draws from one position fewer and steps over `first`: always distinct, without a loop.
      const draw = Math.floor(random() * (count - 1))
      return draw < first ? draw : draw + 1
    },
  }
}

/** Bounds the draws of a second position: a weight that is most of the total would be drawn again and again. */
const REDRAWS = 8

/**
 * The alias method (Walker 1977; Vose 1991): each position keeps a share of its own slot and gives the rest to one
 * other.
 */
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
  const draw = () => {
    const drawn = random() * count
    const position = Math.floor(drawn)
    return drawn - position < (share[position] ?? 1) ? position : (alias[position] ?? 0)
  }
  return {
    draw,
    drawOther(first) {
      for (let attempt = 0; attempt < REDRAWS; attempt++) {
        const position = draw()
        if (position !== first) return position
      }
      const step = 1 + Math.floor(random() * (count - 1))
      return (first + step) % count
    },
  }
}
