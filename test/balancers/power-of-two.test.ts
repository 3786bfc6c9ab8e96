import assert from 'node:assert/strict'
import { test } from 'node:test'
import { powerOfTwo } from '../../src/balancers/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { at, backendsOf, chance, countPicks, equalBackends, picks, setPending, without } from './some-backends.ts'

test('the less busy of two is picked, whichever is drawn first', () => {
  const both = equalBackends(2)
  setPending(at(both, 0), 2)
  setPending(at(both, 1), 1)
  for (const draw of [0, 0.5, 0.999]) assert.equal(picks(powerOfTwo({ random: () => draw }), both, 1).join(), 'b')
  setPending(at(both, 1), 3)
  for (const draw of [0, 0.5, 0.999]) assert.equal(picks(powerOfTwo({ random: () => draw }), both, 1).join(), 'a')
})

test('the two are distinct: the busiest is never picked', () => {
  for (const weights of [
    [1, 1, 1],
    [1000, 1, 1],
    [1, 1000, 1],
  ]) {
    const candidates = backendsOf(...weights)
    for (const backend of candidates) setPending(backend, backend.id === 'b' ? 1_000_000 : 1)
    const { b } = countPicks(powerOfTwo({ random: seededRandom(1) }), candidates, 2000)
    assert.equal(b, 0)
  }
})

test('a tie goes to the first drawn, which is random', () => {
  for (const pending of [0, 4]) {
    const both = equalBackends(2)
    for (const backend of both) setPending(backend, pending)
    assert.equal(picks(powerOfTwo({ random: () => 0 }), both, 1).join(), 'a')
    assert.equal(picks(powerOfTwo({ random: () => 0.999 }), both, 1).join(), 'b')
  }
})

test('pending counts relative to weight, with the new request', () => {
  const both = backendsOf(3, 1)
  for (const [ofA, ofB, expected] of [
    [1, 0, 'a'], // 2/3 against 1
    [3, 0, 'b'], // 4/3 against 1
    [3, 1, 'a'], // 4/3 against 2
    [6, 1, 'b'], // 7/3 against 2
  ] as const) {
    setPending(at(both, 0), ofA)
    setPending(at(both, 1), ofB)
    assert.deepEqual(new Set(picks(powerOfTwo({ random: seededRandom(3) }), both, 50)), new Set([expected]))
  }
})

test('draws are by weight: equally busy backends each get their share', () => {
  const candidates = backendsOf(4, 2, 1, 1)
  for (const backend of candidates) setPending(backend, backend.weight * 2 - 1)
  const counts = countPicks(powerOfTwo({ random: seededRandom(4) }), candidates, 8000)
  for (const { id, weight } of candidates) {
    assert.ok(Math.abs((counts[id] ?? 0) - weight * 1000) < 200, `${id}: ${counts[id]}`)
  }
})

test('a retry compares two of the untried ones', () => {
  const all = backendsOf(1, 5, 2)
  const balancer = powerOfTwo({ random: seededRandom(5) })
  picks(balancer, all, 1)
  setPending(at(all, 1), 50)
  setPending(at(all, 2), 1)
  for (let each = 0; each < 100; each++) assert.equal(picks(balancer, without(all, at(all, 0)), 1).join(), 'c')
})

test('a retry too draws the second evenly from the others', () => {
  const all = equalBackends(5)
  const balancer = powerOfTwo({ random: seededRandom(6) })
  picks(balancer, all, 1)
  // Never picked itself, so that where it is drawn first the second shows.
  setPending(at(all, 1), 1000)
  const counts = new Map<string, number>()
  for (let each = 0; each < 9000; each++) {
    const [id = ''] = picks(balancer, without(all, at(all, 0)), 1)
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  assert.deepEqual([...counts.keys()].toSorted(), ['c', 'd', 'e'])
  for (const [id, count] of counts) assert.ok(Math.abs(count - 3000) < 200, `${id}: ${count}`)
})

test('it still picks if the random number never changes', () => {
  for (const draw of [0, 0.5, 1 - 2 ** -53]) {
    for (const candidates of [equalBackends(5), backendsOf(9, 1, 1)]) {
      assert.equal(picks(powerOfTwo({ random: chance(draw) }), candidates, 10).length, 10)
    }
  }
})
