import assert from 'node:assert/strict'
import { test } from 'node:test'
import { borrowBuffer, returnBuffer } from '../../src/http2/frame-writer.ts'

test('buffers are used again, but not kept without bound', () => {
  const many = Array.from({ length: 200 }, () => borrowBuffer(1))
  for (const buffer of many) returnBuffer(buffer)
  const known = new Set(many)
  const again = Array.from({ length: 200 }, () => borrowBuffer(1)).filter((buffer) => known.has(buffer))
  assert.equal(again.length, 64)
  returnBuffer(Buffer.alloc(100_000))
  assert.notEqual(borrowBuffer(1).length, 100_000)
})
