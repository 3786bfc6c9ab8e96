import { setTimeout as sleep } from 'node:timers/promises'
import { startChild } from './children.js'
import { peakBytes, residentBytes } from './cpu.js'
import { startSubject } from './start.js'
import { runWrk } from './wrk.js'

const OPEN_TIMEOUT_MS = 120_000
const SETTLE_MS = 1000

/**
 * What each of many idle connections adds to the subject's memory, in a process that is new for each round: memory that was
 * given back once is used again and would not be seen. One busy connection has warmed it up.
 */
export async function measureMemory(entry, backends, run) {
  entry.process = await startSubject(entry.subject.file, run, backends)
  const { pid, port, stop } = entry.process
  await runWrk({ ...run, port, connections: 1, seconds: 1 })
  await sleep(SETTLE_MS)
  const before = residentBytes(pid)
  const clients = await openConnections({ ...run, port })
  try {
    const cost = (residentBytes(pid) - before) / run.connections
    entry.samples.push({ cost, peakBytes: peakBytes(pid), errors: clients.errors })
  } finally {
    await clients.stop()
  }
  // One that failed is stopped with the others, when it has been seen whether it had died.
  await stop()
}

/** Resolves when all of them are open and idle; they stay so until they are stopped. */
function openConnections({ port, path, connections, signal }) {
  const load = JSON.stringify({ port, path, connections })
  return startChild('./loads/idle.js', [load], { timeoutMs: OPEN_TIMEOUT_MS, isLoad: true, signal })
}
