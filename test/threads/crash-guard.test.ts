import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CrashGuard } from '../../src/threads/crash-guard.ts'

test('the first replacement is immediate, later ones wait up to five seconds', () => {
  const guard = new CrashGuard(100)
  const waits = Array.from({ length: 10 }, (_, i) => guard.onDeath(i * 1000, 10))
  assert.deepEqual(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000])
})

test('maxCrashes deaths in a row are a loop', () => {
  const guard = new CrashGuard(3)
  assert.deepEqual([guard.onDeath(0, 0), guard.onDeath(1, 9999), guard.onDeath(2, 0)], [0, 100, -1])
  assert.equal(guard.onDeath(3, 0), -1)
  assert.equal(new CrashGuard(1).onDeath(0, 0), -1)
})

test('a death after ten seconds of service resets the count', () => {
  const guard = new CrashGuard(3)
  for (let i = 0; i < 5; i++) assert.deepEqual([guard.onDeath(i, 10_000), guard.onDeath(i, 0)], [0, 100])
})

test('reset() forgets earlier deaths', () => {
  const guard = new CrashGuard(2)
  assert.equal(guard.onDeath(0, 0), 0)
  guard.reset()
  assert.deepEqual([guard.onDeath(1, 0), guard.onDeath(2, 0)], [0, -1])
})

test('a thread that never served has served for no time', () => {
  const guard = new CrashGuard(2)
  assert.deepEqual([guard.onDeath(0, -Infinity), guard.onDeath(0, -Infinity)], [0, -1])
})

test('deaths a minute apart are not a loop', () => {
  const guard = new CrashGuard(2)
  assert.deepEqual([guard.onDeath(0, 1), guard.onDeath(60_000, 1), guard.onDeath(119_999, 1)], [0, 0, -1])
})
