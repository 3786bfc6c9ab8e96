import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { createProxy, type WorkerThreadsOptions, workerThreads } from '../../src/index.ts'
import { manualClock, mockBackend, recordingLogger } from '../../src/testing/index.ts'
import type { RawClient } from '../support/raw-client.ts'
import { gate } from '../support/running-proxy.ts'
import { withoutWrk, wrk } from '../support/wrk.ts'
import { ask, clientsOfEntries, clientsOfThreads, entryOf, get, LOOPBACK, threadLog, without } from './threaded.ts'

const skip = await without()

/** The threads of this process, in the order in which they begin. */
function watchWorkers(t: TestContext): readonly Worker[] {
  const workers: Worker[] = []
  const onWorker = (worker: Worker): void => void workers.push(worker)
  process.on('worker', onWorker)
  t.after(() => process.off('worker', onWorker))
  return workers
}

/** Two threads of the server that dies on demand. */
async function deadly(backend: { readonly url: string }, options: WorkerThreadsOptions = {}) {
  const log = threadLog()
  const logger = recordingLogger()
  const lines: string[] = []
  const running = await workerThreads({
    entry: entryOf('deadly', [['backend', backend.url]]),
    threads: 2,
    drainMs: 100,
    ...options,
  }).start({
    listen: LOOPBACK,
    logger,
    observer: { onThread: log.onThread, onLines: (more) => lines.push(...more) },
  })
  await log.next('started')
  await log.next('started')
  return { running, log, logger, lines }
}

/** The first of the clients and the other one. */
function pair(clients: Map<number, RawClient>): [victim: number, RawClient, RawClient] {
  const [[victim, first], [, second]] = Array.from(clients) as [[number, RawClient], [number, RawClient]]
  return [victim, first, second]
}

const DEATHS = [
  ['an error that nobody catches', '/throw', /^not in a request$/],
  ['process.exit()', '/exit', /^it ended with code 3$/],
  ['running out of memory', '/grow', /memory/],
] as const

test('whatever a thread dies of, it costs its own connections, and it is replaced; the others go on', {
  skip,
}, async (t) => {
  await using backend = await mockBackend()
  const { running, log, logger, lines } = await deadly(backend, {
    resourceLimits: { maxOldGenerationSizeMb: 32 },
  })
  for (const [how, path, reason] of DEATHS) {
    await t.test(how, async () => {
      const open = gate()
      backend.use([
        { body: 'before' },
        async (_request, reply) => {
          await open.promise
          reply.send({ body: 'unharmed' })
        },
        { body: 'as ever' },
      ])
      logger.clear()
      const [victim, dying, living] = pair(await clientsOfEntries(running.address.port, 2))
      assert.equal(await ask(dying, `/before${path}`), 'before')
      const answer = ask(living, '/slow')
      while ((await backend.nextRequest()).path !== '/slow');
      dying.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      const died = await log.next('died')
      assert.equal(died.thread, victim)
      assert.match(died.reason, reason)
      assert.equal(died.serving, 1)
      await dying.ended
      const started = await log.next('started')
      assert.equal(started.reason, `replaces thread ${victim}, which died`)
      assert.equal(started.serving, 2)
      open.open()
      assert.equal(await answer, 'unharmed')
      const entry = logger.entries.find(({ level }) => level === 'error')
      assert.match(entry?.message ?? '', new RegExp(`^thread ${victim} died: `))
      assert.equal(entry?.fields.thread, victim)
      // What it had to tell is not lost with it, unless it had not even the memory for that.
      const line = lines.map((one) => JSON.parse(one)).find(({ target }) => target === `/before${path}`)
      if (path !== '/grow') assert.equal(line?.thread, victim)
      // The new one serves too.
      const clients = await clientsOfEntries(running.address.port, 2)
      assert.equal(await ask(clients.get(started.thread) as RawClient), 'as ever')
      for (const client of [living, ...clients.values()]) client.socket.destroy()
    })
  }
  await running.close()
})

