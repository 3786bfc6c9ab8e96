/**
 * The position of the least pending for its weight, of the first `size`: minimises (pending + 1) / weight, and breaks
 * ties at random in proportion to the weights. Where the best is idle, all that are idle tie.
 */
export function leastOf(counts: Int32Array, weights: Float64Array, size: number, random: () => number): number {
  let least = Infinity
  let isIdle = false
  // The weight of those that tie, as far as we have come.
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
  // What rounding leaves over goes to the last of them.
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
