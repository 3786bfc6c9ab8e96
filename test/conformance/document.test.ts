import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PACKAGE_ROOT } from '../support/script.ts'

/** The sections of the document by the file that they name, each with the tests in the last column of its tables. */
function documented(): Map<string, string[]> {
  const text = readFileSync(join(PACKAGE_ROOT, 'docs/http-conformance.md'), 'utf8')
  const sections = new Map<string, string[]>()
  for (const section of text.split(/^## /m).slice(1)) {
    const file = /`(test\/\S+)`/.exec(section)?.[1] ?? ''
    const rows = Array.from(section.matchAll(/^\|.*\|([^|]+)\|$/gm), ([, tests]) => tests as string)
    sections.set(
      file,
      rows.flatMap((tests) => Array.from(tests.matchAll(/`([^`]+)`/g), ([, name]) => name as string)),
    )
  }
  return sections
}

/** The names of a file's tests, in a table or alone. */
function tested(file: string): string[] {
  const source = readFileSync(join(PACKAGE_ROOT, file), 'utf8')
  return Array.from(source.matchAll(/(?:\brule: |\btest\(\s*)(['"])(.*?)\1/g), ([, , name]) => name as string)
}

for (const [file, names] of documented()) {
  test(`docs/http-conformance.md and ${file} speak of the same`, () => {
    const found = tested(file)
    assert.ok(names.length > 0)
    assert.deepEqual(
      names.filter((name) => !found.includes(name)),
      [],
      'documented, not tested',
    )
    if (!file.startsWith('test/conformance/')) return
    assert.deepEqual(
      found.filter((name) => !names.includes(name)),
      [],
      'tested, not documented',
    )
  })
}
