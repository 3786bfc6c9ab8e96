import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isSameData } from '../../src/runtime/same-data.ts'

test('plain data is compared by what it says', () => {
  const same: [unknown, unknown][] = [
    [1, 1],
    [Number.NaN, Number.NaN],
    [{ a: [1, { b: 'x' }], c: undefined }, { a: [1, { b: 'x' }] }],
    [new URL('http://a.test'), new URL('http://a.test/')],
    [Buffer.from('key'), Buffer.from('key')],
    [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  ]
  for (const [one, other] of same) assert.ok(isSameData(one, other))
  const different: [unknown, unknown][] = [
    [1, '1'],
    [0, -0],
    [null, {}],
    [null, undefined],
    [[1], [1, 2]],
    [[1], { 0: 1 }],
    [{ a: 1 }, { a: 1, b: 2 }],
    [new URL('http://a.test'), new URL('http://b.test')],
    [new URL('http://a.test'), {}],
    [Buffer.from('key'), Buffer.from('kex')],
  ]
  for (const [one, other] of different) {
    assert.ok(!isSameData(one, other))
    assert.ok(!isSameData(other, one))
  }
})

test('all else is compared by identity', () => {
  class Policy {
    name = 'mine'
  }
  const policy = new Policy()
  assert.ok(isSameData({ policy }, { policy }))
  assert.ok(!isSameData({ policy }, { policy: new Policy() }))
  const pick = (): number => 1
  assert.ok(isSameData({ pick }, { pick }))
  assert.ok(!isSameData({ pick }, { pick: () => 1 }))
})

test('data that goes round in a circle is different, and comes to an end', () => {
  const round = (): object => {
    const made: Record<string, unknown> = {}
    made.self = made
    return made
  }
  assert.ok(!isSameData(round(), round()))
})
