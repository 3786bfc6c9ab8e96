import type { Candidates } from '../../contracts/balancer.ts'
import type { Backend } from '../../model/backend.ts'
import { drawOnce } from '../sampling/draws.ts'
import type { Rotation } from './rotation.ts'

/**
 * Earliest deadline first, for large sets of unequal weights: a backend of weight w is due every 1/w, and a heap finds
 * the next one. Each pick takes logarithmic time and spreads as evenly as {@link smoothWeighted}. Each backend starts at a
 * random point of its first period. Otherwise the heaviest would all come first, and frequent changes of the candidates,
 * which restart the order, would favour them. After Envoy's `EdfScheduler`.
 */
export function earliestDeadlineFirst(random: () => number): Rotation {
  let candidates: readonly Backend[] = []
  let periods = new Float64Array()
  let deadlines = new Float64Array()
  /** Positions of candidates as a binary heap, the earliest deadline at the root. */
  let heap = new Uint32Array()

  const sink = (from: number) => {
    const moving = heap[from] as number
    const deadline = deadlines[moving] as number
    let hole = from
    for (;;) {
      let child = 2 * hole + 1
      if (child >= heap.length) break
      const right = child + 1
      if (right < heap.length && dueAt(right) < dueAt(child)) child = right
      if (dueAt(child) >= deadline) break
      heap[hole] = heap[child] as number
      hole = child
    }
    heap[hole] = moving
  }
  const dueAt = (node: number) => deadlines[heap[node] as number] as number

  return {
    begin(changed: Candidates) {
      candidates = changed
      periods = Float64Array.from(changed, ({ weight }) => 1 / weight)
      deadlines = periods.map((period) => period * random())
      heap = Uint32Array.from(changed, (_, position) => position)
      for (let node = (heap.length >> 1) - 1; node >= 0; node--) sink(node)
    },
    next() {
      const position = heap[0] as number
      deadlines[position] = (deadlines[position] as number) + (periods[position] as number)
      sink(0)
      return candidates[position] as Backend
    },
    among: (some) => drawOnce(some, random),
  }
}
