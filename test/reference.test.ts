import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { PACKAGE_ROOT } from './support/script.ts'

const json = (name: string) => JSON.parse(readFileSync(`${PACKAGE_ROOT}/${name}`, 'utf8'))

test('the reference has each entry point of the package', () => {
  const exported = new Set(JSON.stringify(json('package.json').exports).match(/(?<=\.\/dist\/)src\/[\w./-]+(?=\.js)/g))
  const written = json('test/reference/typedoc.json').entryPoints.map((path: string) =>
    path.replace(/^(?:\.\.\/)+|\.ts$/g, ''),
  )
  // It exports nothing: threads run it.
  assert.ok(exported.delete('src/worker'))
  assert.deepEqual(written.sort(), [...exported].sort())
})
