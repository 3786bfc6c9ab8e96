import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse as parseYaml } from 'yaml'
import { type Block, blocksOf, documents, hasLines } from './support/blocks.ts'
import { certificate, key } from './support/certificates.ts'
import { PACKAGE_ROOT } from './support/script.ts'

/*
 * Every block of code in the documents is checked, by its language:
 * - js, ts: a file that is compiled has it, line for line, and is what surrounds it: one of test/snippets, examples or
 *   test/contributing. A comment before it says that it is complete, and is run instead:
 *   `<!-- test -->`, `<!-- test: vitest -->` and `<!-- test: jest -->` by test/document-scripts.test.ts, `<!-- config: NAME -->`, the
 *   configuration that other blocks of the document refer to, by test/deployment.test.ts.
 * - json, yaml: it can be parsed; a configuration of heddle is also given to `heddle check`.
 * - sh: bash can parse it.
 * - dockerfile, ini, nginx: test/deployment.test.ts uses it.
 * - text, or none: nothing to check.
 */
const BLOCKS = documents().flatMap(blocksOf)
const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url))

const CHECKS: Readonly<Record<string, ((block: Block) => void) | null>> = {
  js: isCompiled,
  ts: isCompiled,
  json: (block) => isConfiguration(block, JSON.parse(block.text)),
  yaml: (block) => isConfiguration(block, parseYaml(block.text, { strict: true, uniqueKeys: true })),
  sh(block) {
    const { status, stderr } = spawnSync('bash', ['-n'], { input: block.text, encoding: 'utf8' })
    assert.equal(status, 0, `${block.where}: ${stderr}`)
  },
  dockerfile: null,
  ini: null,
  nginx: null,
  text: null,
  '': null,
}

for (const file of documents()) {
  test(`the code in ${file} is right`, () => {
    for (const block of BLOCKS.filter((one) => one.file === file)) {
      const check = CHECKS[block.language]
      assert.notEqual(
        check,
        undefined,
        `${block.where}: say in test/documents.test.ts how '${block.language}' is checked`,
      )
      try {
        check?.(block)
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error
        assert.fail(`${block.where}: ${error}`)
      }
    }
  })
}

const COMPILED = ['test/snippets', 'test/contributing', 'examples'].flatMap((folder) =>
  readdirSync(join(PACKAGE_ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(PACKAGE_ROOT, folder, name), 'utf8')),
)

function isCompiled(block: Block): void {
  if (block.comment !== '') return
  // Imports stand elsewhere in the file; the test below looks for their names.
  const text = block.text.replace(/^import .*\n+/gm, '')
  assert.ok(
    COMPILED.some((file) => hasLines(file, text)),
    `${block.where}: no compiled file has this block. Add it to test/snippets/fragments.ts:\n${text}`,
  )
}

const KEYS_OF_CONFIGURATIONS = ['$schema', 'backends', 'target', 'groups', 'routes']

/** The files in `certs/` that configurations name. */
const PEM_FILES = { 'site.pem': certificate, 'site-key.pem': key, 'internal-ca.pem': certificate }

function isConfiguration(block: Block, value: object): void {
  if (!KEYS_OF_CONFIGURATIONS.some((key) => key in value)) return
  const folder = mkdtempSync(join(tmpdir(), 'heddle-docs-'))
  try {
    const file = join(folder, `heddle.config.${block.language}`)
    writeFileSync(file, block.text)
    mkdirSync(join(folder, 'certs'))
    for (const [name, text] of Object.entries(PEM_FILES)) writeFileSync(join(folder, 'certs', name), text)
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'check', file], { encoding: 'utf8' })
    assert.equal(status, 0, `${block.where}: ${stderr}`)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('the comments before blocks are known ones', () => {
  const known = [
    '',
    'test',
    'test: vitest',
    'test: jest',
    'test: jest in CommonJS',
    'config: jest',
    'config: production',
    'config: nginx',
  ]
  for (const { where, comment } of BLOCKS) assert.ok(known.includes(comment), `${where}: <!-- ${comment} -->`)
})

test('what the documents import from heddle exists', async () => {
  let count = 0
  for (const { where, text } of BLOCKS) {
    for (const [line, names = '', path = ''] of text.matchAll(/^import \{([^}]*)\} from '(heddle[^']*)'/gm)) {
      const exported = (await import(path)) as object
      const values = names.split(',').map((one) => one.trim())
      for (const value of values.filter((one) => one !== '' && !one.startsWith('type '))) {
        assert.ok(value in exported, `${where}: ${line} (${value})`)
        count++
      }
    }
  }
  assert.ok(count > 10, `${count} names`)
})
