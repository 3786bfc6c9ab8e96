import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { WebSocket } from 'ws'
import {
  type Backend,
  createProxy,
  type ExchangeRecord,
  type ExchangeView,
  ProxyError,
  workerThreads,
} from '../../src/index.ts'
import { cutMidBody, deadPort, mockBackend, recordingLogger } from '../../src/testing/index.ts'
import { converse } from '../support/raw-client.ts'
import { gate, queue } from '../support/running-proxy.ts'
import { webSocketBackend } from '../support/upgrade-backends.ts'
import { ask, clientsOfThreads, get, inTime, LOOPBACK, until, without } from './threaded.ts'

const skip = await without()

test('events of an exchange are the same with and without threads', { skip }, async () => {
  await using backend = await mockBackend({ status: 201, body: 'ok' })
  await using proxy = createProxy({
    logger: 'silent',
    backends: [{ url: backend.url, id: 'one' }],
    executor: workerThreads({ threads: 2 }),
  })
  const told: string[] = []
  const finished = queue<{ exchange: ExchangeView; record: ExchangeRecord }>()
  proxy
    .on('request', (exchange) => told.push(`request ${exchange.method} ${exchange.target}`))
    .on('attempt', (exchange, { id }) => told.push(`attempt ${exchange.attempts} at ${id}, ${exchange.backend?.id}`))
    .on('response', (_exchange, status) => told.push(`response ${status}`))
    .on('finish', (exchange, record) => finished.push({ exchange, record }))
  const { url } = await proxy.listen(LOOPBACK)
  await fetch(`${url}/path?x`, { headers: { 'x-note': 'a', connection: 'close' } })
  const { exchange, record } = await finished.next()
  assert.deepEqual(told, ['request GET /path?x', 'attempt 1 at one, one', 'response 201'])
  assert.equal(exchange.header('x-note'), 'a')
  assert.equal(exchange.clientAddress, '127.0.0.1')
  assert.equal(exchange.host, new URL(url).host)
  assert.equal(exchange.protocol, 'http')
  assert.equal(exchange.takesSameRoute('GET', '/path?x'), false)
  assert.equal(exchange.signal.aborted, false)
  assert.ok(record.thread === 1 || record.thread === 2)
  assert.deepEqual([record.status, record.backend, record.outcome, record.attempts], [201, 'one', 'answered', 1])
})

test('records and access log lines have the number of their thread', {
  skip,
}, async () => {
  await using backend = await mockBackend()
  const lines = queue<string>()
  await using proxy = createProxy({
    logger: 'silent',
    target: backend.url,
    executor: workerThreads({ threads: 2 }),
    accessLog: { format: 'json', write: lines.push },
  })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  for (const [thread, client] of clients) await ask(client, `/by/${thread}`)
  const seen = new Map<string, number>()
  while (seen.size < 2) {
    const { thread, target } = JSON.parse(await lines.next())
    if (target.startsWith('/by/')) seen.set(target, thread)
  }
  assert.deepEqual(
    [...seen].sort(),
    [...clients.keys()].sort().map((thread) => [`/by/${thread}`, thread]),
  )
  for (const client of clients.values()) client.socket.destroy()
})

