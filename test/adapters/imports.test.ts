import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const folder = new URL('../../src/adapters/', import.meta.url)

function importsOf(file: string): string[] {
  const code = readFileSync(new URL(file, folder), 'utf8')
  return Array.from(code.matchAll(/\b(?:from|import|require)\b[\s(]*(['"])(.+?)\1/g), (found) => found[2] ?? '')
}

for (const file of readdirSync(folder).filter((name) => name.endsWith('.js'))) {
  test(`the compiled adapters/${file} runs without any framework installed`, () => {
    assert.deepEqual(
      importsOf(file).filter((name) => !/^(?:\.\/[\w-]+\.js|\.\.\/index\.js|node:\w+|tslib)$/.test(name)),
      [],
    )
  })
}

test('imports of compiled adapters are found', () => {
  for (const file of ['express.js', 'fastify.js', 'hono.js', 'koa.js', 'jwt.js', 'vite.js'])
    assert.ok(importsOf(file).length > 0, file)
})
