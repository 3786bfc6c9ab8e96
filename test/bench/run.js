import { existsSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { startChild } from './children.js'
import { document } from './document.js'
import { measureScenario } from './measure.js'
import { readOptions, USAGE } from './options.js'
import { installPeers } from './peers.js'
import { SCENARIOS } from './scenarios.js'
import { SUBJECTS } from './subjects.js'
import { table } from './table.js'
import { findTool } from './tools.js'

// npm run bench: CPU time per request of heddle and its peers on the same work. See options.js for the arguments.

const TARGET = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url))
const INSTALL = 'apt-get install wrk haproxy nginx-light'

/** Resolves to the exit code: 1 when a subject failed, or heddle had errors. */
async function bench(options) {
  if (!existsSync('/proc/self/stat')) throw new Error('CPU time is read from /proc: this needs Linux')
  if (findTool('wrk') === null) throw new Error(`wrk is not installed: ${INSTALL}`)
  const subjects = options.subjects.filter(isInstalled)
  installPeers()

  const backends = []
  try {
    for (let count = 0; count < 2; count++)
      backends.push(await startChild('./backends.js', [], { signal: options.signal }))
    console.log(`Node.js ${process.version}, backends: 2 x ${backends[0].version}`)
    console.log(`${options.rounds} rounds of ${options.seconds} s for each of ${subjects.length} subjects\n`)
    const results = await measureAll(subjects, backends, options)
    if (options.isWriting) write(results, backends)
    return results.some(({ rows }) => rows.some(isBad)) ? 1 : 0
  } finally {
    await Promise.all(backends.map((backend) => backend.stop()))
  }
}

async function measureAll(subjects, backends, options) {
  const results = []
  for (const name of options.scenarios) {
    const scenario = SCENARIOS[name]
    const own = scenario.subjects && SUBJECTS.filter(({ file }) => scenario.subjects.includes(file))
    const rows = await measureScenario(scenario, own ?? subjects, backends, options)
    console.log(`${name}: ${scenario.title}\n\n${table(rows, scenario.yardstick)}\n`)
    results.push({ name, rows })
  }
  return results
}

function isInstalled({ tool, title }) {
  if (tool === undefined || findTool(tool) !== null) return true
  console.log(`${tool} is not installed, so there is no row for '${title}': ${INSTALL}`)
  return false
}

const isBad = ({ subject, failure, errors }) => failure !== null || (subject.isOurs && Object.keys(errors).length > 0)

function write(results, backends) {
  const args = process.argv.slice(2).filter((arg) => arg !== '--write')
  const command = ['npm run bench --', ...args, '--write'].join(' ')
  writeFileSync(TARGET, document(results, { command, backends, date: new Date() }))
  console.log('Written to docs/benchmarks.md')
}

const interrupted = new AbortController()
// Once: whoever presses Ctrl-C twice does not want to wait for anything to be put away.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, () => interrupted.abort())

try {
  const options = readOptions(process.argv.slice(2))
  if (options.isHelp) console.log(USAGE)
  else process.exitCode = await bench({ ...options, signal: interrupted.signal })
} catch (error) {
  console.error(`bench: ${interrupted.signal.aborted ? 'interrupted' : error.message}`)
  process.exitCode = interrupted.signal.aborted ? 130 : 2
}
