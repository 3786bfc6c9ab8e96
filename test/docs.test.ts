import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { FAULTS } from '../src/model/errors.ts'
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
    for (const name of ['README.md', 'docs/configuration.md', 'docs/sticky-sessions.md']) {
      for (const [, text] of readFileSync(join(ROOT, name), 'utf8').matchAll(/```json\n([\s\S]*?)```/g)) {
        const file = join(folder, `${count++}.json`)
        writeFileSync(file, text as string)
        const { status, stderr } = spawnSync(process.execPath, [MAIN, 'check', file], { encoding: 'utf8' })
        assert.equal(status, 0, `${name}: ${stderr}`)
      }
    }
    assert.equal(count, 3)
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

test('the snippets of docs/contracts.md are those that are compiled', () => {
  const compiled = readFileSync(join(ROOT, 'test/snippets/contracts.ts'), 'utf8')
  const snippets = readFileSync(join(ROOT, 'docs/contracts.md'), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)
  let count = 0
  for (const [, snippet = ''] of snippets) {
    assert.ok(compiled.includes(snippet), `test/snippets/contracts.ts has not:\n${snippet}`)
    count++
  }
  assert.ok(count >= 10, `${count} snippets`)
})

test('the affinity of docs/sticky-sessions.md is the one that keeps sessions of socket.io', () => {
  const dedent = (text: string) => text.replace(/^ +/gm, '')
  const text = readFileSync(join(ROOT, 'docs/sticky-sessions.md'), 'utf8')
  const [, snippet = ''] = /```ts\n([\s\S]*?)```/.exec(text) ?? []
  assert.match(snippet, /const sticky: Affinity/)
  assert.ok(dedent(readFileSync(join(ROOT, 'test/snippets/sticky-sessions.ts'), 'utf8')).includes(dedent(snippet)))
})

test('the interceptors of docs/interceptors.md are those of the example that runs', () => {
  const example = readFileSync(join(ROOT, 'examples/interceptors.ts'), 'utf8')
  const text = readFileSync(join(ROOT, 'docs/interceptors.md'), 'utf8')
  const snippets = Array.from(text.matchAll(/```ts\n([\s\S]*?)```/g), ([, snippet = '']) => snippet)
  const interceptors = snippets.filter((snippet) => snippet.includes(': Interceptor = {'))
  assert.equal(interceptors.length, 5)
  for (const snippet of interceptors) assert.ok(example.includes(snippet), snippet)
})

