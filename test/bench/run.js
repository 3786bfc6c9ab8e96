import { existsSync } from 'node:fs'
import { install } from '../tools/install.js'
import { measureScenario } from './measure.js'
import { measureMicro, microTable } from './micro.js'
import { readOptions, timesOf, USAGE } from './options.js'
import { circumstances, merged, savedRecord, saveRecord } from './results.js'
import { SCENARIOS, subjectsIn, yardsticksOf } from './scenarios.js'
import { withBackends } from './start.js'
import { SUBJECTS } from './subjects.js'
import { table } from './table.js'
import { findTool } from './tools.js'
import { writeDocument } from './write-document.js'

// npm run bench: CPU time per request of heddle and its peers on the same work. See options.js for the arguments.

const INSTALL = 'apt-get install wrk nghttp2-client haproxy nginx-light caddy'

/** Resolves to the exit code: 1 when a subject failed, or heddle had errors. */
async function bench(options) {
  if (!existsSync('/proc/self/stat')) throw new Error('CPU time is read from /proc: this needs Linux')
  const loads = new Set(options.scenarios.map((name) => SCENARIOS[name].load))
  for (const load of ['wrk', 'h2load']) {
    if (loads.has(load) && findTool(load) === null) throw new Error(`${load} is not installed: ${INSTALL}`)
  }
  const wanted = options.scenarios.map((name) => [name, subjectsIn(name, options.subjects, SUBJECTS)])
  const tools = new Set(wanted.flatMap(([, subjects]) => subjects.map(({ tool }) => tool)).filter(isMissing))
  for (const tool of tools) console.log(`${tool} is not installed, so there is no row for it: ${INSTALL}`)
  const plan = wanted.map(([name, subjects]) => [name, subjects.filter(({ tool }) => !tools.has(tool))])
  if (plan.some(([, subjects]) => subjects.some(({ isPeer }) => isPeer))) install(new URL('.', import.meta.url))

  console.log(`Node.js ${process.version}\n`)
  const results = []
  for (const [name, subjects] of plan) {
    results.push(await measure(name, subjects, options))
    // After each: what an interrupted run has measured is kept.
    if (options.isWriting) write({ results, micro: null })
  }
  if (options.hasMicro) {
    const micro = await measureMicro(options.signal)
    console.log(`micro: our own functions alone\n\n${microTable(micro)}\n`)
    if (options.isWriting) write({ results: [], micro: { rows: micro, ...circumstances('micro') } })
  }
  return results.some(({ rows }) => rows.some(isBad)) ? 1 : 0
}

function write(measured) {
  const record = merged(savedRecord(), measured)
  saveRecord(record)
  writeDocument(record)
}

async function measure(name, subjects, options) {
  const scenario = SCENARIOS[name]
  return withBackends(scenario, options.signal, async (backends) => {
    const times = timesOf(name, options.given)
    const { starts, rounds, seconds } = times
    console.log(`${name}: ${scenario.title}`)
    console.log(
      `${starts * rounds} x ${seconds} s for each of ${subjects.length} subjects; backends: 2 x ${backends[0].version}\n`,
    )
    const rows = await measureScenario(scenario, subjects, backends, { ...times, signal: options.signal })
    console.log(`${table(rows, scenario, yardsticksOf(name))}\n`)
    return { name, backend: backends[0].version, rows, times, ...circumstances(name) }
  })
}

const isMissing = (tool) => tool !== undefined && findTool(tool) === null
const isBad = ({ subject, failure, errors }) => failure !== null || (subject.isOurs && Object.keys(errors).length > 0)

const interrupted = new AbortController()
// Once: whoever presses Ctrl-C twice does not want to wait for anything to be put away.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(name, () => interrupted.abort())

try {
  const options = readOptions(process.argv.slice(2))
  if (options.isHelp) console.log(USAGE)
  else if (options.isRendering) writeDocument(savedRecord())
  else process.exitCode = await bench({ ...options, signal: interrupted.signal })
} catch (error) {
  console.error(`bench: ${interrupted.signal.aborted ? 'interrupted' : error.message}`)
  process.exitCode = interrupted.signal.aborted ? 130 : 2
}
