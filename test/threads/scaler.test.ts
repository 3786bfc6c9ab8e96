import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, type Proxy, workerThreads } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { Scaler } from '../../src/threads/scaler.ts'
import { rawClient } from '../support/raw-client.ts'
import { ask, get, LOOPBACK, listeningSockets, threadLog, without, withoutHandOver } from './threaded.ts'

const bounds = { min: 1, max: 3 }
const options = { growAbove: 0.8, shrinkBelow: 0.3, forMs: 1000, coolDownMs: 5000 }

test('a thread is added when all have been busy for long enough', () => {
  const scaler = new Scaler(bounds, options)
  assert.equal(scaler.decide(0, [0.9]), 0)
  assert.equal(scaler.decide(999, [0.81]), 0)
  assert.equal(scaler.decide(1000, [0.9]), 1)
})

test('no thread is added while one of them is not busy', () => {
  const scaler = new Scaler(bounds, options)
  for (let now = 0; now <= 5000; now += 500) assert.equal(scaler.decide(now, [1, 0.8]), 0)
})

test('a quiet moment resets the time', () => {
  const scaler = new Scaler(bounds, options)
  assert.equal(scaler.decide(0, [0.9]), 0)
  assert.equal(scaler.decide(500, [0.5]), 0)
  assert.equal(scaler.decide(1000, [0.9]), 0)
  assert.equal(scaler.decide(1999, [0.9]), 0)
  assert.equal(scaler.decide(2000, [0.9]), 1)
})

test('a thread is retired when the mean has been low for long enough', () => {
  const scaler = new Scaler(bounds, options)
  assert.equal(scaler.decide(0, [0.5, 0]), 0)
  assert.equal(scaler.decide(500, [0.3, 0.3]), 0)
  assert.equal(scaler.decide(900, [0.5, 0.09]), 0)
  assert.equal(scaler.decide(1899, [0, 0.3]), 0)
  assert.equal(scaler.decide(1900, [0, 0.3]), -1)
})

test('the number stays between min and max', () => {
  const scaler = new Scaler(bounds, options)
  for (let now = 0; now <= 20_000; now += 500) assert.equal(scaler.decide(now, [1, 1, 1]), 0)
  for (let now = 20_500; now <= 40_000; now += 500) assert.equal(scaler.decide(now, [0]), 0)
  const fixed = new Scaler({ min: 2, max: 2 }, options)
  for (let now = 0; now <= 20_000; now += 500) assert.equal(fixed.decide(now, [now % 1000, 0]), 0)
})

test('after a change nothing changes for the cool-down', () => {
  const scaler = new Scaler(bounds, options)
  scaler.decide(0, [1])
  assert.equal(scaler.decide(1000, [1]), 1)
  for (let now = 1500; now < 6000; now += 500) assert.equal(scaler.decide(now, [1, 1]), 0)
  assert.equal(scaler.decide(6000, [1, 1]), 1)
})

for (const [what, busy, left, step] of [
  ['is added', [1], [1, 1], 1],
  ['is retired', [0, 0, 0], [0, 0], -1],
] as const) {
  test(`after a thread ${what}, the time starts anew, despite a short cool-down`, () => {
    const scaler = new Scaler(bounds, { ...options, forMs: 5000, coolDownMs: 1000 })
    scaler.decide(0, busy)
    assert.equal(scaler.decide(5000, busy), step)
    assert.equal(scaler.decide(6000, left), 0)
    assert.equal(scaler.decide(10_999, left), 0)
    assert.equal(scaler.decide(11_000, left), step)
  })
}

test('without serving threads nothing changes', () => {
  const scaler = new Scaler(bounds, {})
  for (const now of [0, 20_000]) assert.equal(scaler.decide(now, []), 0)
})

test('omitted options have defaults', () => {
  const scaler = new Scaler(bounds, {})
  scaler.decide(0, [1])
  assert.equal(scaler.decide(4999, [1]), 0)
  assert.equal(scaler.decide(5000, [1]), 1)
  scaler.decide(5001, [0, 0])
  assert.equal(scaler.decide(14_999, [0, 0]), 0)
  assert.equal(scaler.decide(15_000, [0, 0]), -1)
  const decideAtOnce = (utilizations: number[]): number => new Scaler(bounds, { forMs: 0 }).decide(0, utilizations)
  assert.deepEqual([[0.8], [0.801], [0.3, 0.3], [0.299, 0.299]].map(decideAtOnce), [0, 1, 0, -1])
})

