import assert from 'node:assert/strict'
import { test } from 'node:test'
import { differenceOf } from '../../src/runtime/span.ts'

for (const [before, after, start, end, endBefore] of [
  ['abc', 'abc', 3, 3, 3],
  ['abc', 'axc', 1, 2, 2],
  ['abc', 'xabc', 0, 1, 0],
  ['abc', 'bc', 0, 0, 1],
  ['abc', 'abcx', 3, 4, 3],
  ['aaa', 'aa', 2, 2, 3],
  ['aa', 'aaa', 2, 3, 2],
  ['abc', 'cba', 0, 3, 3],
  ['', 'ab', 0, 2, 0],
  ['ab', '', 0, 0, 2],
] as const) {
  test(`"${before}" and "${after}" differ in ${end - start} of the latter`, () => {
    const span = differenceOf([...before], [...after], (one, other) => one === other)
    assert.deepEqual(span, { start, end, endBefore })
    assert.equal(before.slice(0, start) + after.slice(start, end) + before.slice(endBefore), after)
  })
}
