import { writeFileSync } from 'node:fs'
import { document } from './document.js'

const TARGET = new URL('../../docs/benchmarks.md', import.meta.url)

/** Writes docs/benchmarks.md. `results` are `{ name, rows, backend }`, one for each scenario. */
export function writeDocument(results) {
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ')
  writeFileSync(TARGET, document(results, { command, date: new Date() }))
  console.log('Written to docs/benchmarks.md\n')
}
