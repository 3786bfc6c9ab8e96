import { readFileSync } from 'node:fs'
import os from 'node:os'
import { microTable } from './micro.js'
import { SCENARIOS, yardsticksOf } from './scenarios.js'
import { table } from './table.js'

/** The whole of docs/benchmarks.md. `results` are `{ name, rows, backend }`, one for each scenario; `micro` see micro.js. */
export function document(results, micro, { command, date }) {
  const sections = results.map(({ name, rows, backend }) => {
    const scenario = SCENARIOS[name]
    return `## ${name}\n\n${scenario.title}. Backends: 2 x ${backend}.\n\n${table(rows, scenario, yardsticksOf(name))}\n`
  })
  if (micro.length > 0) sections.push(`## micro\n\n${MICRO}\n\n${microTable(micro)}\n`)
  sections.push(readFileSync(new URL('changes.md', import.meta.url), 'utf8'))
  return `# Benchmarks

Written by \`${command}\` on ${date.toISOString().slice(0, 10)}; do not edit by hand.

${results.length > 0 ? CHART : ''}- Machine: ${os.cpus()[0]?.model.trim()}, ${os.availableParallelism()} cores shared by everything below, ${platform()}
- Node.js ${process.version}; load: wrk, 1 thread, over loopback, where nothing else is said

CPU per request is the user and system time of the proxy's process, all its threads, divided by the requests that were counted.
It is the figure to compare: requests per second depend on what the load and the backends leave of the cores. The subjects took
turns; shown are medians of the rounds, and spread is the distance between the lowest and the highest of them. The ratios are
to that subject in the same round: absolute values move from machine to machine, ratios hold better. Peak memory is the most
that the process held, from its start. Load and backends run with Linux's SCHED_BATCH: they share the cores, and would interrupt
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

const CHART = '![The figures below as bars](benchmarks.svg)\n\n'

const MICRO = `Our own functions alone, each in a process of its own: the median of nine rounds of 100 ms, after a warm-up of
500 ms. A request head is read, and its headers are made for a backend. For a balancer, an attempt is picked, begun and ended,
with 64 under way.`

const platform = () => `${os.type()} ${os.release()} ${os.arch()}`
