import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
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
import { ask, clientsOfThreads, get, LOOPBACK, without } from './threaded.ts'

const skip = await without()

test('what listeners are told of an exchange in a thread is what they would be told without', { skip }, async () => {
  await using backend = await mockBackend({ status: 201, body: 'ok' })
  await using proxy = createProxy({
    backends: [{ url: backend.url, id: 'one' }],
    executor: workerThreads({ threads: 2 }),
  })
  const told: string[] = []
  const finished = queue<{ exchange: ExchangeView; record: ExchangeRecord }>()
  proxy
    .on('request', (exchange) => told.push(`request ${exchange.method} ${exchange.target}`))
    .on('attempt', (exchange, { id }) => told.push(`attempt ${exchange.attempts} at ${id}`))
    .on('response', (_exchange, status) => told.push(`response ${status}`))
    .on('finish', (exchange, record) => finished.push({ exchange, record }))
  const { url } = await proxy.listen(LOOPBACK)
  await fetch(`${url}/path?x`, { headers: { 'x-note': 'a', connection: 'close' } })
  const { exchange, record } = await finished.next()
  assert.deepEqual(told, ['request GET /path?x', 'attempt 1 at one', 'response 201'])
  assert.equal(exchange.header('x-note'), 'a')
  assert.equal(exchange.clientAddress, '127.0.0.1')
  assert.equal(exchange.host, new URL(url).host)
  assert.equal(exchange.signal.aborted, false)
  assert.ok(record.thread === 1 || record.thread === 2)
  assert.deepEqual([record.status, record.backend, record.outcome, record.attempts], [201, 'one', 'answered', 1])
})

test('each thread says its number in records and in lines of the access log, which one writer gets', {
  skip,
}, async () => {
  await using backend = await mockBackend()
  const lines = queue<string>()
  await using proxy = createProxy({
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

test('errors come as ProxyError, with their backend, exchange and cause; ejections with the backend', {
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

test('a cut response, a connection that is none: what goes wrong outside of an answer is told as well', {
  skip,
}, async () => {
  await using backend = await mockBackend(cutMidBody)
  await using proxy = createProxy({ target: backend.url, executor: workerThreads({ threads: 1 }) })
  const errors = queue<ProxyError>()
  const records = queue<ExchangeRecord>()
  proxy.on('error', errors.push).on('finish', (_exchange, record) => records.push(record))
  const { port } = await proxy.listen(LOOPBACK)
  const { text } = await converse(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.match(text, /the first half\r\n$/)
  assert.equal((await errors.next()).code, 'ERR_PROXY_CUT')
  assert.equal((await records.next()).outcome, 'cut')
})

test('listeners may come and go; what nobody listens to is not sent', { skip }, async (t) => {
  let eventsSent = 0
  const { emit } = Worker.prototype
  t.mock.method(Worker.prototype, 'emit', function (this: Worker, event: string, message: { events?: unknown[] }) {
    eventsSent += message?.events?.length ?? 0
    return emit.call(this, event, message)
  })
  await using backend = await mockBackend()
  await using proxy = createProxy({ target: backend.url, executor: workerThreads({ threads: 1 }) })
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

test('a listener that throws hurts nobody', { skip }, async () => {
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

test('stats of pools are those of all threads together', { skip }, async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({ target: backend.url, executor: workerThreads({ threads: 2 }) })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  const opened = (): number => proxy.stats().groups[0]?.pool.backends.reduce((sum, one) => sum + one.opened, 0) ?? 0
  // Threads report every half second.
  while (opened() < 2) await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(opened(), backend.connections)
  for (const client of clients.values()) client.socket.destroy()
  // Those of threads that are gone are not forgotten; what they have open now is nothing.
  await proxy.reload()
  assert.deepEqual(proxy.stats().groups[0]?.pool.backends, [
    {
      backend: backend.url,
      connections: 0,
      idle: 0,
      connecting: 0,
      waiting: 0,
      opened: backend.connections,
      reused: backend.requests.length - backend.connections,
    },
  ])
  await proxy.setBackends(['http://127.0.0.1:1'])
  await proxy.reload()
  assert.deepEqual(proxy.stats().groups[0]?.pool.backends, [])
})