test('what a dead thread had pending is taken back, and the count of exchanges does not fall', {
  skip,
}, async (t) => {
  const workers = watchWorkers(t)
  await using backend = await mockBackend([...Array(40).fill({ body: 'ok' })])
  await using proxy = createProxy({
    target: backend.url,
    executor: workerThreads({ threads: 2 }),
    closeGraceMs: 100,
  })
  const log = threadLog()
  proxy.on('thread', log.onThread)
  const { port } = await proxy.listen(LOOPBACK)
  const [victim, dying, living] = pair(await clientsOfThreads(proxy, port, 2))
  backend.use(() => {})
  for (const client of [dying, living]) client.write('GET /held HTTP/1.1\r\nHost: a\r\n\r\n')
  while (backend.requests.filter(({ path }) => path === '/held').length < 2) await backend.nextRequest()
  const pending = (): number | undefined => proxy.stats().groups[0]?.backends[0]?.pending
  const before = proxy.stats()
  assert.deepEqual([pending(), before.active], [2, 2])
  await workers[victim - 1]?.terminate()
  await log.next('died')
  await dying.ended
  assert.deepEqual([pending(), proxy.stats().active], [1, 1])
  assert.equal(proxy.stats().exchanges, before.exchanges)
  // Also when another thread has taken its place in the memory.
  while (proxy.stats().threads.every(({ thread }) => thread <= 2)) await log.next('started')
  assert.equal(proxy.stats().exchanges, before.exchanges)
  assert.deepEqual([pending(), proxy.stats().active], [1, 1])
  living.socket.destroy()
})

test('a crash loop ends with an error, and the threads that are left go on', { skip }, async () => {
  const log = threadLog()
  const failed = gate<Error>()
  const running = await workerThreads({ entry: entryOf('limited', [['limit', '2']]), threads: 2, maxCrashes: 3 }).start(
    {
      listen: LOOPBACK,
      observer: { onThread: log.onThread, onFailed: failed.open },
    },
  )
  const { url } = running.address
  await get(`${url}/exit`).catch(() => {})
  const { message } = await failed.promise
  assert.match(
    message,
    /^3 threads died one after another and are not replaced any more; the last: thread 4 is too many$/,
  )
  assert.equal(log.changes.filter(({ what }) => what === 'died').length, 3)
  const left = running.threads()
  assert.deepEqual([left.length, left[0]?.state], [1, 'serving'])
  assert.deepEqual(await get(url), { status: 200, text: String(left[0]?.thread) })
  await running.close()
})

test('what was given up is tried again by a reload, and what dies then is replaced as ever', { skip }, async () => {
  const log = threadLog()
  const failed = gate<Error>()
  await using running = await workerThreads({
    entry: entryOf('limited', [['limit', '9']]),
    threads: 1,
    maxCrashes: 2,
  }).start({ listen: LOOPBACK, observer: { onThread: log.onThread, onFailed: failed.open } })
  const { url } = running.address
  const exit = async (): Promise<void> => {
    await log.next('started')
    await get(`${url}/exit`).catch(() => {})
    await log.next('died')
  }
  await exit()
  await exit()
  await failed.promise
  assert.deepEqual(running.threads(), [])
  await running.reload()
  assert.equal((await get(url)).text, '3')
  await exit()
  await log.next('started')
  assert.equal((await get(url)).text, '4')
})

test('a reload replaces threads that were just starting when it was called', { skip }, async (t) => {
  const workers = watchWorkers(t)
  await using running = await workerThreads({ entry: entryOf('limited', [['limit', '9']]), threads: 2 }).start({
    listen: LOOPBACK,
  })
  const replacing = once(process, 'worker')
  await workers[0]?.terminate()
  await replacing
  assert.deepEqual(
    running.threads().map(({ thread, state }) => [thread, state]),
    [
      [2, 'serving'],
      [3, 'starting'],
    ],
  )
  await running.reload()
  assert.deepEqual(
    running.threads().map(({ thread, state }) => [thread, state]),
    [
      [4, 'serving'],
      [5, 'serving'],
    ],
  )
})

