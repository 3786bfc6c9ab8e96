import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { asLoad } from './as-load.js'
import { findTool } from './tools.js'

const SCRIPT = fileURLToPath(new URL('./wrk.lua', import.meta.url))

/** How long wrk may take over its own duration before it is ended. */
const GRACE_MS = 15_000

/**
 * One run of wrk against a port on loopback. Resolves to what it counted; `errors` has one entry per kind that occurred.
 * Latencies are wrk's own (what `--latency` prints): they allow for the requests that a stalled answer held back.
 */
export async function runWrk({ port, path, connections, bodyBytes, isTls, seconds, signal }) {
  const tool = findTool('wrk')
  if (tool === null) throw new Error('wrk is not installed')
  const url = `${isTls ? 'https' : 'http'}://127.0.0.1:${port}${path}`
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', SCRIPT, url]
  const options = {
    env: { ...process.env, BENCH_BODY_BYTES: String(bodyBytes) },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: seconds * 1000 + GRACE_MS,
    killSignal: 'SIGKILL',
    signal,
  }
  const summary = readSummary(await outputOf(tool, args, options))
  const { requests, durationUs, p50Us, p99Us, p999Us, ...errors } = summary
  const occurred = Object.fromEntries(Object.entries(errors).filter(([, count]) => count > 0))
  return { requests, perSecond: (requests / durationUs) * 1e6, p50Us, p99Us, p999Us, errors: occurred }
}

function readSummary(output) {
  const line = /^BENCH (\{.*\})$/m.exec(output)?.[1]
  if (line === undefined) throw new Error(`wrk printed no summary: ${output.trim().split('\n').at(-1)}`)
  return JSON.parse(line)
}

function outputOf(tool, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(...asLoad(tool, args), options)
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output)
      else reject(new Error(`wrk ended with ${signal ?? code}: ${output.trim().split('\n').at(-1)}`))
    })
  })
}
