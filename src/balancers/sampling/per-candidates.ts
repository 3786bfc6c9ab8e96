import type { Candidates } from '../../contracts/balancer.ts'

/**
 * Caches the result of `build` for the array of candidates that most picks come with. The array is the same object
 * while nothing changes, so its identity is the key.
 * @returns a function that returns `null` the first time that it sees another array. That may be the smaller array of a
 * retry, which is used once: it is not worth a table, and must not evict the table that the next exchange needs.
 */
export function perCandidates<T>(build: (candidates: Candidates) => T): (candidates: Candidates) => T | null {
  const seen = new WeakSet<Candidates>()
  let known: Candidates | null = null
  let value: T | null = null
  return (candidates) => {
    if (candidates === known) return value
    if (known !== null && !seen.has(candidates)) {
      seen.add(candidates)
      return null
    }
    value = build(candidates)
    known = candidates
    return value
  }
}
