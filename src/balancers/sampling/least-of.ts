/**
 * The position of the lowest (count + 1) / weight among the first `size`. Ties are broken at random, in proportion to the
 * weights. If the best is idle, all idle ones tie.
 */
export function leastOf(counts: Int32Array, weights: Float64Array, size: number, random: () => number): number {
  let least = Infinity
  let isIdle = false
  // Total weight of those that tie so far.
  let tied = 0
  let idle = 0
  for (let position = 0; position < size; position++) {
    const count = counts[position] ?? 0
    const weight = weights[position] ?? 1
    const cost = (count + 1) / weight
    if (count === 0) idle += weight
    if (cost < least) {
      least = cost
      isIdle = count === 0
      tied = weight
    } else if (cost === least) {
      isIdle ||= count === 0
      tied += weight
    }
  }

  let left = random() * (isIdle ? idle : tied)
  // If rounding leaves a remainder, the last one is chosen.
  let chosen = 0
  for (let position = 0; position < size; position++) {
    const count = counts[position] ?? 0
    const weight = weights[position] ?? 1
    if (isIdle ? count !== 0 : (count + 1) / weight !== least) continue
    chosen = position
    left -= weight
    if (left < 0) break
  }
  return chosen
}