test('errors arrive as ProxyError with backend, exchange and cause', {
  skip,
}, async () => {
  const dead = await deadPort()
  await using good = await mockBackend()
  const logger = recordingLogger()
  await using proxy = createProxy({
    backends: [{ url: dead.url, id: 'dead' }, good.url],
    balancer: 'first-available',
    retry: false,
    healthCheck: { consecutiveFailures: 1 },
    executor: workerThreads({ threads: 1 }),
    logger,
  })
  const failed = gate<[ProxyError, ExchangeView | null]>()
  const ejected = gate<[Backend, number, string]>()
  proxy.on('error', (error, exchange) => failed.open([error, exchange])).on('eject', (...args) => ejected.open(args))
  const { url } = await proxy.listen(LOOPBACK)
  assert.equal((await get(`${url}/x`)).status, 502)
  const [error, exchange] = await failed.promise
  assert.ok(error instanceof ProxyError)
  assert.deepEqual(
    [error.code, error.side, error.status, error.backend?.id],
    ['ERR_PROXY_CONNECT', 'backend', 502, 'dead'],
  )
  assert.match(String((error.cause as Error).message), /ECONNREFUSED/)
  assert.equal(exchange?.target, '/x')
  assert.equal(exchange?.path, '/x')
  const [backend, ms, reason] = await ejected.promise
  assert.deepEqual([backend.id, ms], ['dead', 30_000])
  assert.match(reason, /1 failures in a row/)
  assert.equal(backend.isEjected, true)
  const warnings = logger.entries.filter(({ level }) => level === 'warn')
  assert.deepEqual(
    warnings.map(({ fields }) => [fields.thread, fields.backend]),
    [
      [1, 'dead'],
      [1, 'dead'],
    ],
  )
  const started = logger.entries.find(({ message }) => message.startsWith('thread 1 started'))
  assert.equal(started?.fields.thread, 1)
})

