import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chaos } from '../soak/chaos.ts'

/** Besides noise, of which there is about a fifth of that. */
const GROWN_BYTES = 2 ** 21

test('3,000 requests and 200 upgrades that go wrong in every way leave nothing behind', async () => {
  const found = await chaos({ requests: 3000, upgrades: 200, concurrency: 32 })
  const { bytes: bytesBefore, ...before } = found.before
  const { bytes: bytesAfter, ...after } = found.after
  assert.deepEqual(after, before)
  assert.deepEqual([after.active, after.pending, after.connections, after.timers], [0, 0, 0, 0])
  assert.equal(found.doubles, 0)
  assert.deepEqual(found.warnings, [])
  for (const kind of ['answered', 'failed', 'truncated', 'aborted', 'upgraded'] as const) {
    assert.ok((found.outcomes[kind] ?? 0) > 20, `${kind}: ${found.outcomes[kind]}`)
  }
  // The carrier of upgrades and the pools remember a last one.
  assert.ok(found.alive <= 5, `${found.alive} of ${found.exchanges} exchanges are still held`)
  assert.ok(bytesAfter - bytesBefore < GROWN_BYTES, `from ${bytesBefore} to ${bytesAfter} bytes`)
})
