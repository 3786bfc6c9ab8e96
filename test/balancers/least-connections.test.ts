import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leastConnections } from '../../src/balancers/index.ts'
import type { Balancer } from '../../src/contracts/balancer.ts'
import { exchangeView } from '../../src/testing/exchange-view.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { at, backendsOf, countPicks, end, equalBackends, picks, setPending, start, without } from './some-backends.ts'

const make = (seed = 1): Balancer => leastConnections({ random: seededRandom(seed) })

// Up to 16 it asks the backends, up to 256 it looks at a mirror of all, above at 64 of the mirror.
for (const count of [3, 16, 17, 256]) {
  test(`of ${count} the least busy is picked, whatever is drawn`, () => {
    for (const least of [0, count >> 1, count - 1]) {
      const candidates = equalBackends(count)
      for (const backend of candidates) setPending(backend, 5)
      setPending(at(candidates, least), 4)
      const expected = at(candidates, least).id
      assert.deepEqual(new Set(picks(make(), candidates, 20)), new Set([expected]))
    }
  })

  test(`of ${count} the least busy is picked as load comes and goes`, () => {
    const candidates = equalBackends(count)
    const balancer = make()
    const random = seededRandom(9)
    for (let each = 0; each < count * 20; each++) {
      const picked = balancer.pick(candidates, exchangeView())
      assert.equal(picked.pending, Math.min(...candidates.map(({ pending }) => pending)))
      start(balancer, picked)
      const done = at(candidates, Math.floor(random() * count))
      if (done.pending > 0) end(balancer, done)
    }
  })
}

test('pending counts relative to weight, with the new request', () => {
  const candidates = backendsOf(4, 2, 1)
  const pending = (a: number, b: number, c: number) => {
    setPending(at(candidates, 0), a)
    setPending(at(candidates, 1), b)
    setPending(at(candidates, 2), c)
    return new Set(picks(make(), candidates, 50))
  }
  assert.deepEqual(pending(2, 1, 1), new Set(['a'])) // 3/4, 1, 2
  assert.deepEqual(pending(4, 1, 1), new Set(['b'])) // 5/4, 1, 2
  assert.deepEqual(pending(8, 4, 1), new Set(['c'])) // 9/4, 5/2, 2
})

test('ties are broken at random, by weight', () => {
  const candidates = backendsOf(4, 2, 2, 8)
  for (const backend of candidates) setPending(backend, backend.weight * 3 - 1)
  const counts = countPicks(make(), candidates, 8000)
  for (const { id, weight } of candidates) {
    assert.ok(Math.abs((counts[id] ?? 0) - weight * 500) < 200, `${id}: ${counts[id]}`)
  }
})

test('idle backends tie whatever their weight, busy ones are excluded', () => {
  const candidates = backendsOf(3, 1, 1)
  setPending(at(candidates, 2), 1)
  const counts = countPicks(make(), candidates, 4000)
  assert.equal(counts.c, 0)
  assert.ok(Math.abs((counts.b ?? 0) - 1000) < 150, `b: ${counts.b}`)
})

test('an idle backend wins over a busy one of the same cost', () => {
  const candidates = backendsOf(2, 1)
  setPending(at(candidates, 0), 1)
  assert.deepEqual(new Set(picks(make(), candidates, 50)), new Set(['b']))
})

test('a busy heavy backend can win over an idle light one', () => {
  const candidates = backendsOf(10, 1)
  setPending(at(candidates, 0), 3)
  assert.deepEqual(new Set(picks(make(), candidates, 50)), new Set(['a']))
})

test('of 2000 a pick is among the least busy, and all are picked', () => {
  const candidates = equalBackends(2000)
  for (const [position, backend] of candidates.entries()) setPending(backend, position % 20)
  const balancer = make()
  const busy = Array.from({ length: 500 }, () => balancer.pick(candidates, exchangeView()).pending)
  // The mean of all is 9.5; the best of 64 is almost always one of the least busy twentieth.
  assert.ok(Math.max(...busy) <= 2, `picked one with ${Math.max(...busy)} pending`)
  for (const backend of candidates) setPending(backend, 0)
  const idle = make(2)
  assert.equal(new Set(picks(idle, candidates, 40_000)).size, 2000)
})

test('requests that another thread ends are noticed soon', () => {
  const candidates = equalBackends(40)
  for (const backend of candidates) setPending(backend, 3)
  const balancer = make()
  picks(balancer, candidates, 1)
  setPending(at(candidates, 30), 1)
  picks(balancer, candidates, 5)
  assert.deepEqual(new Set(picks(balancer, candidates, 50)), new Set([at(candidates, 30).id]))
})

test('a backend that another thread has just picked does not count as idle', () => {
  const candidates = equalBackends(40)
  for (const backend of candidates) setPending(backend, 5)
  setPending(at(candidates, 30), 0)
  setPending(at(candidates, 31), 1)
  const balancer = make()
  assert.equal(picks(balancer, candidates, 1).join(), at(candidates, 30).id)
  setPending(at(candidates, 30), 10)
  assert.equal(picks(balancer, candidates, 1).join(), at(candidates, 31).id)
})

test('the requests of another thread to all backends are noticed soon', () => {
  const candidates = equalBackends(40)
  const balancer = make()
  picks(balancer, candidates, 1)
  // Another thread gives all but one of them work.
  for (const backend of candidates) setPending(backend, backend.id === 'c' ? 0 : 3)
  picks(balancer, candidates, 40)
  assert.deepEqual(new Set(picks(balancer, candidates, 50)), new Set(['c']))
})

test('a retry picks the least busy of the untried ones', () => {
  const all = equalBackends(40)
  const balancer = make()
  for (const backend of all) setPending(backend, 3)
  setPending(at(all, 0), 0)
  setPending(at(all, 7), 1)
  assert.equal(picks(balancer, all, 1).join(), 'a')
  assert.equal(picks(balancer, without(all, at(all, 0)), 1).join(), 'h')
  assert.equal(picks(balancer, all, 1).join(), 'a')
})
