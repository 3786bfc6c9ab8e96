import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { asLoad } from './as-load.js'
import { temporaryFolder } from './daemon.js'
import { findTool } from './tools.js'

/** How long h2load may take over its own duration before it is ended. */
const GRACE_MS = 15_000

let folder = null

/**
 * One run of h2load against a port on loopback, over HTTP/2. Resolves to what it counted, as wrk.js does. A latency is the time from a
 * request to the end of its response.
 */
export async function runH2load({ port, path, connections, streams, headers = [], bodyBytes, isTls, seconds, signal }) {
  const tool = findTool('h2load')
  if (tool === null) throw new Error('h2load is not installed')
  folder ??= temporaryFolder()
  const log = join(folder, 'log')
  const body = join(folder, 'body')
  // Also a message of gRPC: no compression, and a length.
  if (bodyBytes > 0) writeFileSync(body, messageOf(bodyBytes))
  writeFileSync(log, '')
  const args = [
    ...['-t1', `-c${connections}`, `-m${streams}`, `-D${seconds}`, '-w20', '-W24', `--log-file=${log}`],
    ...headers.flatMap((header) => ['-H', header]),
    ...(bodyBytes > 0 ? ['-d', body] : []),
    `${isTls ? 'https' : 'http'}://127.0.0.1:${port}${path}`,
  ]
  const timeout = seconds * 1000 + GRACE_MS
  const output = await outputOf(tool, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
    killSignal: 'SIGKILL',
    signal,
  })
  const line = /^requests: .*, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/m.exec(output)
  if (line === null) throw new Error(`h2load printed no summary: ${output.trim().split('\n').at(-1)}`)
  const [requests, failed, errored, timeouts] = line.slice(1).map(Number)
  const counts = Object.entries({ failed, errored, timeouts }).filter(([, count]) => count > 0)
  return {
    requests,
    perSecond: requests / seconds,
    ...latencies(readFileSync(log, 'latin1')),
    errors: Object.fromEntries(counts),
  }
}

function messageOf(bodyBytes) {
  const message = Buffer.alloc(bodyBytes)
  message.writeUInt32BE(bodyBytes - 5, 1)
  return message
}

/** Of a log with one line per request: start, status and duration in us. */
function latencies(log) {
  const sorted = Float64Array.from(log.trim().split('\n'), (line) => Number(line.split('\t')[2])).sort()
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
  return { p50Us: at(0.5), p99Us: at(0.99), p999Us: at(0.999) }
}

function outputOf(tool, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(...asLoad(tool, args), options)
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk
      })
    }
    child.on('error', reject)
    child.on('close', (code) => (code === 0 ? resolve(output) : reject(new Error(`h2load ended with code ${code}`))))
  })
}
