import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { mockBackend } from '../../src/testing/index.ts'
import { without } from '../threads/threaded.ts'
import { start } from './command.ts'

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
const skipThreads = await without()

for (const threads of [1, 2]) {
  test(`SIGHUP is logged and ignored (threads: ${threads})`, { skip: threads > 1 && skipThreads }, async (t) => {
    await using backend = await mockBackend(Array(2).fill({ body: 'hello' }))
    const heddle = start(t, ['-l', '127.0.0.1:0', '-b', backend.url, '--threads', String(threads)])
    const url = await heddle.url()
    for (const times of [1, 2]) {
      heddle.child.kill('SIGHUP')
      await heddle.output(new RegExp(`(?:SIGHUP is ignored: [^]* restart to change it[^]*){${times}}`))
      assert.equal(await (await fetch(url, { headers: { connection: 'close' } })).text(), 'hello')
    }
    heddle.child.kill('SIGTERM')
    assert.equal((await heddle.exit()).code, 0)
  })
}

/** Requests to the command after whoever read its output has stopped to. */
async function survives(t: TestContext, closed: 'stdout' | 'stderr' | 'both', format: string): Promise<void> {
  const answers = 20
  await using backend = await mockBackend(Array(answers).fill({ body: 'hello' }))
  const flags = ['-l', '127.0.0.1:0', '-b', backend.url, '--access-log', format, '--log-level', 'debug']
  const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let url: string | undefined
  let text = ''
  child.stderr.on('data', (bytes) => {
    text += bytes
  })
  while (url === undefined) {
    await once(child.stderr, 'data')
    url = /listening on (http:\/\/[\d.:]+)/.exec(text)?.[1]
  }
  if (closed !== 'stderr') child.stdout.destroy()
  if (closed !== 'stdout') child.stderr.destroy()
  for (let i = 0; i < answers; i++) {
    const response = await fetch(url, { headers: { connection: 'close' } })
    assert.equal(await response.text(), 'hello')
    // What cannot be told, too: a broken request, and a signal.
    await fetch(url, { method: 'PUT', headers: { 'transfer-encoding': 'x' } }).catch(() => {})
  }
  child.kill('SIGHUP')
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'close'), [0, null])
  // Not for each batch of lines: that would be ten times a second for as long as the command runs.
  if (closed === 'stdout') {
    assert.equal(text.match(/access log lines were lost: EPIPE/g)?.length, 1)
    assert.match(text, /"\d+ access log lines were lost"/)
  }
}

for (const closed of ['stdout', 'stderr', 'both'] as const) {
  test(`closed output (${closed}) does not end the command`, (t) => survives(t, closed, 'json'))
}
