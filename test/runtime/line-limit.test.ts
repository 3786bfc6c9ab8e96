import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LineLimit } from '../../src/runtime/line-limit.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'

test('ten lines a second of a kind, a hundred of all kinds; the next line says how many were refused', () => {
  const clock = manualClock()
  const limit = new LineLimit(clock)
  const taken = (kinds: number, ofEach: number): number => {
    let lines = 0
    for (let kind = 0; kind < kinds; kind++) {
      for (let line = 0; line < ofEach; line++) if (limit.take(`kind ${kind}`) !== null) lines++
    }
    return lines
  }
  assert.equal(taken(2, 15), 20)
  assert.equal(taken(20, 15), 80)
  clock.advance(999)
  assert.equal(limit.take('another'), null)
  clock.advance(1)
  assert.equal(limit.take('another'), 5 + 150 + 1)
  assert.equal(limit.take('another'), 0)
})
