import assert from 'node:assert/strict'
import { test } from 'node:test'
import { roundRobin } from '../../src/balancers/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { at, backendsOf, candidatesOf, countPicks, equalBackends, picks, without } from './some-backends.ts'

/** Begins with the first of the configuration. */
const inOrder = () => roundRobin({ random: () => 0 })

test('weights 5, 1, 1 give the order of nginx', () => {
  const candidates = backendsOf(5, 1, 1)
  assert.equal(picks(inOrder(), candidates, 14).join(' '), 'a a b a c a a a a b a c a a')
})

test('the sum of the owed weights is 0 after every pick', () => {
  // Seen from outside: after each whole round everyone has had exactly his weight, wherever the round begins.
  for (const weights of [
    [5, 1, 1],
    [4, 3, 2, 1],
    [7, 2],
    [10, 10, 1, 3],
  ]) {
    const candidates = backendsOf(...weights)
    const round = weights.reduce((sum, weight) => sum + weight)
    const order = picks(inOrder(), candidates, round * 3)
    for (let begin = 0; begin < round * 2; begin++) {
      const served = order.slice(begin, begin + round)
      for (const { id, weight } of candidates) assert.equal(served.filter((each) => each === id).length, weight)
    }
  }
})

test('fractions are weights like any other', () => {
  const order = picks(inOrder(), backendsOf(0.5, 0.1, 0.1), 7)
  assert.equal(order.join(' '), 'a a b a c a a')
})

test('equal weights rotate in the order of the configuration', () => {
  assert.equal(picks(inOrder(), backendsOf(3, 3, 3), 7).join(' '), 'a b c a b c a')
})

test('equal weights: a change continues after the last one picked', () => {
  const all = equalBackends(4)
  const balancer = inOrder()
  assert.equal(picks(balancer, all, 2).join(' '), 'a b')
  // The one that was last goes; one that had its turn goes; all are back.
  assert.equal(picks(balancer, without(all, at(all, 1)), 3).join(' '), 'c d a')
  // The first pick from a new array may be a retry's: b, just back, waits for its next turn.
  assert.equal(picks(balancer, without(all, at(all, 0)), 2).join(' '), 'c d')
  assert.equal(picks(balancer, candidatesOf(all), 4).join(' '), 'b c d a')
})

test('equal weights: a retry takes the next untried one', () => {
  const all = equalBackends(4)
  const balancer = inOrder()
  assert.equal(picks(balancer, all, 1).join(), 'a')
  assert.equal(picks(balancer, without(all, at(all, 0)), 1).join(), 'b')
  assert.equal(picks(balancer, all, 2).join(' '), 'c d')
  // The next in turn is the one that was tried.
  assert.equal(picks(balancer, without(all, at(all, 0)), 1).join(), 'b')
  assert.equal(picks(balancer, all, 3).join(' '), 'c d a')
})

test('equal weights: a retry finds the only untried one of many', () => {
  const all = equalBackends(100)
  const balancer = inOrder()
  picks(balancer, all, 10)
  for (const backend of all) assert.equal(picks(balancer, [backend, backend], 1).join(), backend.id)
})

test('unequal weights: backends that a retry skips keep their turn', () => {
  const all = backendsOf(5, 1, 1)
  const balancer = inOrder()
  const first = picks(balancer, all, 1)
  const retries = Array.from({ length: 2 }, () => picks(balancer, without(all, at(all, 0)), 1)).flat()
  assert.equal(first.join(), 'a')
  assert.deepEqual(retries.toSorted(), ['b', 'c'])
  // The two settled it among themselves: all goes on as if there had been no retry.
  assert.equal(picks(balancer, all, 6).join(' '), 'a b a c a a')
})

test('unequal weights: the owed weight outlives an absence', () => {
  const all = backendsOf(2, 1, 1)
  const balancer = inOrder()
  assert.equal(picks(balancer, all, 2).join(' '), 'a b')
  const pair = without(all, at(all, 2))
  picks(balancer, pair, 6)
  const again = candidatesOf(all)
  // c was owed one when it went.
  assert.equal(picks(balancer, again, 1).join(), 'c')
})

test('over 256 unequal weights: exact shares in every round, within one pick', () => {
  const weights = Array.from({ length: 1000 }, (_, index) => 1 + (index % 5))
  const round = weights.reduce((sum, weight) => sum + weight)
  const candidates = backendsOf(...weights)
  const balancer = roundRobin({ random: seededRandom(1) })
  for (let rounds = 0; rounds < 5; rounds++) {
    const counts = countPicks(balancer, candidates, round)
    for (const { id, weight } of candidates) {
      assert.ok(Math.abs((counts[id] ?? 0) - weight) <= 1, `${id} of weight ${weight}: ${counts[id]}`)
    }
  }
})

test('over 256 unequal weights: the picks of a heavy one are spread', () => {
  const candidates = backendsOf(300, ...Array.from({ length: 300 }, () => 1))
  const order = picks(roundRobin({ random: seededRandom(2) }), candidates, 1200)
  const turns = order.flatMap((id, turn) => (id === 'a' ? [turn] : []))
  assert.ok(turns.length >= 599 && turns.length <= 601, `${turns.length} turns`)
  const gaps = turns.slice(1).map((turn, index) => turn - (turns[index] ?? 0))
  assert.ok(Math.max(...gaps) <= 8, `up to ${Math.max(...gaps)} turns between two of a`)
})
