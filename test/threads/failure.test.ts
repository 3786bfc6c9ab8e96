import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import {
  createProxy,
  type Logger,
  type RunningThreads,
  serveModule,
  type ThreadObserver,
  type WorkerThreadsOptions,
  workerThreads,
} from '../../src/index.ts'
import { manualClock, mockBackend, recordingLogger } from '../../src/testing/index.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { gate } from '../support/running-proxy.ts'
import { withoutWrk, wrk } from '../support/wrk.ts'
import {
  ask,
  clientsOfEntries,
  clientsOfThreads,
  entryOf,
  get,
  LOOPBACK,
  limited,
  threadLog,
  until,
  watchWorkers,
  without,
} from './threaded.ts'

const skip = await without()

/** Two threads of the server that dies on demand. */
async function deadly(backend: { readonly url: string }, options: WorkerThreadsOptions = {}) {
  const log = threadLog()
  const logger = recordingLogger()
  const lines: string[] = []
  const running = await serveModule(entryOf('deadly', [['backend', backend.url]]), {
    threads: 2,
    drainTimeoutMs: 100,
    ...options,
    listen: LOOPBACK,
    logger,
    observer: { onThread: log.onThread, onLines: (more) => lines.push(...more) },
  })
  await log.next('started')
  await log.next('started')
  return { running, log, logger, lines }
}

