import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import type { HealthControl } from '../../src/contracts/health-check.ts'
import { httpProbe } from '../../src/health-checks/index.ts'
import { Backend } from '../../src/model/backend.ts'
import { type Clock, systemClock } from '../../src/runtime/clock.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockReply } from '../../src/testing/mock-script.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, queue, runProxy } from '../support/running-proxy.ts'

/** Longer than a tick of the deadlines, ms: what is late then comes before the sockets, as far as node is asked. */
const BLOCK_MS = 60

/** The machine's own time, with hours in it in which the process stood still. */
function jumpingClock(): Clock & { standStill(ms: number, until?: () => void): void } {
  let jumpedMs = 0
  return {
    ...systemClock,
    now: () => systemClock.now() + jumpedMs,
    standStill(ms, until) {
      const end = performance.now() + BLOCK_MS
      until?.()
      while (performance.now() < end);
      jumpedMs += ms
    },
  }
}

/** A backend in a thread of its own, which answers so many requests when it is told, while we stand still. */
async function backendInThread(count: number) {
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const worker = new Worker(
    `const { parentPort, workerData: { shared, count } } = require('node:worker_threads')
     const responses = []
     let finished = 0
     const server = require('node:http').createServer((_request, response) => {
       if (responses.push(response) < count) return
       parentPort.postMessage('all')
       Atomics.wait(shared, 0, 0)
       for (const one of responses) one.end('in time', () => {
         if (++finished < count) return
         Atomics.store(shared, 1, 1)
         Atomics.notify(shared, 1)
       })
     })
     server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))`,
    { eval: true, workerData: { shared, count } },
  )
  const [port] = (await once(worker, 'message')) as [number]
  return {
    url: `http://127.0.0.1:${port}`,
    asked: once(worker, 'message'),
    /** Returns when the system has all responses. */
    answer(): void {
      Atomics.store(shared, 0, 1)
      Atomics.notify(shared, 0)
      assert.notEqual(Atomics.wait(shared, 1, 0, 10_000), 'timed-out')
    },
    end: () => worker.terminate(),
  }
}

const CLIENTS = 20

for (const { name, run } of ALL_FRONTS) {
  test(`responses that lie in the sockets when the process goes on are no timeouts, ${name}`, async () => {
    const clock = jumpingClock()
    const backend = await backendInThread(CLIENTS)
    const ejected: string[] = []
    {
      await using front = await run({
        target: backend.url,
        clock,
        retry: false,
        timeouts: { headers: 20_000, idle: 20_000 },
        healthCheck: { consecutiveFailures: 1, maxEjectedPercent: 100 },
      })
      front.proxy.on('eject', (_backend, _ms, reason) => ejected.push(reason))
      const clients = Array.from({ length: CLIENTS }, () => rawClient(front.port))
      for (const client of clients) client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      await backend.asked
      clock.standStill(30_000, backend.answer)
      for (const client of clients) assert.match(await client.until('in time'), /^HTTP\/1\.1 200 /)
      for (const client of clients) client.socket.destroy()
    }
    assert.deepEqual(ejected, [])
    await backend.end()
  })
}

test('an exchange that waits for a free connection gets that whose response came while the process stood still', async () => {
  const clock = jumpingClock()
  const backend = await backendInThread(1)
  {
    await using front = await runProxy({
      target: backend.url,
      clock,
      retry: false,
      pool: { maxConnections: 1 },
      timeouts: { acquire: 20_000, headers: 1_000_000 },
    })
    const first = rawClient(front.port)
    first.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await backend.asked
    const second = rawClient(front.port)
    const isWaiting = new Promise<void>((resolve) => front.proxy.on('attempt', () => resolve()))
    second.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
    await isWaiting
    clock.standStill(30_000, backend.answer)
    assert.match(await second.until('in time'), /^HTTP\/1\.1 200 /)
    for (const client of [first, second]) client.socket.destroy()
  }
  await backend.end()
})

test('a request that lies in the socket when the process goes on finds its kept connection', async () => {
  const clock = jumpingClock()
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, clock })
  const client = rawClient(front.port)
  client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('\r\n\r\n')
  await front.nextRecord()
  client.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
  clock.standStill(100_000)
  assert.equal((await front.nextRecord()).target, '/2')
  client.socket.destroy()
})

/** A probe under way, and what it tells. */
function probe(url: string, clock: Clock) {
  const told: string[] = []
  const ended = queue()
  const control: HealthControl = {
    eject: () => false,
    setUnhealthy: (_backend, isUnhealthy, reason) => void told.push(`${isUnhealthy}: ${reason}`),
  }
  const INTERVAL_MS = 1_000_000
  const check = httpProbe(
    { timeoutMs: 300, intervalMs: INTERVAL_MS },
    {
      ...clock,
      schedule(ms, task) {
        if (ms >= INTERVAL_MS) ended.push(undefined)
        return clock.schedule(ms, task)
      },
    },
  )
  const stop = check.watch?.(new Backend(url), control)
  return { told, ended: ended.next, stop: () => stop?.() }
}

test('an application that is busy at its start does not find its backends unhealthy', async () => {
  await using backend = await mockBackend()
  const one = probe(backend.url, systemClock)
  const end = performance.now() + 400
  while (performance.now() < end);
  await one.ended()
  one.stop()
  assert.deepEqual(one.told, [])
  assert.equal(backend.requests.length, 1)
})

test('a probe that fails after the process stood still is not counted: the backend is asked again', async () => {
  const clock = jumpingClock()
  const first = gate<MockReply>()
  await using backend = await mockBackend((_request, reply) => first.open(reply))
  const one = probe(backend.url, clock)
  const reply = await first.promise
  clock.standStill(30_000)
  backend.use((_request, next) => next.send({ status: 200 }))
  // Whoever waits for a request for so long gives it up.
  reply.reset()
  await one.ended()
  one.stop()
  assert.deepEqual(one.told, [])
  assert.equal(backend.requests.length, 2)
})
