import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResetStreams } from '../../src/http2/reset-streams.ts'

test('a stream may bring what was on its way, and no more, however much comes', () => {
  const reset = new ResetStreams(4)
  reset.add(1, 10)
  assert.equal(reset.take(1, 10), 'late')
  for (let i = 0; i < 4; i++) assert.equal(reset.take(1, 2 ** 30), 'too late')
  assert.equal(reset.take(3, 1), 'not reset')
})

test('frames that count nothing are too late', () => {
  const reset = new ResetStreams(4)
  reset.add(1, 10)
  assert.equal(reset.take(1, 0), 'too late')
  assert.equal(reset.take(1, 10), 'late')
})

test('the oldest are forgotten', () => {
  const reset = new ResetStreams(2)
  for (const id of [1, 3, 5]) reset.add(id, 10)
  assert.deepEqual(
    [1, 3, 5].map((id) => reset.take(id, 1)),
    ['not reset', 'late', 'late'],
  )
})
