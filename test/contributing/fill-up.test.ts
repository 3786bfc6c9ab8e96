import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { balancerSuite } from '../../src/testing/balancer-suite.ts'
import { at, backendsOf, picks, setPending } from '../balancers/some-backends.ts'
import { fillUp } from './fill-up.ts'

const promises = { sharesByWeight: false, spreadsTies: false, starvesNone: false }
balancerSuite('fill-up', () => fillUp(), { describe, test }, promises)

test('the second backend gets what the first has no room for', () => {
  const all = backendsOf(1, 1)
  const balancer = fillUp({ limit: 3 })
  setPending(at(all, 0), 2)
  assert.deepEqual(picks(balancer, all, 1), ['a'])
  setPending(at(all, 0), 3)
  assert.deepEqual(picks(balancer, all, 1), ['b'])
})

test('the first backend gets the rest if all are full', () => {
  const all = backendsOf(1, 1)
  for (const backend of all) setPending(backend, 8)
  assert.deepEqual(picks(fillUp(), all, 1), ['a'])
})

test('a limit that is not a number over 0 is refused', () => {
  for (const limit of [0, -1, 1.5, Number.NaN]) assert.throws(() => fillUp({ limit }), TypeError)
})
