import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { createProxy, type ListenOptions, workerThreads } from '../../src/index.ts'
import { without } from '../threads/threaded.ts'

const TARGET = { target: 'http://127.0.0.1:1', drainTimeoutMs: 50 }
const HERE = { port: 0, host: '127.0.0.1' } as const
const skipThreads = await without('kernel')

/** What the kernel lets a backlog be. */
function somaxconn(): number {
  try {
    return Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
  } catch {
    return 0
  }
}

/** Asks the kernel for the backlogs of the sockets that listen on a port, with ss(8). */
function backlogs(port: number): number[] {
  const rows = execFileSync('ss', ['-H', '-ltn', `sport = :${port}`], { encoding: 'utf8' })
    .trim()
    .split('\n')
  return rows.map((row) => Number(row.trim().split(/\s+/)[2]))
}

function withoutSs(): string | false {
  try {
    execFileSync('ss', ['-V'])
    return false
  } catch {
    return 'there is no ss(8)'
  }
}
const skipSs = withoutSs()

test('600 clients at once are all connected while the event loop is busy', {
  skip: somaxconn() < 1024 && 'the kernel allows no longer backlog',
}, async () => {
  await using proxy = createProxy(TARGET)
  const { port } = await proxy.listen(HERE)
  const connected = new Int32Array(new SharedArrayBuffer(4))
  const source = `
    const net = require('node:net')
    const { workerData: { port, connected } } = require('node:worker_threads')
    for (let i = 0; i < 600; i++) {
      net.connect(port, '127.0.0.1', () => {
        Atomics.add(connected, 0, 1)
        Atomics.notify(connected, 0)
      }).on('error', () => {})
    }`
  const worker = new Worker(source, { eval: true, workerData: { port, connected } })
  // This thread accepts none of them meanwhile. Past the backlog a client would wait for that, however long.
  for (let count = 0; count < 600; count = Atomics.load(connected, 0)) {
    if (Atomics.wait(connected, 0, count, 10_000) === 'timed-out') break
  }
  const count = Atomics.load(connected, 0)
  await worker.terminate()
  assert.equal(count, 600)
})

for (const [name, options, expected] of [
  ['by default 4096', {}, 4096],
  ['as listen({ backlog }) says', { backlog: 17 }, 17],
] as const) {
  test(`the backlog is ${name}`, { skip: skipSs }, async () => {
    await using proxy = createProxy(TARGET)
    const { port } = await proxy.listen({ ...HERE, ...options })
    assert.deepEqual(backlogs(port), [Math.min(expected, somaxconn())])
  })

  test(`the backlog of each thread is ${name}`, { skip: skipSs || skipThreads }, async () => {
    await using proxy = createProxy({ ...TARGET, executor: workerThreads({ threads: 2 }) })
    const { port } = await proxy.listen({ ...HERE, ...options })
    assert.deepEqual(backlogs(port), Array(2).fill(Math.min(expected, somaxconn())))
  })
}

test('what is no place to listen is refused, and not taken for any free port', async () => {
  await using proxy = createProxy(TARGET)
  for (const [where, message] of [
    ['8080', /^listen: it was given "8080"; allowed: a port, such as 8080, or an object of port, host, /],
    [undefined, /^listen: it was given undefined; /],
    [{ prot: 8080 }, /^listen: prot is unknown; allowed: /],
  ] as const) {
    await assert.rejects(proxy.listen(where as never), { name: 'TypeError', message })
  }
})

test('a backlog that cannot be is refused', async () => {
  await using proxy = createProxy(TARGET)
  for (const backlog of [0, -1, 1.5, Number.NaN, '511']) {
    await assert.rejects(proxy.listen({ ...HERE, backlog } as ListenOptions), {
      name: 'TypeError',
      message: /^listen: backlog is .*; allowed: a whole number, 1 or more$/,
    })
  }
})
