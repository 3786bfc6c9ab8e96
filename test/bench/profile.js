import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { drive, warmUp } from './drive.js'
import { known, whole } from './options.js'
import { selfTimes, selfTimesByModule } from './profile-summary.js'
import { SCENARIOS } from './scenarios.js'
import { startSubject, withBackends } from './start.js'

// node test/bench/profile.js [scenario] [--subject heddle] [--seconds 5] [--top 25]: where the time of a request goes.
// Run `npm run build` first. V8 samples by the clock, not by CPU time: where more runs than there are cores, what waits for
// the system (a write on loopback wakes its reader) looks larger than it is. The profile itself stays beside this file, for
// the browser's developer tools.

const WARM_UP_SECONDS = 8
const SAMPLING_US = 200

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    subject: { type: 'string', default: 'heddle' },
    seconds: { type: 'string', default: '5' },
    top: { type: 'string', default: '25' },
  },
})
const name = positionals[0] ?? 'hello'
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => interrupted.abort())

try {
  const names = Object.keys(SCENARIOS).filter((one) => SCENARIOS[one].figure === 'cpu')
  known(name, names, 'scenario')
  const seconds = whole(values.seconds, '--seconds', 120)
  const top = whole(values.top, '--top', 1000)
  await profile(SCENARIOS[name], seconds, top, interrupted.signal)
} catch (error) {
  console.error(`profile: ${interrupted.signal.aborted ? 'interrupted' : error.message}`)
  process.exitCode = interrupted.signal.aborted ? 130 : 2
}

async function profile(scenario, seconds, top, signal) {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-profile-'))
  const execArgv = ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-interval=${SAMPLING_US}`]
  try {
    await withBackends(scenario, signal, async (backends) => {
      const subject = await startSubject(values.subject, { ...scenario, signal }, backends, execArgv)
      try {
        const run = { ...scenario, port: subject.port, signal }
        await warmUp(run, WARM_UP_SECONDS)
        const fromUs = Number(process.hrtime.bigint() / 1000n)
        const counted = await drive({ ...run, seconds })
        // Node writes the profile on its way out.
        await subject.stop()
        report(folder, fromUs, counted, top)
      } finally {
        await subject.stop()
      }
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function report(folder, fromUs, counted, top) {
  const file = readdirSync(folder).find((entry) => entry.endsWith('.cpuprofile'))
  if (file === undefined) throw new Error('node wrote no profile')
  const functions = selfTimes(JSON.parse(readFileSync(join(folder, file), 'utf8')), fromUs)
  const errors = Object.keys(counted.errors).length > 0 ? `, errors: ${JSON.stringify(counted.errors)}` : ''
  console.log(`${values.subject}, ${name}: ${counted.requests} requests while it was profiled${errors}`)
  print(`The ${top} functions with the most self time`, functions, counted.requests, top)
  print('By module', selfTimesByModule(functions), counted.requests, 15)
  const kept = fileURLToPath(new URL(`${values.subject}-${name}.cpuprofile`, import.meta.url))
  copyFileSync(join(folder, file), kept)
  console.log(`\nThe whole profile: ${relative(process.cwd(), kept)}`)
}

function print(title, entries, requests, top) {
  const busyUs = entries.reduce((sum, { selfUs }) => sum + selfUs, 0)
  console.log(`\n${title} (${(busyUs / requests).toFixed(1)} us of main thread per request)\n`)
  for (const { name: label, place, selfUs } of entries.slice(0, top)) {
    const share = `${((selfUs / busyUs) * 100).toFixed(1)} %`
    const each = `${(selfUs / requests).toFixed(2)} us`
    console.log(`${share.padStart(8)} ${each.padStart(11)}  ${label.padEnd(34)} ${place}`.trimEnd())
  }
}
