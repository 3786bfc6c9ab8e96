import { setTimeout as sleep } from 'node:timers/promises'
import { checkAnswer } from './check-answer.js'
import { cpuMicros, peakBytes } from './cpu.js'
import { drive, warmUp } from './drive.js'
import { measureMemory } from './measure-memory.js'
import { median } from './median.js'
import { startSubject } from './start.js'

/**
 * One scenario, all subjects: they are started, checked and warmed up, then measured in alternation, so that whatever else
 * the machine does falls on all of them alike; all of that `starts` times, since what the compiler makes of a process differs
 * from one start to the next. Resolves to one row per subject; one that fails has a `failure` instead.
 */
export async function measureScenario(
  scenario,
  subjects,
  backends,
  { seconds, warmUpSeconds, starts, rounds, signal },
) {
  const entries = subjects.map((subject) => ({ subject, process: null, samples: [], failure: null }))
  const [prepare, measure] = scenario.figure === 'memory' ? [null, measureMemory] : [begin, measureTime]
  const each = async (work, workSeconds) => {
    const run = { ...scenario, signal }
    for (const entry of entries) await attempt(entry, signal, () => work(entry, backends, run, workSeconds))
  }
  for (let start = 0; start < starts; start++) {
    try {
      if (prepare !== null) await each(prepare, warmUpSeconds)
      for (let round = 0; round < rounds; round++) await each(measure, seconds)
    } finally {
      await Promise.all(entries.map((entry) => entry.process?.stop()))
    }
  }
  return entries.map(toRow)
}

async function begin(entry, backends, run, seconds) {
  entry.process = await startSubject(entry.subject.file, run, backends)
  // Each backend is reached by one of two requests in turn.
  const isChecked = run.load !== 'websocket'
  for (const backend of isChecked ? backends : []) await checkAnswer(entry.process, backend, run)
  await warmUp({ ...run, port: entry.process.port }, seconds)
}

/** What fails ends this subject's part in the scenario and nobody else's; only an aborted signal ends everything. */
async function attempt(entry, signal, work) {
  if (entry.failure !== null) return
  try {
    await work()
  } catch (error) {
    signal?.throwIfAborted()
    const hasDied = entry.process?.hasEnded() === true
    entry.failure = hasDied ? `ended under load: ${entry.process.complaint()}` : error.message
  }
}

async function measureTime(entry, _backends, run, seconds) {
  const { pid, port } = entry.process
  // Whatever the run before has left behind is not this run's cost.
  await sleep(200)
  const before = cpuMicros(pid)
  const counted = await drive({ ...run, port, seconds })
  if (counted.requests === 0) throw new Error('answered no request')
  const cost = (cpuMicros(pid) - before) / counted.requests
  entry.samples.push({ ...counted, cost, peakBytes: peakBytes(pid) })
}

/** `cost` is the scenario's figure, in microseconds or bytes. */
function toRow({ subject, process, samples, failure }) {
  const of = (key) => median(samples.map((sample) => sample[key]))
  return {
    subject,
    version: process?.version ?? '',
    failure,
    cost: of('cost'),
    costOfRounds: samples.map(({ cost }) => cost),
    perSecond: of('perSecond'),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
    p999Us: of('p999Us'),
    peakBytes: Math.max(...samples.map((sample) => sample.peakBytes)),
    errors: sumOfErrors(samples),
  }
}

function sumOfErrors(samples) {
  const sum = {}
  for (const { errors } of samples) {
    for (const [kind, count] of Object.entries(errors)) sum[kind] = (sum[kind] ?? 0) + count
  }
  return sum
}
