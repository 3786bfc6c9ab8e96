import assert from 'node:assert/strict'
import type { Balancer, Candidates } from '../../src/contracts/balancer.ts'
import { Backend } from '../../src/model/backend.ts'
import type { Outcome } from '../../src/model/outcome.ts'
import { exchangeView } from '../../src/testing/exchange-view.ts'

/** Backends named a, b, c ... (then n26, n27 ...), of these weights. */
export function backendsOf(...weights: number[]): Candidates {
  return candidatesOf(
    weights.map((weight, index) => {
      const id = index < 26 ? String.fromCharCode(97 + index) : `n${index}`
      return new Backend({ url: 'http://127.0.0.1:3000', id, weight })
    }),
  )
}

/** As many backends of weight 1. */
export function equalBackends(count: number): Candidates {
  return backendsOf(...Array.from({ length: count }, () => 1))
}

/** A fresh array of them. */
export function candidatesOf(backends: readonly Backend[]): Candidates {
  const [first, ...others] = backends
  assert.ok(first)
  return [first, ...others]
}

/** All but these. */
export function without(candidates: Candidates, ...gone: Backend[]): Candidates {
  return candidatesOf(candidates.filter((backend) => !gone.includes(backend)))
}

/** The one at that position. */
export function at(candidates: Candidates, position: number): Backend {
  const backend = candidates[position]
  assert.ok(backend)
  return backend
}

/** Ids of the next `count` picks. */
export function picks(balancer: Balancer, candidates: Candidates, count: number): string[] {
  return Array.from({ length: count }, () => balancer.pick(candidates, exchangeView()).id)
}

/** How often each id was picked in the next `count` picks. */
export function countPicks(balancer: Balancer, candidates: Candidates, count: number): Record<string, number> {
  const counts: Record<string, number> = Object.fromEntries(candidates.map(({ id }) => [id, 0]))
  for (const id of picks(balancer, candidates, count)) counts[id] = (counts[id] ?? 0) + 1
  return counts
}

/** Sets what is pending at `backend`, as another thread would: without a word to the balancer. */
export function setPending(backend: Backend, pending: number): void {
  while (backend.pending < pending) backend.state.addPending(1)
  while (backend.pending > pending) backend.state.addPending(-1)
}

/** An attempt begins. */
export function start(balancer: Balancer, backend: Backend): void {
  backend.state.addPending(1)
  balancer.onStart?.(backend, exchangeView())
}

/** An attempt ends well, or as `changes` say. */
export function end(balancer: Balancer, backend: Backend, changes: Partial<Outcome> = {}): void {
  backend.state.addPending(-1)
  balancer.onEnd?.(backend, {
    kind: 'answered',
    status: 200,
    grpcStatus: null,
    error: null,
    firstByteMs: 5,
    totalMs: 6,
    ...changes,
  })
}

/** Gives these numbers, over and over. */
export function chance(...numbers: number[]): () => number {
  let next = 0
  return () => numbers[next++ % numbers.length] ?? 0
}
