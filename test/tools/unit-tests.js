// Runs the tests that open no socket and start no process or thread: `npm run test:unit`. Arguments are for `node --test`.
// Which ones these are follows from what a test file imports, so that nobody has to keep a list.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const tests = join(root, 'dist/test')

const OUTSIDE =
  /^node:(?:child_process|http|http2|https|net|tls|worker_threads)$|\/src\/(?:testing\/(?:index|mock-backend)|worker)\.js$/
/** They take longer than all others together, and hold for what rarely changes. */
const SLOW = /^(?:balancers\/(?:suite|cost|first-pick)|fuzz\/.*)\.test\.js$/

const files = readdirSync(tests, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.js') && !SLOW.test(file))
  .map((file) => join(tests, file))
  .filter((file) => staysInside(file))
const child = spawn(
  process.execPath,
  ['--test', '--test-concurrency=2', '--test-timeout=60000', ...process.argv.slice(2), ...files.sort()],
  { cwd: root, stdio: 'inherit' },
)
child.on('exit', (code) => {
  process.exitCode = code ?? 1
})

/** @param {string} file with what it imports from test/, and so on. */
function staysInside(file, seen = new Set()) {
  if (seen.has(file)) return true
  seen.add(file)
  const imports = Array.from(
    readFileSync(file, 'utf8').matchAll(/\b(?:from|import)\b[\s(]*(['"])(.+?)\1/g),
    ([, , name]) => (name.startsWith('.') ? join(dirname(file), name) : name),
  )
  return imports.every((name) => !OUTSIDE.test(name) && (!name.startsWith(tests) || staysInside(name, seen)))
}
