import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { withOptionTables } from './tools/option-tables.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url))

function markdownFiles(): string[] {
  const docs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => join('docs', name))
  const kit = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md']
  return [...kit, ...docs].filter((name) => name.endsWith('.md'))
}

test('the configuration files in the documents are right', () => {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-docs-'))
  try {
    let count = 0
    for (const name of ['README.md', 'docs/configuration.md']) {
      for (const [, text] of readFileSync(join(ROOT, name), 'utf8').matchAll(/```json\n([\s\S]*?)```/g)) {
        const file = join(folder, `${count++}.json`)
        writeFileSync(file, text as string)
        const { status, stderr } = spawnSync(process.execPath, [MAIN, 'check', file], { encoding: 'utf8' })
        assert.equal(status, 0, `${name}: ${stderr}`)
      }
    }
    assert.equal(count, 2)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the option tables are those of the schema', () => {
  const text = readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8')
  assert.equal(text.match(/<!-- options: /g)?.length, text.match(/<!-- end of options -->/g)?.length)
  assert.ok(
    text === withOptionTables(text),
    'docs/configuration.md is out of date; `npm run docs` makes its tables anew',
  )
})

test('the example of CONTRIBUTING.md is the one that is tested', () => {
  const snippets = readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)
  // The example has files of its own, in a folder of its own: only what its imports are relative to is another.
  const name = (line: string) => line.replace(/^(import .* from ')(?:.*\/)(.*)$/, '$1$2')
  const lines = (text: string) => text.split('\n').map(name).sort()
  const files = ['fill-up.ts', 'fill-up.test.ts'].map((file) =>
    readFileSync(join(ROOT, 'test/contributing', file), 'utf8'),
  )
  assert.deepEqual(
    Array.from(snippets, ([, text = '']) => lines(text)),
    files.map(lines),
  )
})

test('the interceptors of docs/interceptors.md are those of the example that runs', () => {
  const example = readFileSync(join(ROOT, 'examples/interceptors.ts'), 'utf8')
  const text = readFileSync(join(ROOT, 'docs/interceptors.md'), 'utf8')
  const snippets = Array.from(text.matchAll(/```ts\n([\s\S]*?)```/g), ([, snippet = '']) => snippet)
  const interceptors = snippets.filter((snippet) => snippet.includes(': Interceptor = {'))
  assert.equal(interceptors.length, 6)
  for (const snippet of interceptors) assert.ok(example.includes(snippet), snippet)
})

test('every script that CONTRIBUTING.md names exists', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const named = readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8').matchAll(/npm run ([\w:]+)/g)
  for (const [, script = ''] of named) assert.ok(script in scripts, script)
})

test('links between the documents lead somewhere', () => {
  for (const name of markdownFiles()) {
    for (const [, target] of readFileSync(join(ROOT, name), 'utf8').matchAll(
      /\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)/g,
    )) {
      const path = join(ROOT, dirname(name), target as string)
      assert.ok(existsSync(path), `${name}: ${target}`)
    }
  }
})

test('every error code is explained', () => {
  const table = readFileSync(join(ROOT, 'docs/events-and-errors.md'), 'utf8')
  const codes = readFileSync(join(ROOT, 'src/model/errors.ts'), 'utf8').matchAll(/^ {2}(ERR_PROXY_\w+): \{/gm)
  const missing = Array.from(codes, ([, code]) => code as string).filter((code) => !table.includes(`\`${code}\``))
  assert.deepEqual(missing, [])
})
