import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)

const { exports, typesVersions } = require('heddle/package.json') as {
  exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  typesVersions: { '*': Readonly<Record<string, readonly string[]>> }
}
const paths = Object.keys(exports).filter((path) => typeof exports[path] !== 'string')

test('import and require of the package and its sub-paths get the same objects', async () => {
  // Threads run the worker, and nobody else can.
  for (const path of paths.filter((name) => name !== './worker')) {
    const name = path.replace('.', 'heddle')
    const imported = (await import(name)) as Readonly<Record<string, unknown>>
    const required = require(name) as Readonly<Record<string, unknown>>
    assert.deepEqual(namesOf(required), namesOf(imported), name)
    assert.ok(Object.keys(imported).length > 0, name)
    for (const key of Object.keys(imported)) assert.equal(required[key], imported[key], `${name}: ${key}`)
  }
})

test('the CommonJS build, for loaders that cannot require an ES module, has the same exports', () => {
  for (const path of paths.filter((name) => name !== './worker')) {
    const name = path.replace('.', 'heddle')
    const { require: file } = exports[path] as Readonly<Record<string, string>>
    const built = require(`../../${file}`) as object
    assert.equal(Object.getOwnPropertyDescriptor(built, '__esModule')?.value, true, name)
    assert.deepEqual(namesOf(built), namesOf(require(name) as object), name)
  }
})

test('every sub-path has both builds, in the order that keeps Node to one, and types for moduleResolution node10', () => {
  for (const path of paths) {
    const modules = (exports[path] as Readonly<Record<string, string>>).default ?? ''
    const commonjs = modules.replace('/src/', '/cjs/')
    assert.deepEqual(
      Object.entries(exports[path] ?? {}),
      [
        ['module-sync', modules],
        ['require', commonjs],
        ['default', modules],
      ],
      path,
    )
    if (path === '.') continue
    assert.deepEqual(typesVersions['*'][path.slice(2)], [commonjs.replace(/\.js$/, '.d.ts')], path)
  }
  assert.equal(Object.keys(typesVersions['*']).length, paths.length - 1)
})

test('the JSON Schema of the configuration file is exported', () => {
  const schema = require('heddle/schema.json') as { properties: Record<string, unknown> }
  assert.ok('backends' in schema.properties)
  assert.ok('listen' in schema.properties)
})

test('the declarations need no esModuleInterop', () => {
  const folder = fileURLToPath(new URL('../cjs/', import.meta.url))
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.d.ts'))
  const wrong = files.filter((name) =>
    /^import (?:type )?\w+(?:,| from) .*'node:/m.test(readFileSync(folder + name, 'utf8')),
  )
  assert.ok(files.length > 100)
  assert.deepEqual(wrong, [], "these have `import http from 'node:http'` in place of `import * as http` or names")
})

/** Without the mark that node and esbuild give to a module with a default export. */
function namesOf(module: object): string[] {
  return Object.keys(module)
    .filter((name) => name !== '__esModule')
    .sort()
}
