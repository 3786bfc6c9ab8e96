// The packed package, installed by npm in projects outside the repository: `npm run test:package`.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { away, folderWith, node, ROOT, run, runWith, scratchProjects, start, tool, write } from './scratch.js'

/** What fixtures/app prints. */
const WORKS = { request: 'backend /a', upgrade: 'hello', threads: 'backend /b 2', dropIns: 'object function' }
const WITHOUT_WORKER = /^threads cannot start: .*build 'heddle\/worker' as a second entry/

let today
let oldest
let remove

before(async () => {
  ;({ today, oldest, remove } = await scratchProjects())
})
after(() => remove?.())

/** A folder with fixtures/app.mjs, and the same as app.cjs. */
function folderWithApp() {
  const folder = folderWith(today, ['app.mjs'])
  const text = readFileSync(join(folder, 'app.mjs'), 'utf8')
  write(join(folder, 'app.cjs'), text.replaceAll(/^import (.+) from (.+)$/gm, 'const $1 = require($2)'))
  return folder
}

describe('node', () => {
  for (const name of ['app.mjs', 'app.cjs']) {
    test(`runs ${name}, threads included`, async () => {
      assert.deepEqual(JSON.parse(await node(folderWithApp(), name)), WORKS)
    })
  }

  test('has the CommonJS build if it cannot require ES modules', async () => {
    const folder = folderWithApp()
    assert.deepEqual(JSON.parse(await node(folder, '--no-experimental-require-module', 'app.cjs')), WORKS)
  })

  test('finds every export', async () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    const names = Object.keys(exports).map((path) => path.replace('.', 'heddle'))
    const script = `for (const name of ${JSON.stringify(names)}) require('node:fs').statSync(require.resolve(name))`
    await node(today, '--eval', script)
    await node(today, '--no-experimental-require-module', '--eval', script)
  })

  test('runs the command', async () => {
    assert.match(await tool(today, 'heddle/dist/src/cli/main.js', '--version'), /^\d+\.\d+\.\d+/)
  })
})

const STRICT = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--types', 'node', '--target', 'es2022']

describe('TypeScript', () => {
  const compilers = [
    ['5.0', () => oldest, 'typescript'],
    ['5', () => today, 'typescript'],
    ['7', () => today, 'typescript7'],
  ]
  /** The extension of a file decides what it is. There is no `esModuleInterop`: declarations must do without. */
  const ways = [
    ['node16', ['esm.mts', 'common.cts'], ['--module', 'node16']],
    ['nodenext', ['esm.mts', 'common.cts'], ['--module', 'nodenext']],
    ['bundler', ['plain.ts'], ['--module', 'esnext', '--moduleResolution', 'bundler']],
    // TypeScript 7 does not have it any more.
    ['node10', ['plain.ts'], ['--module', 'commonjs', '--moduleResolution', 'node']],
  ]
  for (const [version, project, compiler] of compilers) {
    for (const [way, names, options] of ways.filter(([name]) => version !== '7' || name !== 'node10')) {
      test(`${version} compiles with the module resolution ${way}`, async () => {
        const folder = folderWith(
          project(),
          names.map((name) => ['types.ts', name]),
        )
        const files = names.map((name) => join(folder, name))
        await tool(project(), `${compiler}/bin/tsc`, ...STRICT, ...options, ...files)
      })
    }
  }
})

/** What a bundle must do, whoever has made it. @param bundle makes it, of these entries, and returns its folder. */
function bundles(extension, bundle) {
  test('a bundle starts, and its threads with the worker as a second entry', async () => {
    const out = away(await bundle(folderWith(today, ['app.mjs']), ['./app.mjs', 'heddle/worker']))
    assert.deepEqual(JSON.parse(await node(out, `app${extension}`, `./worker${extension}`)), WORKS)
  })

  test('without the worker a bundle starts all the same, and says what threads need', async () => {
    const out = away(await bundle(folderWith(today, ['app.mjs']), ['./app.mjs']))
    const { threads, ...others } = JSON.parse(await node(out, `app${extension}`))
    assert.match(threads, WITHOUT_WORKER)
    assert.deepEqual({ ...others, threads: WORKS.threads }, WORKS)
  })

  test('threads run a module that was bundled, too', async () => {
    const folder = folderWith(today, ['main.mjs', 'server.mjs'])
    const out = away(await bundle(folder, ['./main.mjs', './server.mjs', 'heddle/worker']))
    const names = ['main', 'server', 'worker'].map((name) => `./${name}${extension}`)
    assert.deepEqual(JSON.parse(await node(out, ...names)), { before: '0 backends', after: '1 backends' })
  })
}

const nameOf = (entry) => /(\w+)(?:\.mjs)?$/.exec(entry)[1]

describe('esbuild', () => {
  /** An ES module that contains CommonJS (http-proxy-3) has a `require` only if it makes one. */
  const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
  const formats = [
    ['esm', '.mjs', [`--banner:js=${REQUIRE}`]],
    ['cjs', '.cjs', []],
  ]
  for (const [format, extension, options] of formats) {
    describe(format, () => {
      bundles(extension, async (folder, entries) => {
        const flags = ['--bundle', '--platform=node', '--outdir=out', `--format=${format}`, ...options]
        const named = entries.map((entry) => `${nameOf(entry)}=${entry}`)
        await run(
          join(today, 'node_modules/esbuild/bin/esbuild'),
          folder,
          ...flags,
          `--out-extension:.js=${extension}`,
          ...named,
        )
        return join(folder, 'out')
      })
    })
  }
})

