import type { Balancer, Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import { leastOf } from './sampling/least-of.ts'
import { type PendingMirror, pendingMirror } from './sampling/pending-mirror.ts'
import { perCandidates } from './sampling/per-candidates.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link leastConnections}. */
export interface LeastConnectionsOptions {
  /** A number in [0, 1). Default `Math.random`. */
  random?: (() => number) | undefined
}

/** Up to this number of candidates a pick reads each backend's own count. Above, it reads a {@link PendingMirror}. */
const DIRECT_LIMIT = 16
/** Up to this number of candidates a pick looks at all of them. */
const SCAN_LIMIT = 256
/**
 * Above {@link SCAN_LIMIT} a pick looks at a random sample: the best of 64 is among the least busy 5 % in 96 of 100
 * picks.
 */
const SAMPLE_SIZE = 64
/** A pick chooses at most this often; each time that the mirror turns out to be outdated, it chooses once more. */
const MAX_CHOICES = 3

/**
 * The backend with the fewest pending requests for its weight: minimises (pending + 1) / weight, the load that it would
 * have after the pick. Ties are broken at random, in proportion to the weights. If the best is idle, all idle backends
 * tie: otherwise the heaviest would always win, and light traffic would never reach the others.
 *
 * Among more than 256 candidates each pick looks at a new random sample of 64, so its time does not grow with their
 * number, and no backend can starve. Above 16 candidates it needs `onStart` and `onEnd` to be called.
 */
export function leastConnections({ random = Math.random }: LeastConnectionsOptions = {}): Balancer {
  let usual: Mirrored | null = null
  const mirrorOf = perCandidates((candidates) => {
    usual = candidates.length <= DIRECT_LIMIT ? null : mirrored(candidates, random)
    return usual
  })
  const touch = (backend: Backend) => usual?.mirror.touch(backend)
  const pick: Balancer['pick'] = (candidates) => mirrorOf(candidates)?.pick() ?? pickDirectly(candidates, random)
  return {
    name: 'least-connections',
    isExact: true,
    pick,
    pickUntried: redraw(pick),
    onStart: touch,
    onEnd: touch,
  }
}

/** Reads the backends' own counts: for small sets, and for the array of a retry. */
function pickDirectly(candidates: Candidates, random: () => number): Backend {
  if (candidates.length === 1) return candidates[0]
  const isSampled = candidates.length > SCAN_LIMIT
  const size = isSampled ? SAMPLE_SIZE : candidates.length
  const positions = isSampled ? drawPositions(new Uint32Array(size), candidates.length, random) : null
  const counts = new Int32Array(size)
  const weights = new Float64Array(size)
  for (let index = 0; index < size; index++) {
    const backend = candidates[positions?.[index] ?? index] ?? candidates[0]
    counts[index] = backend.pending
    weights[index] = backend.weight
  }
  const least = leastOf(counts, weights, size, random)
  return candidates[positions?.[least] ?? least] ?? candidates[0]
}

interface Mirrored {
  readonly mirror: PendingMirror
  pick(): Backend
}

/** Reads a mirror of the counts: for an array of candidates that is used for many picks. */
function mirrored(candidates: Candidates, random: () => number): Mirrored {
  const mirror = pendingMirror(candidates)
  const weights = Float64Array.from(candidates, ({ weight }) => weight)
  const size = candidates.length <= SCAN_LIMIT ? candidates.length : SAMPLE_SIZE
  const isSampled = size < candidates.length
  const positions = Uint32Array.from({ length: size }, (_, position) => position)
  const sampledCounts = isSampled ? new Int32Array(size) : mirror.counts
  const sampledWeights = isSampled ? new Float64Array(size) : weights

  const sample = () => {
    drawPositions(positions, candidates.length, random)
    for (let drawn = 0; drawn < size; drawn++) {
      const position = positions[drawn] ?? 0
      sampledCounts[drawn] = mirror.counts[position] ?? 0
      sampledWeights[drawn] = weights[position] ?? 1
    }
  }

  return {
    mirror,
    pick() {
      mirror.refreshSome()
      if (isSampled) sample()
      let position = 0
      for (let choice = 0; choice < MAX_CHOICES; choice++) {
        const drawn = leastOf(sampledCounts, sampledWeights, size, random)
        position = positions[drawn] ?? 0
        const expected = sampledCounts[drawn] ?? 0
        const pending = mirror.refresh(position)
        if (pending <= expected) break
        // Another thread has sent it requests in the meantime.
        sampledCounts[drawn] = pending
      }
      return candidates[position] ?? candidates[0]
    },
  }
}

/**
 * Fills `positions` with random numbers below `count`. One call of `random` seeds the linear congruential generator of
 * Numerical Recipes, which is much faster than one call for each number.
 */
function drawPositions(positions: Uint32Array, count: number, random: () => number): Uint32Array {
  let state = Math.floor(random() * 2 ** 32)
  for (let drawn = 0; drawn < positions.length; drawn++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    positions[drawn] = (state * count) / 2 ** 32
  }
  return positions
}
