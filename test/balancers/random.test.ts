import assert from 'node:assert/strict'
import { test } from 'node:test'
import { random } from '../../src/balancers/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { at, backendsOf, chance, countPicks, picks, without } from './some-backends.ts'

test('equal weights: the number drawn is the position', () => {
  const candidates = backendsOf(2, 2, 2, 2)
  assert.equal(picks(random({ random: chance(0, 0.25, 0.74, 0.999999) }), candidates, 4).join(' '), 'a b c d')
})

test('shares are exact over evenly spread random numbers', () => {
  const steps = Array.from({ length: 100_000 }, (_, index) => index / 100_000)
  for (const weights of [
    [5, 0.5, 2, 1.5, 1],
    [4.2, 1, 0.8, 4],
    [1, 3, 3, 3],
    [0.1, 0.1, 9.8],
  ]) {
    const candidates = backendsOf(...weights)
    const counts = countPicks(random({ random: chance(...steps) }), candidates, steps.length)
    for (const { id, weight } of candidates) {
      assert.ok(Math.abs((counts[id] ?? 0) - weight * 10_000) <= 5, `${id} of ${weights}: ${counts[id]}`)
    }
  }
})

test('a retry is drawn by weight from the untried ones', () => {
  const all = backendsOf(5, 3, 1)
  const balancer = random({ random: seededRandom(1) })
  picks(balancer, all, 1)
  const counts = { a: 0, b: 0, c: 0 }
  for (let each = 0; each < 4000; each++) {
    const [id] = picks(balancer, without(all, at(all, 0)), 1)
    counts[id as 'a' | 'b' | 'c']++
  }
  assert.equal(counts.a, 0)
  assert.ok(Math.abs(counts.b - 3000) < 150, `b: ${counts.b}`)
})
