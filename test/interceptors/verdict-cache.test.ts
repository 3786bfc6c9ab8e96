import assert from 'node:assert/strict'
import { test } from 'node:test'
import { verdictCache } from '../../src/index.ts'

test('a verdict is remembered until it expires', () => {
  const cache = verdictCache<string>(10)
  cache.set('a', 'yes', 100)
  assert.equal(cache.get('a', 99), 'yes')
  assert.equal(cache.get('b', 99), undefined)
  assert.equal(cache.get('a', 100), undefined)
  // It is forgotten, even if time goes back.
  assert.equal(cache.get('a', 99), undefined)
})

test('a verdict is replaced by a later one', () => {
  const cache = verdictCache<string>(1)
  cache.set('a', 'yes', 100)
  cache.set('a', 'no', 200)
  assert.equal(cache.get('a', 150), 'no')
})

test('the verdict that was not asked for longest goes if there is no room', () => {
  const cache = verdictCache<number>(3)
  for (const [i, key] of ['a', 'b', 'c'].entries()) cache.set(key, i, 100)
  assert.equal(cache.get('a', 0), 0)
  cache.set('d', 3, 100)
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((key) => cache.get(key, 0)),
    [0, undefined, 2, 3],
  )
  // Setting it again is a use, too.
  cache.set('a', 4, 100)
  cache.set('e', 5, 100)
  assert.deepEqual(
    ['a', 'c', 'd', 'e'].map((key) => cache.get(key, 0)),
    [4, undefined, 3, 5],
  )
})

test('all is forgotten at once', () => {
  const cache = verdictCache<number>(3)
  cache.set('a', 1, 100)
  cache.clear()
  assert.equal(cache.get('a', 0), undefined)
})

test('a bound that is none is refused', () => {
  for (const wrong of [0, -1, 1.5, Number.NaN, '10', undefined])
    assert.throws(
      () => verdictCache(wrong as number),
      /TypeError: verdictCache: maxEntries is .*; give a whole number from 1 on/,
    )
})
