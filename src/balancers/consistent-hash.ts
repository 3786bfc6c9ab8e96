import type { Balancer, Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import { type HashBy, hashKey } from './hashing/hash-key.ts'
import { type HashRing, hashRing } from './hashing/hash-ring.ts'
import { hashString, mix } from './hashing/string-hash.ts'
import { powerOfTwo } from './power-of-two.ts'
import { type PendingMirror, pendingMirror } from './sampling/pending-mirror.ts'
import { perCandidates } from './sampling/per-candidates.ts'
import { redraw } from './sampling/redraw.ts'
import { totalWeight } from './sampling/weights.ts'

/** Options of {@link consistentHash}. */
export interface ConsistentHashOptions {
  /** The key of an exchange. Default `client-address`. */
  by?: HashBy | undefined
  /**
   * How many requests a backend may have pending, in percent of its fair share of all pending requests; the excess goes
   * to other backends. Minimum 100; 150 suits caches. Default 0: no bound, so a key stays with its backend while that is
   * available, and a hot key can overload it. Danger: a bound breaks sessions in the memory of one backend. At low load it is
   * a single request, so two concurrent requests with one key go to two backends. Needs `onStart` and `onEnd` to be called.
   */
  boundedLoad?: number | undefined
  /**
   * Points on the ring for each unit of weight. Default 160: shares are then accurate to about 10 %. Use more for weights
   * far below 1, fewer for weights far above. A change moves most keys.
   */
  pointsPerWeight?: number | undefined
  /** A number in [0, 1), for exchanges without a key. Default `Math.random`. */
  random?: (() => number) | undefined
}

/** The candidates on a ring, and their load. */
interface Members {
  readonly ring: HashRing
  readonly candidates: Candidates
  /** 1 at the position of each candidate in the ring's backends. */
  readonly isMember: Uint8Array
  readonly weight: number
  /** `null` if load is not bounded. */
  readonly pending: PendingMirror | null
}

/** The defaults of {@link ConsistentHashOptions}. */
export const CONSISTENT_HASH_DEFAULTS = Object.freeze({ by: 'client-address', boundedLoad: 0, pointsPerWeight: 160 })

const NO_BACKENDS: readonly Backend[] = []
const NO_POSITIONS: readonly number[] = []
const KEY_SEED = 0x9747b28c
/** 2^32 / golden ratio: makes the jumps of one key independent of each other. */
const JUMP = 0x9e3779b9
/** At the default bound each jump finds room with a probability of at least a third, so 32 jumps almost always do. */
const MAX_JUMPS = 32

/**
 * The same backend for the same key, as long as it is available: for caches, and for sessions in memory. If a backend
 * joins or leaves, only its own share of the keys moves. While a backend is unavailable, its keys go to the next on the
 * ring and return later. {@link powerOfTwo} balances exchanges without a key.
 *
 * `boundedLoad` bounds loads (Mirrokni, Thorup, Zadimoghaddam 2016): a backend takes no more than that percentage of its
 * fair share. The excess jumps to positions that follow from the key alone (Chen, Coleman, Shrivastava 2021), not to
 * the next backend on the ring, which would overflow in turn.
 */
export function consistentHash({
  by = CONSISTENT_HASH_DEFAULTS.by,
  boundedLoad = CONSISTENT_HASH_DEFAULTS.boundedLoad,
  pointsPerWeight = CONSISTENT_HASH_DEFAULTS.pointsPerWeight,
  random = Math.random,
}: ConsistentHashOptions = {}): Balancer {
  if (boundedLoad !== 0 && !(Number.isFinite(boundedLoad) && boundedLoad >= 100)) {
    throw new TypeError(
      `consistent-hash: boundedLoad is ${boundedLoad}; give a percentage of at least 100, such as boundedLoad: 150, or 0 for no bound`,
    )
  }
  if (!(Number.isFinite(pointsPerWeight) && pointsPerWeight > 0)) {
    throw new TypeError(
      `consistent-hash: pointsPerWeight is ${pointsPerWeight}; give a number over 0, such as pointsPerWeight: 160`,
    )
  }
  const keyOf = hashKey(by)
  const withoutKey = powerOfTwo({ random })
  let ring = hashRing([], pointsPerWeight)

  const mirrorOf = (candidates: Candidates) => (boundedLoad === 0 ? null : pendingMirror(candidates))
  let usual: Members | null = null

  const membersOf = (candidates: Candidates, pending: PendingMirror | null): Members => {
    const isMember = markMembers(ring, candidates)
    if (isMember !== null) return { ring, candidates, isMember, weight: totalWeight(candidates), pending }
    // Points depend only on id and weight, so a ring of the candidates alone gives the same owners as one of all backends.
    ring = hashRing(candidates, pointsPerWeight)
    return membersOf(candidates, pending)
  }
  const usualMembers = perCandidates((candidates) => {
    usual = membersOf(candidates, mirrorOf(candidates))
    return usual
  })
  const pickByKey = (candidates: Candidates, tried: readonly Backend[], key: string) => {
    const hash = hashString(key, KEY_SEED)
    const members = usualMembers(candidates) ?? membersOf(candidates, usual?.pending ?? mirrorOf(candidates))
    const unmarked = unmark(members, tried)
    const owner = ownerOf(members, hash)
    const { pending, isMember } = members
    const picked = pending === null ? owner : withinBound(members, pending, hash, owner, boundedLoad / 100)
    for (const position of unmarked) isMember[position] = 1
    return picked
  }
  const redrawn = redraw(withoutKey.pick)
  const touch = (backend: Backend) => usual?.pending?.touch(backend)

  return {
    name: 'consistent-hash',
    isExact: true,
    pick(candidates, exchange) {
      if (candidates.length === 1) return candidates[0]
      const key = keyOf(exchange)
      if (key === undefined || key === '') return withoutKey.pick(candidates, exchange)
      return pickByKey(candidates, NO_BACKENDS, key)
    },
    pickUntried(candidates, tried, exchange) {
      const key = keyOf(exchange)
      if (key === undefined || key === '') return redrawn(candidates, tried, exchange)
      return pickByKey(candidates, tried, key)
    },
    onStart: touch,
    onEnd: touch,
    onChange(backends) {
      // Built now, so that the first pick does not wait for it.
      ring = hashRing(backends, pointsPerWeight)
    },
  }
}

/** 1 at the position of each candidate; `null` if one is not on the ring. */
function markMembers(ring: HashRing, candidates: Candidates): Uint8Array | null {
  const isMember = new Uint8Array(ring.backends.length)
  // Both are usually in the order of the configuration: a walk side by side is much faster than look-ups.
  let marked = 0
  for (const [position, backend] of ring.backends.entries()) {
    if (candidates[marked] !== backend) continue
    isMember[position] = 1
    marked++
  }
  for (let left = marked; left < candidates.length; left++) {
    const position = ring.indexOf(candidates[left] ?? candidates[0])
    if (position === undefined) return null
    isMember[position] = 1
  }
  return isMember
}

/** Unmarks the members that were tried. @returns their positions; the caller marks them again after the pick. */
function unmark({ ring, isMember }: Members, tried: readonly Backend[]): readonly number[] {
  if (tried.length === 0) return NO_POSITIONS
  const unmarked: number[] = []
  for (const backend of tried) {
    const position = ring.indexOf(backend)
    if (position === undefined || isMember[position] !== 1) continue
    isMember[position] = 0
    unmarked.push(position)
  }
  return unmarked
}

function ownerOf({ ring, candidates, isMember }: Members, hash: number): Backend {
  return ring.backends[ring.walk(hash, isMember)] ?? candidates[0]
}

/** `owner`, or another backend that follows from the key if `owner` is full. */
function withinBound(members: Members, pending: PendingMirror, hash: number, owner: Backend, factor: number): Backend {
  const { ring, candidates, isMember, weight } = members
  pending.refreshSome()
  const slots = Math.ceil((pending.total() + 1) * factor)
  // Minus a little: rounding may give 1.0000000000000002 for 1, and ceil() would make it 2.
  const slotsOf = (backend: Backend) => Math.max(1, Math.ceil((slots * backend.weight) / weight - 1e-9))
  const hasRoom = (backend: Backend) => backend.pending < slotsOf(backend)
  if (hasRoom(owner)) return owner

  for (let jump = 1; jump <= MAX_JUMPS; jump++) {
    const other = ownerOf(members, mix((hash + Math.imul(jump, JUMP)) | 0))
    if (hasRoom(other)) return other
  }

  // Few have room: take the least loaded of all. The search starts at a position that follows from the key.
  let best = owner
  let least = Infinity
  for (let step = 0; step < candidates.length; step++) {
    const backend = candidates[(hash + step) % candidates.length] ?? owner
    const load = backend.pending / slotsOf(backend)
    if (load < least && isMember[ring.indexOf(backend) ?? -1] === 1) {
      best = backend
      least = load
    }
  }
  return best
}
