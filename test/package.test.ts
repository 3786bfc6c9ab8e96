import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'

const require = createRequire(import.meta.url)

test('the package and its sub-paths can be imported and required', async () => {
  for (const path of ['heddle', 'heddle/express', 'heddle/jwt', 'heddle/koa', 'heddle/middleware', 'heddle/testing']) {
    const imported = await import(path)
    const required = require(path)
    assert.deepEqual(Object.keys(required).sort(), Object.keys(imported).sort(), path)
    assert.ok(Object.keys(imported).length > 0, path)
  }
  const { createProxy } = require('heddle') as typeof import('../src/index.ts')
  assert.equal(typeof createProxy, 'function')
})

test('the JSON Schema of the configuration file is exported', () => {
  const schema = require('heddle/schema.json') as { properties: Record<string, unknown> }
  assert.ok('backends' in schema.properties)
  assert.ok('listen' in schema.properties)
})
