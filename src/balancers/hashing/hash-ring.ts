import type { Backend } from '../../model/backend.ts'
import { firstAtOrAfter, type SortedPoints, sortPoints } from './sorted-points.ts'
import { hashString, mix } from './string-hash.ts'

/** A circle of 2^32 positions on which each backend owns some points. A key belongs to the first point at or after it. */
export interface HashRing {
  readonly backends: readonly Backend[]
  /** Position of `backend` in {@link backends}; `undefined` if it is not one of them. */
  indexOf(backend: Backend): number | undefined
  /** Position of the first owner at or after `hash` that `isMember` marks with 1. At least one must be marked. */
  walk(hash: number, isMember: Uint8Array): number
}

/** Bounds the memory of a ring (8 bytes a point) and the time to rebuild it when the backends change. */
const MAX_POINTS = 2 ** 21

/** Two unrelated hashes of each id: two backends can then hardly share a sequence of points. */
const START_SEED = 0x811c9dc5
const STRIDE_SEED = 0x2f0b4c47

/**
 * A ring after ketama (Karger et al. 1997): `pointsPerWeight` points for each unit of weight, at least one for each
 * backend. A point depends only on the backend's id and the point's number. So the ring is the same in every process
 * and thread, a new backend moves only the keys that it takes over, and a larger weight only adds points.
 */
export function hashRing(backends: readonly Backend[], pointsPerWeight: number): HashRing {
  const counts = pointCounts(backends, pointsPerWeight)
  const total = counts.reduce((sum, count) => sum + count, 0)
  const hashes = new Uint32Array(total)
  const owners = new Uint32Array(total)
  let made = 0
  for (const [owner, { id }] of backends.entries()) {
    const start = hashString(id, START_SEED)
    const stride = hashString(id, STRIDE_SEED) | 1
    const count = counts[owner] ?? 1
    for (let point = 0; point < count; point++) {
      hashes[made] = mix((start + Math.imul(point, stride)) | 0)
      owners[made++] = owner
    }
  }
  const indexes = new Map<Backend, number>()
  for (const [index, backend] of backends.entries()) indexes.set(backend, index)
  return ringOf(backends, indexes, sortPoints(hashes, owners))
}

function ringOf(backends: readonly Backend[], indexes: ReadonlyMap<Backend, number>, points: SortedPoints): HashRing {
  const { owners } = points
  return {
    backends,
    indexOf: (backend) => indexes.get(backend),
    walk(hash, isMember) {
      let position = firstAtOrAfter(points, hash)
      for (let step = 0; step < owners.length; step++) {
        if (position >= owners.length) position = 0
        const owner = owners[position] ?? 0
        if (isMember[owner] === 1) return owner
        position++
      }
      return 0
    },
  }
}

/** Halves all counts until the total fits: the shares stay the same, but less precise. */
function pointCounts(backends: readonly Backend[], pointsPerWeight: number): number[] {
  for (let perWeight = pointsPerWeight; ; perWeight /= 2) {
    const counts = backends.map(({ weight }) => Math.max(1, Math.round(weight * perWeight)))
    const total = counts.reduce((sum, count) => sum + count, 0)
    if (total <= Math.max(MAX_POINTS, backends.length)) return counts
  }
}
