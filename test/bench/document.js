import { readFileSync } from 'node:fs'
import { microTable } from './micro.js'
import { SCENARIOS, yardsticksOf } from './scenarios.js'
import { table, verdict } from './table.js'

/** The whole of docs/benchmarks.md, from a record of results.js. */
export function document({ results, micro }) {
  const sections = results.map(sectionOf)
  if (micro !== null) sections.push(`## micro\n\n${MICRO}\n\n${measuredBy(micro)}\n\n${microTable(micro.rows)}\n`)
  sections.push(readFileSync(new URL('changes.md', import.meta.url), 'utf8'))
  const all = micro === null ? results : [...results, micro]
  return `# Benchmarks

Written by \`npm run bench -- SCENARIO --write\`; do not edit by hand. Each section says when and how it was measured.

${results.length > 0 ? CHART : ''}- Machine: ${different(all, 'machine')}; the cores are shared by everything below
- Node.js ${different(all, 'node')}; load: wrk, 1 thread, over loopback, where nothing else is said

CPU per request is the user and system time of the proxy's process, all its threads, divided by the requests that were counted.
It is the figure to compare: requests per second depend on what the load and the backends leave of the cores. The subjects took
turns in several rounds. CPU per request is the median of the rounds, and spread is the distance between the lowest and the highest
of them, as a share of the median.

**Ratios.** \`0.15 (0.13-0.18)\` in the column \`to http-proxy-3\` means: 0.15 of its CPU time. Each round gives one ratio, of two
measurements that were taken shortly after each other; shown are the median of these ratios, the lowest and the highest. It is not the
quotient of two medians in the column of CPU times, which can come from different rounds: a machine whose speed changes between rounds
changes that quotient, and hardly the ratio within a round. \`~\` marks a range that includes 1: which of the two costs more
differed from round to round, so that no difference was measured. Absolute values move from machine to machine; ratios hold better.

Peak memory is the most that the process held, from its start. Load and backends run with Linux's SCHED_BATCH: they share the cores, and would interrupt
the subjects each time that they wake.

WebSocket messages and new connections come from small processes of node's (test/bench/loads): wrk knows neither WebSocket nor
a rate. New connections come at a fixed rate, whether or not those before have been answered, and their latency counts from
when they were due. Memory per connection is what the resident memory of the process grew by while the connections were opened,
each with one request, divided by their number; the kernel's own part, the sockets' buffers, is not in it.

heddle runs with its defaults: balancing over both backends, passive health, retry state, X-Forwarded headers; in one row with
an access log in a file and listeners on its events as well. The others do what their configuration in test/bench/subjects
says, and no more.

${sections.join('\n')}`
}

function sectionOf({ name, backend, rows, times, ...circumstances }) {
  const scenario = SCENARIOS[name]
  const yardsticks = yardsticksOf(name)
  const { starts, rounds, seconds } = times
  return `## ${name}

${scenario.title}. Backends: 2 x ${backend}.

${[scenario.meaning, verdict(rows, scenario, yardsticks)].join(' ').trimEnd()}

${measuredBy(circumstances)} ${starts * rounds} rounds${scenario.figure === 'cpu' ? ` of ${seconds} s` : ''}.

${table(rows, scenario, yardsticks)}
`
}

/** A load average above which the machine had other work. */
const BUSY = 0.5

const measuredBy = ({ command, date, loadBefore }) => {
  const busy = ` Other work ran on the machine (load average ${loadBefore?.toFixed(1)} before): ratios are more reliable than
absolute values, and both less so than on a quiet machine.`
  return `Measured by \`${command}\` on ${date.slice(0, 10)}.${loadBefore > BUSY ? busy : ''}`
}
const different = (all, key) => [...new Set(all.map((one) => one[key]))].join('; ')

const CHART = '![The figures below as bars](benchmarks.svg)\n\n'

const MICRO = `Our own functions alone, each in a process of its own: the median of nine rounds of 100 ms, after a warm-up of
500 ms. A request head is read, and its headers are made for a backend. For a balancer, an attempt is picked, begun and ended,
with 64 under way.`
