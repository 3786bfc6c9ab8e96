// Compiles what is saved and runs the unit tests that it concerns, again and again: `npm run dev`. Ctrl-C ends it.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const cwd = fileURLToPath(new URL('../../', import.meta.url))
const options = { cwd, stdio: 'inherit' }

const children = [
  spawn(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.', '--watch', '--preserveWatchOutput'], options),
  spawn(process.execPath, ['test/tools/unit-tests.js', '--watch'], options),
]
for (const child of children) {
  child.on('exit', () => {
    for (const other of children) other.kill()
  })
}
// A child of the same terminal gets its own SIGINT; whoever ends only this process ends all three.
process.on('SIGTERM', () => {
  for (const child of children) child.kill()
})
process.on('SIGINT', () => {})
