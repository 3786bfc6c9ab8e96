// Packs the package as npm would publish it, and checks the tarball: what is in it, its types, its exports.
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = (command, ...args) =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

const [{ filename, files }] = JSON.parse(run('npm', 'pack', '--json', '--ignore-scripts'))
try {
  const paths = files.map((file) => file.path)
  const allowed =
    /^(dist\/(?:src|cjs)\/.+\.(js|d\.ts)|dist\/cjs\/package\.json|dist\/schema\.json|package\.json|LICENSE|[A-Z]+\.md|docs\/.+\.(md|svg)|examples\/.+\.(ts|md|proto))$/
  const unwanted = paths.filter((path) => !allowed.test(path))
  if (unwanted.length > 0) throw new Error(`not for users: ${unwanted.join(', ')}`)
  const needed = ['dist/src/index.js', 'dist/cjs/index.js', 'dist/src/cli/main.js', 'dist/schema.json', 'LICENSE']
  for (const path of [...needed, 'README.md']) {
    if (!paths.includes(path)) throw new Error(`${path} is missing from the package`)
  }
  for (const link of brokenLinks(paths)) throw new Error(`${link}: it leads out of the package`)
  process.stdout.write(run('npx', 'publint', 'run', filename, '--strict'))
  // No compiler reads the schema: editors do, by its path.
  process.stdout.write(run('npx', 'attw', filename, '--exclude-entrypoints', 'schema.json'))
} finally {
  rmSync(`${root}/${filename}`, { force: true })
}
console.log(`${files.length} files in the package`)

/** Links of the documents to files, or folders, that the package does not have. */
function brokenLinks(paths) {
  return paths
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) => {
      const text = readFileSync(`${root}/${path}`, 'utf8')
      const targets = Array.from(text.matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g), ([, target]) => target)
      const missing = targets.filter((target) => {
        const to = posix.join(posix.dirname(path), target)
        return !paths.some((one) => one === to || one.startsWith(`${to}/`))
      })
      return missing.map((target) => `${path}: ${target}`)
    })
}
