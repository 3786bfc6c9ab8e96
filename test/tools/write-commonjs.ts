import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { transformSync } from 'esbuild'

/*
 * Makes the CommonJS build, dist/cjs, of the ES modules in dist/src, file by file: node dist/test/tools/write-commonjs.js
 * Also removes declarations that no export of the package leads to: they are eight times as large as the others.
 * A build step, run in the package's folder. docs/decisions/0004-es-modules.md says what the second build is for.
 */

const SRC = resolve('dist/src')
const CJS = resolve('dist/cjs')

/** CommonJS has no `import.meta`. */
const OWN_URL = { name: 'own_url', code: "const own_url = require('node:url').pathToFileURL(__filename).href;" }

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })

// Nobody requires the command.
for (const file of files.filter((name) => name.endsWith('.js') && !/^cli[\\/]/.test(name))) {
  const source = readFileSync(join(SRC, file), 'utf8')
  const { code } = transformSync(source, {
    format: 'cjs',
    platform: 'node',
    target: 'node22.12',
    sourcefile: file,
    define: { 'import.meta.url': OWN_URL.name },
    ...(source.includes('import.meta.url') && { banner: OWN_URL.code }),
  })
  mkdirSync(dirname(join(CJS, file)), { recursive: true })
  writeFileSync(join(CJS, file), code)
}
writeFileSync(join(CJS, 'package.json'), '{ "type": "commonjs" }\n')

const kept = reachable(exportedDeclarations())
for (const file of files.filter((name) => name.endsWith('.d.ts')).map((name) => join(SRC, name))) {
  if (kept.has(file)) cpSync(file, file.replace(SRC, CJS))
  else rmSync(file)
}

/** The declarations of the package's exports. */
function exportedDeclarations(): string[] {
  const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    exports: Readonly<Record<string, string | { readonly default: string }>>
  }
  const modules = Object.values(exports).filter((entry) => typeof entry !== 'string')
  return modules.map((entry) => resolve(entry.default.replace(/\.js$/, '.d.ts')))
}

/** These declarations, and all that they import. */
function reachable(entries: readonly string[]): ReadonlySet<string> {
  const found = new Set(entries)
  // A set that grows during the loop is walked to its end.
  for (const file of found) {
    const imports = readFileSync(file, 'utf8').matchAll(/\b(?:from |import\()'(\.[^']+)\.ts'/g)
    for (const [, name] of imports) found.add(resolve(dirname(file), `${name}.d.ts`))
  }
  return found
}
