import type { Balancer, Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import { leastOf } from './sampling/least-of.ts'
import { type PendingMirror, pendingMirror } from './sampling/pending-mirror.ts'
import { perCandidates } from './sampling/per-candidates.ts'
import { redraw } from './sampling/redraw.ts'

/** Options of {@link leastConnections}. */
export interface LeastConnectionsOptions {
  /** A number in [0, 1). Default `Math.random`. */
  random?: () => number
}

/** Up to so many candidates, each pick asks every backend itself. Above, it looks at a mirror of what they would say. */
const ASK_LIMIT = 16
/** Up to so many candidates, each pick looks at all of them. */
const SCAN_LIMIT = 256
/** Above, at so many drawn at random: the best of 64 is among the least busy 5 % in 96 of 100 picks. */
const SAMPLE_SIZE = 64
/** How often the mirror may turn out to be behind the times before a choice is kept all the same. */
const MAX_CHOICES = 3

/**
 * The backend with the least pending for its weight: minimises (pending + 1) / weight, what it would have if it were
 * chosen. Ties are broken at random, in proportion to the weights. Where the best is idle all idle backends tie:
 * otherwise the heaviest would win each time, and light traffic would never reach the others.
 *
 * Among more than 256 candidates it looks at 64 of them, drawn afresh for each pick: time per pick stays the same
 * however many there are, and none can starve. Above 16 it needs `onStart` and `onEnd` to be called.
 */
export function leastConnections({ random = Math.random }: LeastConnectionsOptions = {}): Balancer {
  let usual: Mirrored | null = null
  const mirrorOf = perCandidates((candidates) => {
    usual = candidates.length <= ASK_LIMIT ? null : mirrored(candidates, random)
    return usual
  })
  const touch = (backend: Backend) => usual?.mirror.touch(backend)
  const pick: Balancer['pick'] = (candidates) => mirrorOf(candidates)?.pick() ?? ask(candidates, random)
  return {
    name: 'least-connections',
    isExact: true,
    pick,
    pickUntried: redraw(pick),
    onStart: touch,
    onEnd: touch,
  }
}

/** Asks the backends themselves: for small sets, and for the array of a retry. */
function ask(candidates: Candidates, random: () => number): Backend {
  if (candidates.length === 1) return candidates[0]
  const isSampled = candidates.length > SCAN_LIMIT
  const size = isSampled ? SAMPLE_SIZE : candidates.length
  const positions = isSampled ? drawPositions(new Uint32Array(size), candidates.length, random) : null
  const counts = new Int32Array(size)
  const weights = new Float64Array(size)
  for (let asked = 0; asked < size; asked++) {
    const backend = candidates[positions?.[asked] ?? asked] ?? candidates[0]
    counts[asked] = backend.pending
    weights[asked] = backend.weight
  }
  const least = leastOf(counts, weights, size, random)
  return candidates[positions?.[least] ?? least] ?? candidates[0]
}

interface Mirrored {
  readonly mirror: PendingMirror
  pick(): Backend
}

/** For an array of candidates that stays. */
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
      mirror.lookOn()
      if (isSampled) sample()
      let position = 0
      for (let choice = 0; choice < MAX_CHOICES; choice++) {
        const drawn = leastOf(sampledCounts, sampledWeights, size, random)
        position = positions[drawn] ?? 0
        const believed = sampledCounts[drawn] ?? 0
        const pending = mirror.look(position)
        if (pending <= believed) break
        // Another thread has given it work meanwhile.
        sampledCounts[drawn] = pending
      }
      return candidates[position] ?? candidates[0]
    },
  }
}

/** Fills `positions` with numbers below `count`, from one number drawn, by the generator of Numerical Recipes: takes a fraction of the time of drawing each. */
function drawPositions(positions: Uint32Array, count: number, random: () => number): Uint32Array {
  let state = Math.floor(random() * 2 ** 32)
  for (let drawn = 0; drawn < positions.length; drawn++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    positions[drawn] = (state * count) / 2 ** 32
  }
  return positions
}
