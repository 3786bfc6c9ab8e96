import { fork } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { asLoad } from './as-load.js'

const START_TIMEOUT_MS = 10_000
const STOP_TIMEOUT_MS = 5_000

/**
 * Starts one of our scripts (backends.js, subjects/*.js, loads/*.js) and waits for the line of JSON that it prints when it
 * listens, or has a result.
 * `isLoad`: see as-load.js. The script watches its IPC channel and ends when that closes, and so also when we die in whatever way: see announce.js.
 */
export async function startChild(
  script,
  args,
  { execArgv = [], timeoutMs = START_TIMEOUT_MS, isLoad = false, signal } = {},
) {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const [execPath, allArgv] = isLoad ? asLoad(process.execPath, execArgv) : [process.execPath, execArgv]
  const child = fork(path, args, { execPath, execArgv: allArgv, stdio: ['ignore', 'pipe', 'pipe', 'ipc'], signal })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  // An aborted signal ends the child and says so here; whoever waits for the child learns it from `exited`.
  child.on('error', () => {})
  let complaint = ''
  child.stderr.on('data', (chunk) => {
    complaint = (complaint + chunk).slice(-20_000)
  })
  const stop = () => stopChild(child, exited)
  try {
    const line = await firstLine(child, timeoutMs, () => complaint)
    const hasEnded = () => child.exitCode !== null || child.signalCode !== null
    return { ...JSON.parse(line), stop, hasEnded, complaint: () => reasonIn(complaint) }
  } catch (error) {
    await stop()
    throw error
  }
}

function firstLine(child, timeoutMs, complaint) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`said nothing within ${timeoutMs} ms`)), timeoutMs)
    const settle = (outcome) => {
      clearTimeout(timer)
      outcome()
    }
    createInterface({ input: child.stdout }).once('line', (line) => settle(() => resolve(line)))
    // 'close', not 'exit': only then has all of stderr been read.
    child.once('close', (code) =>
      settle(() => reject(new Error(reasonIn(complaint()) ?? `ended with code ${code} before it said anything`))),
    )
  })
}

/** The line of a stack trace, or of a server's log, that says what was wrong. */
function reasonIn(complaint) {
  const lines = complaint.split('\n').filter((line) => line.trim() !== '')
  return lines.find((line) => /\b\w*Error\b.*: |\[(emerg|alert|ALERT)/i.test(line)) ?? lines.at(-1)
}

/** Asks by closing the channel, so that a profile can be written and a daemon be ended; insists after a while. */
async function stopChild(child, exited) {
  if (child.connected) child.disconnect()
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await exited
  clearTimeout(timer)
}
