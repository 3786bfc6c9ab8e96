/** Deeper values count as different: they may be circular. */
const MAX_DEPTH = 100

/** Whether two configurations are the same. Plain data is compared by content, everything else (policies, hooks) by identity. */
export function isSameData(one: unknown, other: unknown): boolean {
  return isSame(one, other, MAX_DEPTH)
}

function isSame(one: unknown, other: unknown, depth: number): boolean {
  if (Object.is(one, other)) return true
  if (depth === 0) return false
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (one instanceof URL && other instanceof URL) return one.href === other.href
  if (Buffer.isBuffer(one) && Buffer.isBuffer(other)) return one.equals(other)
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((item, at) => isSame(item, other[at], depth - 1))
  }
  if (!isPlain(one) || !isPlain(other)) return false
  const keys = new Set([...Object.keys(one), ...Object.keys(other)])
  return Array.from(keys).every((key) => isSame(one[key], other[key], depth - 1))
}

function isPlain(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
