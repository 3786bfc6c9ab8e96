import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstAvailable } from '../../src/balancers/index.ts'
import { at, backendsOf, picks, setPending, without } from './some-backends.ts'

test('the first is picked whatever its weight and load, else the next', () => {
  const all = backendsOf(1, 9, 9)
  setPending(at(all, 0), 100)
  assert.equal(picks(firstAvailable(), all, 3).join(' '), 'a a a')
  assert.equal(picks(firstAvailable(), without(all, at(all, 0)), 2).join(' '), 'b b')
})
