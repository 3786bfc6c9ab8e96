import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveOptions } from '../../src/config/resolve.ts'
import { workerThreads } from '../../src/index.ts'

const target = 'http://127.0.0.1:3000'

const RENAMED: readonly (readonly [path: string, options: object, name: string])[] = [
  ['closeGraceMs', { target, closeGraceMs: 1 }, 'drainTimeoutMs'],
  ['retry.attempts', { target, retry: { attempts: 1 } }, 'maxRetries'],
  ['limits.minBodyRate', { target, limits: { minBodyRate: 1 } }, 'minBodyBytesPerSecond'],
  ['limits.minReadRate', { target, limits: { minReadRate: 1 } }, 'minReadBytesPerSecond'],
]

for (const [path, options, name] of RENAMED) {
  test(`${path} is rejected with a hint to ${name}`, () => {
    const expected = new RegExp(`${path.replace('.', '\\.')} is unknown; did you mean ${name}\\?`)
    assert.throws(() => resolveOptions(options), expected)
  })
}

test('drainMs of workerThreads() is rejected with a hint', () => {
  assert.throws(() => workerThreads({ drainMs: 1 } as object), /drainMs is unknown; did you mean drainTimeoutMs\?/)
})
