import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { FAULTS } from '../src/model/errors.ts'
import { withOptionTables } from './tools/option-tables.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

function markdownFiles(): string[] {
  const docs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => join('docs', name))
  const kit = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md']
  return [...kit, ...docs].filter((name) => name.endsWith('.md'))
}

test('the option tables are those of the schema', () => {
  const text = readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8')
  assert.equal(text.match(/<!-- options: /g)?.length, text.match(/<!-- end of options -->/g)?.length)
  assert.ok(
    text === withOptionTables(text),
    'docs/configuration.md is out of date; `npm run docs` makes its tables anew',
  )
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

test('files that the documents name exist', () => {
  for (const name of markdownFiles().filter((one) => !/^CHANGELOG|^CONTRIBUTING|decisions/.test(one))) {
    const named = readFileSync(join(ROOT, name), 'utf8').matchAll(/`((?:test|examples|docs)\/[\w./-]+\.\w+)`/g)
    for (const [, path = ''] of named) assert.ok(existsSync(join(ROOT, path)), `${name}: ${path}`)
  }
})

test('links to headings lead to one', () => {
  for (const name of markdownFiles()) {
    for (const [link, target = '', anchor = ''] of readFileSync(join(ROOT, name), 'utf8').matchAll(
      /\]\((?!https?:)([^)#\s]*)#([^)]+)\)/g,
    )) {
      const file = target === '' ? name : join(dirname(name), target)
      assert.ok(anchorsOf(file).includes(anchor), `${name}: ${link}`)
    }
  }
})

/** As GitHub and npm make them of headings; those that come again have a number. */
function anchorsOf(file: string): string[] {
  const seen = new Map<string, number>()
  const text = readFileSync(join(ROOT, file), 'utf8').replace(/^```[\s\S]*?^```$/gm, '')
  return Array.from(text.matchAll(/^#+ (.+)$/gm), ([, heading = '']) => {
    const plain = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
    const count = seen.get(plain) ?? 0
    seen.set(plain, count + 1)
    return count === 0 ? plain : `${plain}-${count}`
  })
}

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

for (const [name, file] of [
  ['ExchangeRecord', 'src/model/record.ts'],
  ['ExchangeView', 'src/model/exchange-view.ts'],
] as const) {
  test(`docs/events-and-errors.md has every field of ${name}, with its type`, () => {
    const document = readFileSync(join(ROOT, 'docs/events-and-errors.md'), 'utf8')
    const [, table = ''] = new RegExp(`^<!-- fields: ${name} -->\\n(.*?)^$`, 'ms').exec(document) ?? []
    const rows = Array.from(
      table.matchAll(/^\| `(\w+)` \| `(.+?)` \|(?: .*?)? \| \S.* \|$/gm),
      ([, field, type = '']) => `${field}: ${type.replaceAll('\\|', '|')}`,
    )
    assert.deepEqual(rows, fieldsOf(readFileSync(join(ROOT, file), 'utf8'), name))
  })
}

/** `name: type` of each property and method of an interface, as it is written. */
function fieldsOf(source: string, name: string): string[] {
  const [, body = ''] = new RegExp(`^export interface ${name} \\{\\n(.*?)^\\}`, 'ms').exec(source) ?? []
  return Array.from(
    body.matchAll(/^ {2}(?:readonly )?(\w+)(\([^)]*\))?\??: (.+)$/gm),
    ([, field, parameters, type]) => `${field}: ${parameters === undefined ? '' : `${parameters} => `}${type}`,
  )
}

test('every export of heddle/testing is explained', async () => {
  const text = readFileSync(join(ROOT, 'docs/testing.md'), 'utf8')
  const missing = Object.keys(await import('heddle/testing')).filter((name) => !text.includes(`\`${name}`))
  assert.deepEqual(missing, [])
})

test('every error code is explained, with the hint of its log lines', () => {
  const document = readFileSync(join(ROOT, 'docs/events-and-errors.md'), 'utf8')
  const rows = document.matchAll(/^\| `(ERR_PROXY_\w+)` \|.*\| ([^|]+) \|$/gm)
  // As plain text: a link within the documents is the name of its file.
  const plain = (text: string) => text.replace(/\[([\w-]+\.md)\]\([^)]*\)/g, 'docs/$1').replaceAll('`', '')
  const explained = Object.fromEntries(Array.from(rows, ([, code, text = '']) => [code, plain(text)]))
  assert.deepEqual(explained, Object.fromEntries(Object.entries(FAULTS).map(([code, { hint }]) => [code, hint])))
})
