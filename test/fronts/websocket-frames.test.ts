import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FrameFollower } from '../../src/fronts/tunnel/websocket-frames.ts'

function frame(length: number, isMasked: boolean): Buffer {
  const mask = isMasked ? 0x80 : 0
  const head =
    length < 126
      ? Buffer.from([0x82, mask | length])
      : length < 65_536
        ? Buffer.from([0x82, mask | 126, length >> 8, length & 255])
        : Buffer.from([0x82, mask | 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 255, length & 255])
  return Buffer.concat([head, Buffer.alloc((isMasked ? 4 : 0) + length, 0x88)])
}

test('FrameFollower is between frames exactly where one ends, wherever the bytes are divided', () => {
  const lengths = fc.oneof(fc.nat(300), fc.constantFrom(0, 125, 126, 127, 65_535, 65_536, 70_000))
  fc.assert(
    fc.property(
      fc.array(fc.tuple(lengths, fc.boolean()), { maxLength: 5 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      (frames, cuts) => {
        const ends = new Set([0])
        const parts = frames.map(([length, isMasked]) => frame(length, isMasked))
        const all = Buffer.concat(parts)
        let end = 0
        for (const part of parts) {
          end += part.length
          ends.add(end)
        }
        const at = [...cuts.map((cut) => cut % (all.length + 1)), ...ends].sort((a, b) => a - b)
        const follower = new FrameFollower()
        let from = 0
        for (const to of at) {
          follower.follow(all.subarray(from, to))
          assert.equal(follower.isBetweenFrames, ends.has(to), `at ${to} of ${all.length}`)
          from = to
        }
      },
    ),
  )
})