describe('Rollup', () => {
  bundles('.mjs', async (folder, entries) => {
    const input = Object.fromEntries(entries.map((entry) => [nameOf(entry), entry]))
    write(
      join(folder, 'rollup.config.mjs'),
      `import commonjs from '@rollup/plugin-commonjs'
import json from '@rollup/plugin-json'
import resolve from '@rollup/plugin-node-resolve'
export default {
  input: ${JSON.stringify(input)},
  output: { dir: 'out', format: 'es', entryFileNames: '[name].mjs' },
  plugins: [resolve({ preferBuiltins: true }), commonjs(), json()],
}`,
    )
    await node(folder, join(today, 'node_modules/rollup/dist/bin/rollup'), '--config', '--failAfterWarnings')
    return join(folder, 'out')
  })
})

describe('test runners', () => {
  const jest = (folder) => node(folder, join(today, 'node_modules/jest/bin/jest.js'), '--rootDir', '.', '--ci')

  test('jest with its defaults', async () => {
    const folder = folderWith(today, [['jest.test.js', 'common.test.js']])
    write(join(folder, 'package.json'), '{}')
    await jest(folder)
  })

  test('jest through Babel', async () => {
    const folder = folderWith(today, [['runner.test.mjs', 'babel.test.js']])
    write(join(folder, 'package.json'), '{}')
    write(join(folder, 'babel.config.json'), '{ "plugins": ["@babel/plugin-transform-modules-commonjs"] }')
    await jest(folder)
  })

  test('vitest', async () => {
    const folder = folderWith(today, [['runner.test.mjs', 'vitest.test.mjs']])
    write(join(folder, 'vitest.config.mjs'), 'export default { test: { globals: true } }')
    await node(folder, join(today, 'node_modules/vitest/vitest.mjs'), 'run', '--root', folder)
  })
})

/** Examples that a plain GET says nothing about, and their parts. They are compiled here, and run by test/examples.test.ts. */
const NOT_ASKED = new Set(
  [
    ['threads-with-express', 'server.ts'],
    ['https-two-names', 'certificates.ts'],
    ['https-two-names', 'main.ts'],
    ['acme', 'main.ts'],
    ['grpc', 'main.ts'],
  ].map((parts) => join(...parts)),
)

describe('examples', () => {
  const names = readdirSync(join(ROOT, 'examples'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  let folder

  before(async () => {
    folder = folderWith(today, [['../../../examples', 'examples']])
    write(join(folder, 'package.json'), '{ "type": "module" }')
    const options = [
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--types',
      'node',
      '--skipLibCheck',
      '--rewriteRelativeImportExtensions',
      '--outDir',
      'out',
    ]
    const files = names.map((name) => join('examples', name))
    await node(folder, join(today, 'node_modules/typescript7/bin/tsc'), ...options, ...files)
  })

  for (const name of names) {
    const script = join('out', name.replace(/\.ts$/, '.js'))
    if (name.endsWith('.test.ts')) {
      test(`${name} passes`, async () => {
        await node(folder, '--test', script)
      })
    } else if (!NOT_ASKED.has(name)) {
      test(`${name} listens, and ends as it should`, async () => {
        const { url, stop } = start(folder, script)
        await (await fetch(await url, { headers: { connection: 'close' } })).text()
        const { code, output } = await stop()
        assert.equal(code, 0, output)
      })
    }
  }
})

describe('documents', () => {
  test('their code compiles', async () => {
    // Each block of the documents is in one of these files; test/documents.test.ts sees to that.
    const all = readdirSync(join(ROOT, 'test/snippets'), { recursive: true, encoding: 'utf8' })
    const snippets = all.filter((name) => name.endsWith('.ts'))
    const folder = folderWith(today, [])
    write(join(folder, 'package.json'), '{ "type": "module" }')
    for (const name of snippets) {
      const text = readFileSync(join(ROOT, 'test/snippets', name), 'utf8')
      const asUsers = text.replaceAll(/'(?:..\/){2}src\/(?:testing\/)?index.ts'/g, (path) =>
        path.includes('testing') ? "'heddle/testing'" : "'heddle'",
      )
      write(join(folder, name), asUsers)
    }
    // A module that is only augmented is not looked for.
    snippets.push(basename(write(join(folder, 'packages.ts'), "import 'express-session'\n")))
    const options = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--skipLibCheck', '--module', 'nodenext']
    const tsc = join(today, 'node_modules/typescript7/bin/tsc')
    await node(folder, tsc, ...options, '--target', 'es2022', '--types', 'node', ...snippets)
  })

  test('their programs run', async () => {
    const installed = { HEDDLE_INSTALLED: join(today, 'node_modules/heddle') }
    await runWith(installed, process.execPath, ROOT, '--test', 'dist/test/document-scripts.test.js')
  })
})
