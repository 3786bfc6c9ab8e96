// Packs the package as npm would publish it, and checks the tarball: what is in it, its types, its exports.
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = (command, ...args) =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

const [{ filename, files }] = JSON.parse(run('npm', 'pack', '--json', '--ignore-scripts'))
try {
  const allowed = /^(dist\/src\/.+\.(js|d\.ts)|dist\/schema\.json|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/
  const unwanted = files.map((file) => file.path).filter((path) => !allowed.test(path))
  if (unwanted.length > 0) throw new Error(`not for users: ${unwanted.join(', ')}`)
  for (const needed of ['dist/src/index.js', 'dist/src/cli/main.js', 'dist/schema.json', 'LICENSE', 'README.md']) {
    if (!files.some((file) => file.path === needed)) throw new Error(`${needed} is missing from the package`)
  }
  process.stdout.write(run('npx', 'publint', 'run', filename, '--strict'))
  // The package has ES modules only; Node >= 22.12 can `require` them (test/package.test.ts).
  process.stdout.write(run('npx', 'attw', filename, '--profile', 'esm-only'))
} finally {
  rmSync(`${root}/${filename}`, { force: true })
}
console.log(`${files.length} files in the package`)
