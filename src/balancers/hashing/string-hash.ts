const FNV_PRIME = 0x01000193

/**
 * A 32-bit hash of `text`, the same in every process: FNV-1a over UTF-16 code units, finished by {@link mix}. Different
 * seeds give unrelated hashes. It is not cryptographic: a client that chooses its key can choose the hash.
 */
export function hashString(text: string, seed: number): number {
  let hash = seed
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), FNV_PRIME)
  return mix(hash)
}

/** Spreads every bit of a 32-bit number over all 32 bits: the finalizer of MurmurHash3. */
export function mix(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
