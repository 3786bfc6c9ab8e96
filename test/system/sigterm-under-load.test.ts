import assert from 'node:assert/strict'
import { test } from 'node:test'
import { directory, start } from '../cli/command.ts'
import { load, loadedBackend } from '../support/busy-clients.ts'
import { until, without } from '../threads/threaded.ts'

const skipThreads = await without()

for (const threads of [1, 2]) {
  test(`SIGTERM under load ends the command with 0, and no request without a line in the log (threads: ${threads})`, {
    skip: threads > 1 && skipThreads,
  }, async (t) => {
    const backend = await loadedBackend(t)
    const config = { target: backend.url, drainTimeoutMs: 1500 }
    const flags = ['-l', '127.0.0.1:0', '--threads', String(threads), '--access-log', 'json', '--config', 'heddle.json']
    const heddle = start(t, flags, directory(t, { 'heddle.json': JSON.stringify(config) }))
    const { port } = new URL(await heddle.url())
    const running = await load(Number(port))
    await until(t, () => running.answered.size > 200)
    heddle.child.kill('SIGTERM')
    const { code, stdout } = await heddle.exit()
    running.stop()
    await running.over
    assert.equal(code, 0)
    assert.deepEqual(running.codes, [1001, 1001])
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const logged = new Map<string, number>()
    for (const { target } of lines) logged.set(target, (logged.get(target) ?? 0) + 1)
    for (const path of [...backend.seen, ...running.answered]) assert.equal(logged.get(path), 1, path)
    // What has not ended by itself is cut, and told as that.
    const streams = lines.filter(({ target }) => target.startsWith('/stream'))
    assert.equal(streams.length, 2)
    for (const { outcome } of streams) assert.ok(['truncated', 'aborted'].includes(outcome), outcome)
    const sockets = lines.filter(({ target }) => target.startsWith('/ws'))
    assert.deepEqual(
      sockets.map(({ outcome }) => outcome),
      ['upgraded', 'upgraded'],
    )
  })
}
