import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { consoleLogger } from '../../src/loggers/console.ts'

const LINES = 60_000
const FILLER = 'x'.repeat(1000)
/** What may wait, and one line more. */
const BOUND = 4 * 1024 * 1024 + 2000

if (process.send !== undefined && process.argv[2] === 'child') {
  // What the test runs as: standard error is a pipe of the parent's.
  const logger = consoleLogger({ level: 'debug' })
  let most = 0
  for (let i = 0; i < LINES; i++) {
    logger.info({ i, FILLER }, 'a line')
    most = Math.max(most, process.stderr.writableLength)
    // Rotation of the event loop pass, as they do while requests are served.
    if (i % 1000 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  process.send({ most })
  process.once('message', () => {
    logger.info({ i: LINES }, 'the last line')
    process.disconnect()
  })
} else {
  test('an unread pipe bounds diagnostics, and the dropped lines are counted', async () => {
    const child = fork(fileURLToPath(import.meta.url), ['child'], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      execArgv: [],
    })
    const [{ most }] = (await once(child, 'message')) as [{ most: number }]
    assert.ok(most <= BOUND, `${most} bytes waited`)
    let text = ''
    let isAsked = false
    child.stderr?.setEncoding('latin1').on('data', (more: string) => {
      text += more
      if (isAsked || !text.includes('were dropped here')) return
      isAsked = true
      child.send('flows')
    })
    await once(child, 'close')
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const told = lines.filter(({ dropped }) => dropped !== undefined)
    assert.equal(told.length, 1)
    assert.equal(told[0].level, 'warn')
    assert.equal(lines.length - 2 + told[0].dropped, LINES)
    // In order, with the number where lines are missing.
    assert.deepEqual(
      lines.slice(0, -2).map(({ i }) => i),
      Array.from({ length: lines.length - 2 }, (_, i) => i),
    )
    assert.deepEqual([lines.at(-2), lines.at(-1).i], [told[0], LINES])
  })
}