/** A client whose thread will not come to an end by itself. */
async function makeStuck({ address }: Pick<RunningThreads, 'address'>): Promise<RawClient> {
  const client = rawClient(address.port)
  client.write('GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('stuck')
  return client
}

/** A logger, and the first error with these words. */
function awaitError(words: string): { logger: Logger; said: Promise<string> } {
  const { promise, open } = gate<string>()
  const error = (_: object, message: string): void => void (message.includes(words) && open(message))
  return { logger: { ...recordingLogger(), error }, said: promise }
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

test('a thread that dies loses its connections and is replaced', {
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

test('pending counts of a dead thread are removed, its exchanges are kept', {
  skip,
}, async (t) => {
  const workers = watchWorkers(t)
  await using backend = await mockBackend([...Array(40).fill({ body: 'ok' })])
  await using proxy = createProxy({
    logger: 'silent',
    target: backend.url,
    executor: workerThreads({ threads: 2 }),
    drainTimeoutMs: 100,
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
  const replacing = once(process, 'worker')
  await workers[victim - 1]?.terminate()
  await log.next('died')
  await dying.ended
  assert.deepEqual([pending(), proxy.stats().active], [1, 1])
  assert.equal(proxy.stats().exchanges, before.exchanges)
  // Also when another thread has taken its place in the memory, before that one can do anything and after.
  await replacing
  assert.equal(proxy.stats().exchanges, before.exchanges)
  while (proxy.stats().threads.every(({ thread }) => thread <= 2)) await log.next('started')
  assert.equal(proxy.stats().exchanges, before.exchanges)
  assert.deepEqual([pending(), proxy.stats().active], [1, 1])
  living.socket.destroy()
})

test('a crash loop ends with an error, and the remaining threads continue', { skip }, async () => {
  const log = threadLog()
  const logger = recordingLogger()
  const failed = gate<Error>()
  const running = await serveModule(entryOf('limited', [['limit', '2']]), {
    threads: 2,
    maxCrashes: 3,
    listen: LOOPBACK,
    logger,
    observer: { onThread: log.onThread, onFailed: failed.open },
  })
  const { url } = running.address
  await get(`${url}/exit`).catch(() => {})
  const { message } = await failed.promise
  assert.match(
    message,
    /^3 threads died one after another and are not replaced any more; the last: thread 4 is too many$/,
  )
  assert.ok(logger.messages('error').includes(message))
  assert.equal(log.changes.filter(({ what }) => what === 'died').length, 3)
  const left = running.threads()
  assert.deepEqual([left.length, left[0]?.state], [1, 'serving'])
  assert.deepEqual(await get(url), { status: 200, text: String(left[0]?.thread) })
  await running.close()
})

test('after an unobserved crash loop the process continues while a thread serves', { skip }, async (t) => {
  const exitCode = process.exitCode
  const { logger, said } = awaitError('are not replaced any more')
  const { running } = await limited(t, 2, { threads: 2, maxCrashes: 2, logger })
  await get(`${running.address.url}/exit`).catch(() => {})
  await said
  assert.equal(process.exitCode, exitCode)
  assert.equal((await get(running.address.url)).status, 200)
})

test('deaths after ten seconds of service are not a crash loop', { skip }, async (t) => {
  const clock = manualClock()
  const failed = gate<Error>()
  const { running, log } = await limited(t, 9, {
    threads: 1,
    maxCrashes: 2,
    clock,
    observer: { onFailed: failed.open },
  })
  await log.next('started')
  for (let thread = 1; thread < 4; thread++) {
    clock.advance(10_000)
    await get(`${running.address.url}/exit`).catch(() => {})
    assert.equal((await log.next('died')).thread, thread)
    clock.advance(0)
    const next = await Promise.race([log.next('started'), failed.promise])
    assert.ok(!(next instanceof Error), String(next))
    assert.deepEqual([next.thread, next.reason], [thread + 1, `replaces thread ${thread}, which died`])
  }
})

test('a reload replaces threads that were given up', { skip }, async () => {
  const log = threadLog()
  const failed = gate<Error>()
  await using running = await serveModule(entryOf('limited', [['limit', '9']]), {
    threads: 1,
    maxCrashes: 2,
    listen: LOOPBACK,
    observer: { onThread: log.onThread, onFailed: failed.open },
  })
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

test('a reload replaces starting threads too', { skip }, async (t) => {
  const workers = watchWorkers(t)
  await using running = await serveModule(entryOf('limited', [['limit', '9']]), { threads: 2, listen: LOOPBACK })
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

test('a thread that dies while one is added is replaced, up to max', {
  skip,
}, async (t) => {
  const workers = watchWorkers(t)
  const clock = manualClock()
  const log = threadLog()
  await using running = await serveModule(entryOf('limited', [['limit', '99']]), {
    threads: { min: 2, max: 3 },
    scale: { growAbove: 0, shrinkBelow: 0, forMs: 0, coolDownMs: 0 },
    clock,
    listen: LOOPBACK,
    observer: { onThread: log.onThread },
  })
  for (let i = 0; i < 2; i++) await log.next('started')
  let clients = await clientsOfEntries(running.address.port, 2)
  process.once('worker', () => void workers[0]?.terminate())
  while (workers.length < 3) {
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

test('a thread that dies during a reload of another one is replaced', { skip }, async (t) => {
  const { running, log, workers } = await limited(t, 9, { threads: 2 })
  process.once('worker', () => void workers[1]?.terminate())
  await running.reload()
  assert.equal((await log.next('died')).thread, 2)
  const states = (): unknown[] => running.threads().map(({ thread, state }) => [thread, state])
  await until(t, () => states().flat().includes('starting') === false)
  assert.deepEqual(states(), [
    [3, 'serving'],
    [4, 'serving'],
  ])
})

test('an added thread is replaced when it dies, a retired one is not', { skip }, async (t) => {
  const clock = manualClock()
  // Busy is whoever does anything at all, and of two threads one has nothing to do.
  const scale = { growAbove: 0, shrinkBelow: 0.9, forMs: 1000, coolDownMs: 60_000 }
  const { running, log, workers } = await limited(t, 99, { threads: { min: 1, max: 2 }, scale, clock })
  await log.next('started')
  const client = rawClient(running.address.port)
  const serveUntil = async (holds: () => boolean): Promise<void> => {
    while (!holds()) {
      t.signal.throwIfAborted()
      await ask(client)
      clock.advance(500)
    }
  }
  // Not while it starts: it has a minute of this clock for that.
  await serveUntil(() => workers.length === 2)
  assert.equal((await log.next('started')).thread, 2)
  await workers[1]?.terminate()
  assert.equal((await log.next('died')).thread, 2)
  clock.advance(0)
  assert.equal((await log.next('started')).thread, 3)
  await serveUntil(() => log.changes.some(({ what }) => what === 'retiring'))
  assert.equal((await log.next('ended')).thread, 3)
  client.socket.destroy()
  await running.reload()
  assert.deepEqual(
    running.threads().map(({ thread, state }) => [thread, state]),
    [[4, 'serving']],
  )
})

test('if another thread cannot start, the number stays, with a log line', { skip }, async (t) => {
  const clock = manualClock()
  const scale = { growAbove: 0, shrinkBelow: 0, forMs: 0, coolDownMs: 1e9 }
  const { logger, said } = awaitError('cannot change the number of threads')
  const { running, workers } = await limited(t, 1, { threads: { min: 1, max: 2 }, scale, clock, logger })
  const { url } = running.address
  while (workers.length < 2) {
    t.signal.throwIfAborted()
    await get(url)
    clock.advance(500)
  }
  assert.equal(await said, 'cannot change the number of threads: thread 2 could not start: thread 2 is too many')
  assert.equal((await get(url)).text, '1')
  assert.equal(running.threads().length, 1)
})

test('after close() no thread is replaced', { skip }, async (t) => {
  const clock = manualClock()
  const { running, log, workers } = await limited(t, 9, { threads: 2, clock })
  await workers[0]?.terminate()
  assert.equal((await log.next('died')).thread, 1)
  await makeStuck(running)
  const closed = running.close()
  await log.next('retiring')
  await workers[1]?.terminate()
  await closed
  assert.equal((await log.next('died')).thread, 2)
  assert.deepEqual([workers.length, clock.scheduled], [2, 0])
  assert.deepEqual(running.threads(), [])
})

test('a thread in an endless loop is terminated after its drain timeout', { skip }, async (t) => {
  const clock = manualClock()
  const { running, log } = await limited(t, 9, { threads: 1, clock, drainTimeoutMs: 5000 })
  const client = await makeStuck(running)
  const closed = Promise.all([running.close(), running.close()])
  await log.next('retiring')
  // And a second more than what it knows of.
  clock.advance(6000)
  await closed
  await client.ended
  assert.deepEqual(
    log.changes.map(({ what }) => what),
    ['started', 'retiring', 'ended'],
  )
})

test('close() during a reload ends every thread and starts none', { skip }, async (t) => {
  const { promise: closed, open } = gate<Promise<void>>()
  const changes: string[] = []
  const observer: ThreadObserver = {
    onThread({ thread, what }) {
      changes.push(`${thread} ${what}`)
      if (thread === 2 && what === 'started') open(running.close())
    },
  }
  const { running, workers } = await limited(t, 9, { threads: 1, observer })
  await running.reload()
  await closed
  assert.deepEqual(changes.sort(), ['1 ended', '1 retiring', '1 started', '2 ended', '2 retiring', '2 started'])
  assert.equal(workers.length, 2)
  assert.deepEqual(running.threads(), [])
})

test('a thread that dies while it retires is reported as dead', { skip }, async () => {
  await using backend = await mockBackend(() => {})
  const { running, log, logger } = await deadly(backend, { drainTimeoutMs: 60_000 })
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

const oops = (what: string): never => {
  throw new Error(`not ${what}`)
}
for (const [way, fail] of [
  ['throws', oops],
  ['rejects with', async (what: string) => oops(what)],
] as const) {
  test(`an error that an observer ${way} is logged`, { skip }, async () => {
    const logger = recordingLogger()
    const running = await serveModule(entryOf('limited', [['limit', '9']]), {
      threads: 1,
      listen: LOOPBACK,
      logger,
      observer: { onThread: ({ what }) => fail(what) as never },
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
}

test('a failing logger of serveModule() is a process warning', { skip }, async () => {
  const warnings: string[] = []
  const onWarning = ({ message }: Error): void => void warnings.push(message)
  process.on('warning', onWarning)
  const fail = (): never => oops('written')
  const running = await serveModule(entryOf('limited', [['limit', '9']]), {
    threads: 1,
    listen: LOOPBACK,
    logger: { debug: fail, info: fail, warn: fail, error: (async () => fail()) as never },
    observer: { onThread: ({ what }) => oops(what) },
  })
  await running.close()
  process.off('warning', onWarning)
  assert.ok(warnings.includes('the logger threw: not written'), warnings.join())
})

test('reload() keeps the old threads if new ones cannot start', { skip }, async () => {
  const failures: Error[] = []
  const running = await serveModule(entryOf('limited', [['limit', '2']]), {
    threads: 2,
    maxCrashes: 2,
    listen: LOOPBACK,
    observer: { onFailed: (error) => failures.push(error) },
  })
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

test('if an initial thread cannot start, the start fails with a reason', { skip }, async () => {
  const log = threadLog()
  const started = serveModule(entryOf('limited', [['limit', '1']]), {
    threads: 2,
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

test('if an initial thread cannot start, only the caller is notified', { skip }, async (t) => {
  const failures: Error[] = []
  const observer = { onFailed: (error: Error): void => void failures.push(error) }
  for (const limit of [0, 1]) {
    const started = limited(t, limit, { threads: 2, maxCrashes: 1, observer })
    await assert.rejects(started, new RegExp(`thread ${limit + 1} is too many$`))
  }
  assert.deepEqual(failures, [])
})

test('a crash under load loses only the connections of its thread', {
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
  // The one that takes its place, however long the load lets it take.
  await log.next('started')
  assert.equal(running.threads().length, 2)
  await running.close()
})