test('one that dies while another one is added is made good, and there are never more than max', {
  skip,
}, async (t) => {
  const workers = watchWorkers(t)
  const clock = manualClock()
  const log = threadLog()
  await using running = await workerThreads({
    entry: entryOf('limited', [['limit', '99']]),
    threads: { min: 2, max: 3 },
    scale: { growAbove: 0, shrinkBelow: 0, forMs: 0, coolDownMs: 0 },
    clock,
  }).start({ listen: LOOPBACK, observer: { onThread: log.onThread } })
  for (let i = 0; i < 2; i++) await log.next('started')
  let clients = await clientsOfEntries(running.address.port, 2)
  process.once('worker', () => void workers[0]?.terminate())
  while (running.threads().length < 3) {
    for (const client of clients.values()) await ask(client)
    clock.advance(500)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal((await log.next('died')).thread, 1)
  for (let i = 0; i < 2; i++) await log.next('started')
  const serving = (): number => running.threads().filter(({ state }) => state === 'serving').length
  assert.equal(serving(), 3)
  for (const client of clients.values()) client.socket.destroy()
  clients = await clientsOfEntries(running.address.port, 3)
  for (let i = 0; i < 10; i++) {
    for (const client of clients.values()) await ask(client)
    clock.advance(500)
  }
  for (const client of clients.values()) client.socket.destroy()
  await running.reload()
  assert.equal(serving(), 3)
  assert.equal(running.threads().length, 3)
})

test('a thread that dies while it retires has died, and is told as such', { skip }, async () => {
  await using backend = await mockBackend(() => {})
  const { running, log, logger } = await deadly(backend, { drainMs: 60_000 })
  // It retires first.
  const [held, dying] = await Promise.all(
    [1, 2].map(async () => {
      const clients = await clientsOfEntries(running.address.port, 2)
      clients.get(2)?.socket.destroy()
      return clients.get(1) as RawClient
    }),
  )
  held?.write('GET /held HTTP/1.1\r\nHost: a\r\n\r\n')
  while ((await backend.nextRequest()).path !== '/held');
  const reloaded = running.reload()
  await log.next('retiring')
  dying?.write('GET /exit HTTP/1.1\r\nHost: a\r\n\r\n')
  const { thread, reason } = await log.next('died')
  assert.deepEqual([thread, reason], [1, 'it ended with code 3'])
  assert.ok(logger.messages('error').includes('thread 1 died: it ended with code 3'))
  await held?.ended
  await reloaded
  assert.deepEqual(
    running.threads().map((one) => one.thread),
    [3, 4],
  )
  await running.close()
})

test('what the observer of an application throws is logged, and changes nothing', { skip }, async () => {
  const logger = recordingLogger()
  const running = await workerThreads({ entry: entryOf('limited', [['limit', '9']]), threads: 1 }).start({
    listen: LOOPBACK,
    logger,
    observer: {
      onThread({ what }) {
        throw new Error(`not ${what}`)
      },
    },
  })
  await running.reload()
  assert.equal((await get(running.address.url)).text, '2')
  await running.close()
  assert.deepEqual(
    logger.messages('error'),
    ['started', 'started', 'retiring', 'ended', 'retiring', 'ended'].map(
      (what) => `an observer of the threads threw: not ${what}`,
    ),
  )
})

test('reload keeps what serves where the new threads cannot start, as often as one tries', { skip }, async () => {
  const failures: Error[] = []
  const running = await workerThreads({ entry: entryOf('limited', [['limit', '2']]), threads: 2, maxCrashes: 2 }).start(
    {
      listen: LOOPBACK,
      observer: { onFailed: (error) => failures.push(error) },
    },
  )
  for (let thread = 3; thread < 6; thread++) {
    await assert.rejects(running.reload(), new RegExp(`thread ${thread} could not start: thread ${thread} is too many`))
  }
  assert.deepEqual(
    running.threads().map(({ thread, state }) => [thread, state]),
    [
      [1, 'serving'],
      [2, 'serving'],
    ],
  )
  assert.deepEqual(failures, [])
  assert.equal((await get(running.address.url)).status, 200)
  await running.close()
})

test('where one of the first threads cannot start, nothing starts and the error says why', { skip }, async () => {
  const log = threadLog()
  const started = workerThreads({ entry: entryOf('limited', [['limit', '1']]), threads: 2 }).start({
    listen: LOOPBACK,
    observer: { onThread: log.onThread },
  })
  await assert.rejects(started, (error: Error) => {
    assert.equal(error.message, 'thread 2 could not start: thread 2 is too many')
    assert.match((error.cause as Error).stack ?? '', /limited\.js/)
    return true
  })
  assert.equal((await log.next('ended')).thread, 1)
})

test('a crash under load costs the connections of the thread that died, and no other', {
  skip: skip || withoutWrk,
}, async () => {
  await using backend = await mockBackend()
  const { running, log } = await deadly(backend)
  const { url } = running.address
  const running32 = wrk(url, { connections: 32, seconds: 1 })
  while (running.threads().reduce((sum, thread) => sum + thread.connections, 0) < 32) await get(url)
  const before = running.threads()
  await get(`${url}/exit`).catch(() => {})
  const { thread } = await log.next('died')
  const { requests, failures, text } = await running32
  const lost = before.find((one) => one.thread === thread)?.connections ?? 0
  assert.ok(requests > 100, text)
  assert.ok(failures <= lost + 1, `${lost} connections were lost: ${text}`)
  assert.equal(running.threads().length, 2)
  await running.close()
})