test('truncated responses and failed connections are events as well', {
  skip,
}, async () => {
  await using backend = await mockBackend(cutMidBody)
  await using proxy = createProxy({ logger: 'silent', target: backend.url, executor: workerThreads({ threads: 1 }) })
  const errors = queue<ProxyError>()
  const records = queue<ExchangeRecord>()
  proxy.on('error', errors.push).on('finish', (_exchange, record) => records.push(record))
  const { port } = await proxy.listen(LOOPBACK)
  const { text } = await converse(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.match(text, /the first half\r\n$/)
  assert.equal((await errors.next()).code, 'ERR_PROXY_TRUNCATED')
  assert.equal((await records.next()).outcome, 'truncated')
})

test('listeners may change; only events with listeners are sent', { skip }, async (t) => {
  let eventsSent = 0
  const { emit } = Worker.prototype
  t.mock.method(Worker.prototype, 'emit', function (this: Worker, event: string, message: { events?: unknown[] }) {
    eventsSent += message?.events?.length ?? 0
    return emit.call(this, event, message)
  })
  await using backend = await mockBackend()
  await using proxy = createProxy({ logger: 'silent', target: backend.url, executor: workerThreads({ threads: 1 }) })
  const { url } = await proxy.listen(LOOPBACK)
  const all = queue<string>()
  const first: string[] = []
  const onFinish = (_: ExchangeView, record: ExchangeRecord): void => all.push(record.target)
  proxy.on('finish', onFinish).once('finish', (_, record) => first.push(record.target))
  await get(`${url}/1`)
  await get(`${url}/2`)
  assert.deepEqual([await all.next(), await all.next()], ['/1', '/2'])
  assert.deepEqual(first, ['/1'])
  proxy.off('finish', onFinish)
  const once = gate<string>()
  proxy.once('finish', (_, record) => once.open(record.target))
  await get(`${url}/3`)
  assert.equal(await once.promise, '/3')
  // A change comes behind what the thread was told before, and the last batch before its end.
  await proxy.setBackends([backend.url])
  await get(`${url}/4`)
  await proxy.close()
  assert.equal(eventsSent, 3)
})

test('retries and upgrades are events, also of later threads', { skip }, async (t) => {
  const dead = await deadPort()
  await using good = await webSocketBackend()
  await using proxy = createProxy({
    logger: 'silent',
    backends: [
      { url: dead.url, id: 'dead' },
      { url: good.url, id: 'good' },
    ],
    balancer: 'first-available',
    executor: workerThreads({ threads: 1 }),
    drainTimeoutMs: 100,
  })
  const told = queue<unknown[]>()
  const { url } = await proxy.listen(LOOPBACK)
  proxy
    .on('retry', (exchange, error, delayMs) => {
      const { code, phase, attempt, backend } = error
      assert.ok(error instanceof ProxyError)
      told.push(['retry', exchange.target, exchange.attempts, code, phase, attempt, backend?.id, typeof delayMs])
    })
    .on('upgrade', (exchange, backend) => told.push(['upgrade', exchange.group, exchange.attempts, backend.id]))
    .on('finish', (_exchange, { thread, outcome }) => told.push(['finish', thread, outcome]))
  await proxy.reload()
  const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`)
  socket.once('open', () => socket.close())
  const retry = ['retry', '/chat', 1, 'ERR_PROXY_CONNECT', 'connect', 1, 'dead', 'number']
  assert.deepEqual(await inTime(t, told.next()), retry)
  assert.deepEqual(await inTime(t, told.next()), ['upgrade', 'default', 2, 'good'])
  assert.deepEqual(await inTime(t, told.next()), ['finish', 2, 'upgraded'])
})

test('an event names its backend even if it has been removed', { skip }, async () => {
  await using backend = await mockBackend()
  await using other = await mockBackend()
  await using proxy = createProxy({
    logger: 'silent',
    backends: [{ url: backend.url, id: 'gone' }],
    executor: workerThreads({ threads: 1 }),
  })
  const attempted = gate<Backend>()
  proxy.on('request', () => void proxy.setBackends([other.url])).on('attempt', (_exchange, one) => attempted.open(one))
  const { url } = await proxy.listen(LOOPBACK)
  await get(url)
  const { id, url: where } = await attempted.promise
  assert.deepEqual([id, where.href], ['gone', `${backend.url}/`])
})

test('a listener that throws does no harm', { skip }, async () => {
  await using backend = await mockBackend()
  const logger = recordingLogger()
  await using proxy = createProxy({ target: backend.url, executor: workerThreads({ threads: 1 }), logger })
  const told = gate()
  proxy.on('finish', () => {
    told.open()
    throw new Error('a mistake')
  })
  const { url } = await proxy.listen(LOOPBACK)
  assert.equal((await get(url)).status, 200)
  await told.promise
  assert.equal((await get(url)).status, 200)
  assert.ok(logger.messages('error').some((message) => message.includes('a listener of "finish" threw: a mistake')))
})

test('pool stats are summed over all threads, by group', { skip }, async (t) => {
  await using one = await mockBackend()
  await using two = await mockBackend()
  await using proxy = createProxy({
    logger: 'silent',
    groups: { one: { backends: [{ url: one.url, id: 'a' }] }, two: { backends: [{ url: two.url, id: 'b' }] } },
    routes: [
      { path: '/one', group: 'one' },
      { path: '/', group: 'two' },
    ],
    executor: workerThreads({ threads: 2 }),
  })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  for (const client of clients.values()) for (let i = 0; i < 3; i++) await ask(client, '/one')
  const pools = () => proxy.stats().groups.map(({ pool }) => pool.backends)
  // Threads report every half second.
  await until(t, () => pools()[0]?.[0]?.idle === 2 && pools()[0]?.[0]?.reused === 4)
  const figures = { connections: 2, idle: 2, connecting: 0, waiting: 0 }
  const [ones, twos] = pools()
  assert.deepEqual(ones, [{ backend: 'a', ...figures, opened: one.connections, reused: 4 }])
  assert.deepEqual(
    twos?.map(({ backend, opened }) => [backend, opened]),
    [['b', two.connections]],
  )
  assert.ok(proxy.stats().threads.every((thread) => !('pools' in thread)))
  for (const client of clients.values()) client.socket.destroy()
  // Those of threads that are gone are not forgotten; what they have open now is nothing.
  await proxy.reload()
  const nothing = { connections: 0, idle: 0, connecting: 0, waiting: 0 }
  assert.deepEqual(pools()[0], [{ backend: 'a', ...nothing, opened: one.connections, reused: 4 }])
  await proxy.setBackends(['http://127.0.0.1:1'], 'one')
  await proxy.reload()
  assert.deepEqual(pools()[0], [])
})