test('the changes of bodies in docs/interceptors.md are those of the example that runs', () => {
  const example = readFileSync(join(ROOT, 'examples/interceptors-bodies.ts'), 'utf8')
  const text = readFileSync(join(ROOT, 'docs/interceptors.md'), 'utf8')
  const snippets = Array.from(text.matchAll(/```ts\n([\s\S]*?)```/g), ([, snippet = '']) => snippet)
  const shown = snippets.filter((snippet) => /^const \w+ = (?:responseBody|bufferedBody)\(/.test(snippet))
  assert.equal(shown.length, 2)
  for (const snippet of shown) assert.ok(example.includes(snippet), snippet)
})

test('the built-in interceptors of docs/interceptors.md are those of the example that runs', () => {
  const example = readFileSync(join(ROOT, 'examples/interceptors-rewrites.ts'), 'utf8')
  const text = readFileSync(join(ROOT, 'docs/interceptors.md'), 'utf8')
  const snippets = Array.from(text.matchAll(/```ts\n([\s\S]*?)```/g), ([, snippet = '']) => snippet)
  const builtIn = /^const \w+ = (?:rewriteLocation|rewriteCookies|followRedirects|errorPage)\(/
  const shown = snippets.filter((snippet) => builtIn.test(snippet))
  assert.equal(shown.length, 5)
  for (const snippet of shown) assert.ok(example.includes(snippet), snippet)
})

test('the guards of docs/interceptors.md are those of the example that runs', () => {
  const example = readFileSync(join(ROOT, 'examples/interceptors-guards.ts'), 'utf8')
  const text = readFileSync(join(ROOT, 'docs/interceptors.md'), 'utf8')
  const section = /^## Guards\n(.*?)^## /ms.exec(text)?.[1] ?? ''
  const snippets = Array.from(section.matchAll(/```ts\n([\s\S]*?)```/g), ([, snippet = '']) => snippet)
  assert.equal(snippets.length, 5)
  for (const snippet of snippets) assert.ok(example.includes(snippet), snippet)
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

test('what the documents import from heddle exists', async () => {
  let count = 0
  for (const name of markdownFiles()) {
    const imports = readFileSync(join(ROOT, name), 'utf8').matchAll(/^import \{([^}]*)\} from '(heddle[^']*)'/gm)
    for (const [line, names = '', path = ''] of imports) {
      const exported = (await import(path)) as object
      const values = names.split(',').map((one) => one.trim())
      for (const value of values.filter((one) => one !== '' && !one.startsWith('type '))) {
        assert.ok(value in exported, `${name}: ${line} (${value})`)
        count++
      }
    }
  }
  assert.ok(count > 10, `${count} names`)
})

test('"Life of a request" names the files that exist, and every file of src/exchange', () => {
  const { text } = lifeOfARequest()
  const named = Array.from(text.matchAll(/`([\w-]+\/[\w./-]+\.ts)`/g), ([, file = '']) => file)
  const missing = named.filter((file) => !existsSync(join(ROOT, 'src', file)))
  const unnamed = readdirSync(join(ROOT, 'src/exchange')).filter((file) => !named.includes(`exchange/${file}`))
  assert.deepEqual({ missing, unnamed }, { missing: [], unnamed: [] })
})

test('"Life of a request" has the steps of src/exchange, in their order', () => {
  const { graph, steps } = lifeOfARequest()
  const source = readFileSync(join(ROOT, 'src/exchange/exchange.ts'), 'utf8')
  // The graph in the comment of the class.
  const [drawn = ''] = / {5}1 accept -> .*$/m.exec(source) ?? []
  const order = Array.from(drawn.matchAll(/(\d) (\w+)/g), ([step]) => step)
  assert.ok(order.length > 0)
  assert.deepEqual(
    Array.from(graph.matchAll(/^[ |.'>-]*(\d) ([a-z]+) +<?-/gm), ([, number, name]) => `${number} ${name}`),
    order,
  )
  assert.deepEqual(
    steps.map(({ step }) => step),
    order,
  )
})

test('each step of src/exchange is in a file that "Life of a request" names for it', () => {
  const { steps } = lifeOfARequest()
  const found = new Set<string>()
  for (const file of readdirSync(join(ROOT, 'src/exchange'))) {
    const source = readFileSync(join(ROOT, 'src/exchange', file), 'utf8')
    for (const [, line = '', doc = ''] of source.matchAll(/^ *(?:\/\/ (\d \w+)$|\/\*\* (\d \w+):)/gm)) {
      const step = line || doc
      const text = steps.find((one) => one.step === step)?.text ?? ''
      assert.ok(
        text.includes(`\`exchange/${file}\``),
        `docs/architecture.md does not say that ${step} is in exchange/${file}`,
      )
      found.add(step)
    }
  }
  assert.deepEqual(
    [...found].sort(),
    steps.map(({ step }) => step),
  )
})

/** The section, its graph, and its numbered list. */
function lifeOfARequest(): { text: string; graph: string; steps: { step: string; text: string }[] } {
  const document = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')
  const text = /^## Life of a request\n(.*?)^## /ms.exec(document)?.[1] ?? ''
  const graph = /^```\n(.*?)^```$/ms.exec(text)?.[1] ?? ''
  const items = text.split(/^(?=\d\. \*\*)/m).slice(1)
  const steps = items.map((item) => ({ step: item.replace(/^(\d)\. \*\*(\w+)\*\*.*$/s, '$1 $2'), text: item }))
  return { text, graph, steps }
}

test('every error code is explained, with the hint of its log lines', () => {
  const document = readFileSync(join(ROOT, 'docs/events-and-errors.md'), 'utf8')
  const rows = document.matchAll(/^\| `(ERR_PROXY_\w+)` \|.*\| ([^|]+) \|$/gm)
  // As plain text: a link within the documents is the name of its file.
  const plain = (text: string) => text.replace(/\[([\w-]+\.md)\]\([^)]*\)/g, 'docs/$1').replaceAll('`', '')
  const explained = Object.fromEntries(Array.from(rows, ([, code, text = '']) => [code, plain(text)]))
  assert.deepEqual(explained, Object.fromEntries(Object.entries(FAULTS).map(([code, { hint }]) => [code, hint])))
})
