import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const folder = new URL('../../src/adapters/', import.meta.url)

for (const file of readdirSync(folder).filter((name) => name.endsWith('.js'))) {
  test(`the compiled adapters/${file} runs without any framework installed`, () => {
    const code = readFileSync(new URL(file, folder), 'utf8')
    const imports = Array.from(
      code.matchAll(/\b(?:from|import|require)\b[\s(]*(['"])(.+?)\1/g),
      (found) => found[2] ?? '',
    )
    assert.ok(imports.length > 0)
    assert.deepEqual(
      imports.filter((name) => !/^(?:\.\/[\w-]+\.js|\.\.\/index\.js|node:\w+|tslib)$/.test(name)),
      [],
    )
  })
}
