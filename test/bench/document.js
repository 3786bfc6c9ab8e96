import os from 'node:os'
import { SCENARIOS } from './scenarios.js'
import { YARDSTICK } from './subjects.js'
import { table } from './table.js'

/** The whole of docs/benchmarks.md. `results` are `{ name, rows }`, one for each scenario. */
export function document(results, { command, backends, date }) {
  const sections = results.map(({ name, rows }) => {
    const { title, yardstick } = SCENARIOS[name]
    return `## ${name}\n\n${title}.\n\n${table(rows, yardstick)}\n`
  })
  return `# Benchmarks

Written by \`${command}\` on ${date.toISOString().slice(0, 10)}; do not edit by hand.

- Machine: ${os.cpus()[0]?.model.trim()}, ${os.availableParallelism()} cores shared by everything below, ${platform()}
- Node.js ${process.version}; two backends: ${backends[0].version}; load: wrk, 1 thread, over loopback

CPU per request is the user and system time of the proxy's process, divided by the requests that wrk counted. It is the
figure to compare: requests per second depend on what wrk and the backends leave of the cores. The subjects took turns; shown
are medians of the rounds, and spread is the distance between the lowest and the highest of them. The ratio is to
${YARDSTICK} in the same round: absolute values move from machine to machine, ratios hold better. heddle runs with its
defaults: balancing over both backends, passive health, retry state, X-Forwarded headers; the others do what their
configuration in test/bench/subjects says, and no more.

${sections.join('\n')}`
}

const platform = () => `${os.type()} ${os.release()} ${os.arch()}`
