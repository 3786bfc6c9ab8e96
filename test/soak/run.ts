// `npm run soak`: the whole of what test/faults/leaks.test.ts has a small part of. Options: --requests, --upgrades,
// --concurrency, --seed, and --write FILE for the table in a file, too.
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { chaos, type Findings, type Held } from './chaos.ts'

/** Growth of heap and buffers that is taken for noise. */
const NOISE_BYTES = 2 ** 22
/** Carriers of upgrades and pools of connections remember a last one. */
const NOISE_EXCHANGES = 5

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '50000' },
    upgrades: { type: 'string', default: '2000' },
    concurrency: { type: 'string', default: '32' },
    seed: { type: 'string', default: '1' },
    write: { type: 'string' },
  },
})
const load = {
  requests: Number(values.requests),
  upgrades: Number(values.upgrades),
  concurrency: Number(values.concurrency),
  seed: Number(values.seed),
}

// Ten minutes are more than enough for the default load on two slow cores.
setTimeout(() => {
  console.error('the soak has not come to its end within ten minutes')
  process.exit(1)
}, 600_000).unref()

const found = await chaos(load)
const faults = faultsOf(found)
const text = `${describe(found)}\n${faults.length === 0 ? 'Nothing grew.' : faults.join('\n')}\n`
process.stdout.write(text)
if (values.write !== undefined) await writeFile(values.write, text)
process.exitCode = faults.length === 0 ? 0 : 1

function describe({ before, after, outcomes, exchanges, alive, seconds, warnings }: Findings): string {
  const rows = Object.entries(figures(before)).map(([what, start]) => {
    const end = figures(after)[what] ?? 0
    return `| ${what} | ${start} | ${end} | ${end - start} |`
  })
  const ends = Object.entries(outcomes).map(([kind, count]) => `${count} ${kind}`)
  return [
    `${load.requests} requests and ${load.upgrades} upgrades, ${load.concurrency} at a time, in ${seconds.toFixed(0)} s`,
    `on node ${process.version}: ${exchanges} exchanges (${ends.join(', ')}).`,
    '',
    '| held while nothing is under way | before | after | growth |',
    '|---|---|---|---|',
    ...rows,
    `| exchanges that are no garbage | | ${alive} | |`,
    `| warnings of the process | | ${warnings.length} | |`,
    '',
  ].join('\n')
}

function figures(held: Held): Record<string, number> {
  const { resources, listeners, files, timers, pending, active, connections, bytes } = held
  return {
    'open files': files,
    'sockets and servers': total(resources),
    'timers of the proxy': timers,
    'listeners of the process': total(listeners),
    'exchanges under way': active,
    'attempts under way': pending,
    'connections to backends': connections,
    'heap and buffers, KiB': Math.round(bytes / 1024),
  }
}

function faultsOf({ before, after, alive, doubles, warnings }: Findings): string[] {
  const faults = Object.entries(figures(before))
    .filter(([what, start]) => !what.startsWith('heap') && figures(after)[what] !== start)
    .map(([what]) => `Grown: ${what}.`)
  if (after.bytes - before.bytes > NOISE_BYTES) faults.push('Grown: heap and buffers.')
  if (alive > NOISE_EXCHANGES) faults.push(`Still held: ${alive} exchanges that have ended.`)
  if (doubles > 0) faults.push(`Recorded twice: ${doubles} exchanges.`)
  return [...faults, ...warnings.map((warning) => `Warned: ${warning}`)]
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}
