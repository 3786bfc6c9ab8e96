import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PACKAGE_ROOT } from './support/script.ts'

/** The section that promises something; each of its points ends with the files that hold us to it, as `([test/x.test.ts](test/x.test.ts))`. */
const SECTION = '## What heddle promises'

function promises(text: string): string[] {
  const section = text.split(/^(?=## )/m).find((part) => part.startsWith(`${SECTION}\n`)) ?? ''
  return section
    .split(/\n\n|\n(?=- )/)
    .filter((part) => part.startsWith('- '))
    .map((point) => point.trim().replace(/\s+/g, ' '))
}

/** The files in the parentheses at the end of a point: links, or plain names. */
function filesOf(promise: string): string[] {
  const end = /\(((?:[^()]|\([^()]*\))*)\)\.?$/.exec(promise)?.[1] ?? ''
  return [...new Set(Array.from(end.matchAll(/\btest\/[\w./-]+/g), ([name]) => name))]
}

test('points and the files that they name are found', () => {
  const text = `# S\n\n${SECTION}\n\nA client:\n\n- **One.** Not (test/no.test.ts) here,\n  but there ([test/a.test.ts](test/a.test.ts), \`test/b/c.test.ts\`).\n- **Two.** Nothing.\n- **Three** (test/d.test.ts)\n\nRest.\n\n- no promise\n\n## Other\n\n- nor this\n`
  assert.deepEqual(promises(text).slice(0, 3).map(filesOf), [
    ['test/a.test.ts', 'test/b/c.test.ts'],
    [],
    ['test/d.test.ts'],
  ])
})

const found = promises(readFileSync(join(PACKAGE_ROOT, 'SECURITY.md'), 'utf8'))

test('SECURITY.md promises something', () => assert.ok(found.length >= 8, `${found.length} points below "${SECTION}"`))

for (const promise of found) {
  const name = /\*\*(.+?)\*\*/.exec(promise)?.[1] ?? promise.slice(2, 60)
  test(`SECURITY.md: tests hold us to "${name}"`, () => {
    const files = filesOf(promise)
    assert.ok(files.length > 0, `the point must end with the files that test it: ([test/x.test.ts](test/x.test.ts))`)
    for (const file of files) {
      assert.match(file, /\.test\.ts$/, `${file} is not run with the tests`)
      assert.ok(existsSync(join(PACKAGE_ROOT, file)), `${file} does not exist`)
      assert.match(readFileSync(join(PACKAGE_ROOT, file), 'utf8'), /\btest\(/, `${file} tests nothing`)
    }
  })
}
