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
  /** What exchanges are told apart by. Default `client-address`. */
  by?: HashBy
  /**
   * How much a backend may have pending, percent of its fair share of all that is pending; what exceeds it goes to other
   * backends. Default 150; at least 100; 0: no bound, so that a key never leaves its backend while that is available,
   * and a hot key can drown it. With little pending, the bound is a single request: several at once with one key then
   * spread. Where a session lives in one backend's memory, use 0. Needs `onStart` and `onEnd` to be called.
   */
  boundedLoad?: number
  /**
   * Points on the ring for each unit of weight. Default 160: shares come out within some 10 %. More for weights far
   * below 1, fewer for weights far above; changing it moves most keys.
   */
  pointsPerWeight?: number
  /** A number in [0, 1), for exchanges without a key. Default `Math.random`. */
  random?: () => number
}

/** The part of a ring that may be picked from, and what its load is measured by. */
interface Members {
  readonly ring: HashRing
  readonly candidates: Candidates
  /** 1 at the position of each candidate in the ring's backends. */
  readonly isMember: Uint8Array
  readonly weight: number
  /** `null` where load is not bounded. */
  readonly pending: PendingMirror | null
}

/** The defaults of {@link ConsistentHashOptions}. */
export const CONSISTENT_HASH_DEFAULTS = Object.freeze({ by: 'client-address', boundedLoad: 150, pointsPerWeight: 160 })

const NONE: readonly Backend[] = []
const NOWHERE: readonly number[] = []
const KEY_SEED = 0x9747b28c
/** 2^32 / golden ratio: sets the jumps of one key apart. */
const JUMP = 0x9e3779b9
/** Each jump finds room with a chance of a third or better at the default bound, so this many all but always do. */
const MAX_JUMPS = 32

/**
 * The same backend for the same key, as long as it can be had: for caches, and for sessions in memory. Where a backend
 * joins or leaves, only its own share of the keys moves; while one is away its keys go to the next on the ring and come
 * back later. Exchanges without a key go by {@link powerOfTwo}.
 *
 * Loads are bounded (Mirrokni, Thorup, Zadimoghaddam 2016): a backend takes nothing past `boundedLoad` percent of its
 * fair share. What overflows jumps to places that follow from the key alone (Chen, Coleman, Shrivastava 2021), not to
 * the next backend on the ring: that one would overflow in turn.
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
    // Points depend on nothing but id and weight: a ring of the candidates alone is as good as one of all backends.
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
    const away = takeAway(members, tried)
    const owner = ownerOf(members, hash)
    const { pending, isMember } = members
    const picked = pending === null ? owner : withinBound(members, pending, hash, owner, boundedLoad / 100)
    for (const position of away) isMember[position] = 1
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
      return pickByKey(candidates, NONE, key)
    },
    pickUntried(candidates, tried, exchange) {
      const key = keyOf(exchange)
      if (key === undefined || key === '') return redrawn(candidates, tried, exchange)
      return pickByKey(candidates, tried, key)
    },
    onStart: touch,
    onEnd: touch,
    onChange(backends) {
      // At once: the first pick would have to wait for it.
      ring = hashRing(backends, pointsPerWeight)
    },
  }
}

/** 1 at the position of each candidate; `null` where one is not on the ring. */
function markMembers(ring: HashRing, candidates: Candidates): Uint8Array | null {
  const isMember = new Uint8Array(ring.backends.length)
  // Both are in the order of the configuration as a rule: going side by side takes far less time than looking up.
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

/** Those of `tried` are no members for now. @returns their positions, to be marked again. */
function takeAway({ ring, isMember }: Members, tried: readonly Backend[]): readonly number[] {
  if (tried.length === 0) return NOWHERE
  const away: number[] = []
  for (const backend of tried) {
    const position = ring.indexOf(backend)
    if (position === undefined || isMember[position] !== 1) continue
    isMember[position] = 0
    away.push(position)
  }
  return away
}

function ownerOf({ ring, candidates, isMember }: Members, hash: number): Backend {
  return ring.backends[ring.walk(hash, isMember)] ?? candidates[0]
}

/** `owner`, or where it is full another that follows from the key. */
function withinBound(members: Members, pending: PendingMirror, hash: number, owner: Backend, factor: number): Backend {
  const { ring, candidates, isMember, weight } = members
  pending.lookOn()
  const slots = Math.ceil((pending.total() + 1) * factor)
  // A hair less, so that rounding does not make 1 into 1.0000000000000002 and thus 2.
  const slotsOf = (backend: Backend) => Math.max(1, Math.ceil((slots * backend.weight) / weight - 1e-9))
  const hasRoom = (backend: Backend) => backend.pending < slotsOf(backend)
  if (hasRoom(owner)) return owner

  for (let jump = 1; jump <= MAX_JUMPS; jump++) {
    const other = ownerOf(members, mix((hash + Math.imul(jump, JUMP)) | 0))
    if (hasRoom(other)) return other
  }

  // Few have room: the least loaded of all, seen from a place that follows from the key.
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