test('scaling follows the given clock, forMs and the cool-down', {
  skip: await without(),
}, async () => {
  const clock = manualClock()
  await using backend = await mockBackend()
  await using proxy = createProxy({
    target: backend.url,
    executor: workerThreads({
      threads: { min: 1, max: 2 },
      // Busy is whoever does anything at all, and of two threads one has nothing to do.
      scale: { growAbove: 0, shrinkBelow: 0.9, forMs: 2000, coolDownMs: 6000 },
      clock,
    }),
  })
  const log = threadLog()
  proxy.on('thread', log.onThread)
  const { port } = await proxy.listen(LOOPBACK)
  await log.next('started')
  const client = rawClient(port)
  const states = (): string => Array.from(proxy.stats().threads, ({ state }) => state).join()
  /** What the clock says when the threads are not as they were, with a request for each half second. */
  const msUntilChange = async (): Promise<number> => {
    const [from, before] = [clock.now(), states()]
    while (states() === before) {
      await ask(client)
      clock.advance(500)
      await new Promise((resolve) => setImmediate(resolve))
    }
    return clock.now() - from
  }
  const growthMs = await msUntilChange()
  assert.equal(states(), 'serving,starting')
  // The machine's own time would take hundreds of requests. Seen first after half a second.
  assert.ok(growthMs >= 2500 && growthMs < 30_000, `${growthMs} ms`)
  await log.next('started')
  const shrinkMs = await msUntilChange()
  assert.equal((await log.next('retiring')).thread, 2)
  assert.ok(shrinkMs >= 6000 && shrinkMs < 30_000, `${shrinkMs} ms`)
  assert.equal((await log.next('ended')).serving, 1)
  client.socket.destroy()
})

/** One thread, or two under any load. */
function elastic(target: string): Proxy {
  return createProxy({
    target,
    executor: workerThreads({
      threads: { min: 1, max: 2 },
      scale: { growAbove: 0.05, shrinkBelow: 0.05, forMs: 0, coolDownMs: 0 },
    }),
  })
}

test('load adds a thread, its end retires it, and no request is lost', {
  skip: await without(),
}, async () => {
  await using backend = await mockBackend()
  await using proxy = elastic(backend.url)
  const log = threadLog()
  proxy.on('thread', log.onThread)
  const { url } = await proxy.listen(LOOPBACK)
  await log.next('started')
  let isOver = false
  const loops = Array.from({ length: 8 }, async () => {
    const statuses = new Set<number>()
    while (!isOver) statuses.add((await get(url)).status)
    return [...statuses]
  })
  const second = await log.next('started')
  assert.equal(second.serving, 2)
  assert.match(second.reason, /^event loops are busy for \d+ % of the time$/)
  isOver = true
  for (const statuses of await Promise.all(loops)) assert.deepEqual(statuses, [200])
  const retiring = await log.next('retiring')
  assert.equal(retiring.serving, 1)
  assert.equal((await log.next('ended')).thread, retiring.thread)
  assert.equal(proxy.stats().threads.length, 1)
  assert.equal(proxy.stats().exchanges, backend.requests.length)
})

test('listening sockets grow with the threads, and stay when they retire', {
  skip: await withoutHandOver(),
}, async () => {
  await using backend = await mockBackend()
  await using proxy = elastic(backend.url)
  const log = threadLog()
  proxy.on('thread', log.onThread)
  const { url, port } = await proxy.listen(LOOPBACK)
  await log.next('started')
  const untilTwo = async (): Promise<void> => {
    let isOver = false
    const loops = Array.from({ length: 8 }, async () => {
      while (!isOver) assert.equal((await get(url)).status, 200)
    })
    await log.next('started')
    isOver = true
    await Promise.all(loops)
  }
  assert.equal(listeningSockets(port).length, 1)
  await untilTwo()
  const sockets = listeningSockets(port)
  assert.equal(sockets.length, 2)
  await log.next('ended')
  assert.deepEqual(listeningSockets(port), sockets)
  // The one that comes gets the one that was left behind, and with it its share of the connections.
  await untilTwo()
  assert.deepEqual(listeningSockets(port), sockets)
  while (proxy.stats().threads.some(({ exchanges }) => exchanges === 0)) await get(url)
})
