import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkWhole, withDefaults } from '../../src/interceptors/option-checks.ts'

test('an option that is missing or undefined has its default; one that is false, 0 or null has not', () => {
  const defaults = { a: 1 as unknown, b: 2 as unknown, c: 3 as unknown, d: 4 as unknown }
  const options: { a?: unknown; b?: unknown; c?: unknown; d?: unknown; e?: string } = {
    a: undefined,
    c: 0,
    d: null,
    e: 'x',
  }
  assert.deepEqual(withDefaults('test', options, defaults, ['e']), { a: 1, b: 2, c: 0, d: null, e: 'x' })
  assert.deepEqual(defaults, { a: 1, b: 2, c: 3, d: 4 })
  const wrong = { ...options, f: 1 }
  assert.throws(
    () => withDefaults('test', wrong, defaults, ['e']),
    /^TypeError: test: there is no option f; allowed: e, a/,
  )
})

test('a whole number has its bounds', () => {
  const allowed = { least: 1, most: 9, example: 6 }
  for (const value of [1, 9]) checkWhole('test', 'level', value, allowed)
  for (const value of [0, 10, 1.5, '6', Number.NaN, undefined]) {
    assert.throws(
      () => checkWhole('test', 'level', value, allowed),
      /level is .*; give a whole number from 1 to 9, such as 6$/,
    )
  }
})
