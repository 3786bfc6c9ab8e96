import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { PoolStats } from '../../src/index.ts'
import {
  closeIdleInRace,
  type MockBackend,
  type MockReply,
  manualClock,
  mockBackend,
  neverAnswer,
} from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, queue, type RunningProxy, rounds, runProxy } from '../support/running-proxy.ts'

function figures(front: RunningProxy): PoolStats['backends'][0] {
  const [only] = front.proxy.stats().groups[0]?.pool.backends ?? []
  assert.ok(only)
  return only
}

async function get(front: RunningProxy, path = '/'): Promise<string> {
  const text = await (await fetch(front.url + path)).text()
  await front.nextRecord()
  return text
}

/** Gives the replies to the test to answer. */
async function onDemand(): Promise<{ backend: MockBackend; replies: { next(): Promise<[string, MockReply]> } }> {
  const replies = queue<[string, MockReply]>()
  const backend = await mockBackend((request, reply) => replies.push([request.path, reply]))
  return { backend, replies }
}

test('a connection is used again, and the figures show it', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  for (let i = 0; i < 5; i++) await get(front)
  assert.equal(backend.connections, 1)
  const { backend: id, ...rest } = figures(front)
  assert.equal(id, backend.url)
  assert.deepEqual(rest, { connections: 1, idle: 1, connecting: 0, waiting: 0, opened: 1, reused: 4 })
})

test('a connection whose backend says close is not used again', async () => {
  await using backend = await mockBackend({ headers: ['Connection', 'close'], body: 'x' })
  await using front = await runProxy({ target: backend.url })
  for (let i = 0; i < 3; i++) await get(front)
  assert.equal(backend.connections, 3)
  assert.equal(figures(front).reused, 0)
})

test('an HTTP/1.0 backend keeps its connection only where it says so', async () => {
  let answer = 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx'
  await using backend = await mockBackend((_request, reply) => {
    reply.raw(answer)
    reply.end()
  })
  await using front = await runProxy({ target: backend.url })
  for (let i = 0; i < 2; i++) await get(front)
  assert.equal(backend.connections, 2)
  answer = 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx'
  for (let i = 0; i < 3; i++) await get(front)
  assert.equal(backend.connections, 3)
})

test('past maxConnections exchanges wait in order, and maxConnections holds', async () => {
  const { backend, replies } = await onDemand()
  await using _ = backend
  await using front = await runProxy({ target: backend.url, pool: { maxConnections: 2 } })
  const answered: Promise<string>[] = []
  for (let i = 0; i < 6; i++) {
    const attempted = new Promise((resolve) => front.proxy.once('attempt', resolve))
    answered.push(fetch(`${front.url}/${i}`).then((response) => response.text()))
    await attempted
  }
  assert.equal(figures(front).waiting, 4)
  const served: string[] = []
  for (let i = 0; i < 6; i++) {
    const [path, reply] = await replies.next()
    served.push(path)
    reply.send({ body: path })
  }
  assert.deepEqual(await Promise.all(answered), ['/0', '/1', '/2', '/3', '/4', '/5'])
  assert.deepEqual(served.slice(2), ['/2', '/3', '/4', '/5'])
  assert.equal(backend.connections, 2)
  assert.equal(figures(front).waiting, 0)
})

test('past maxWaiting the answer is 503 ERR_PROXY_POOL_FULL with Retry-After, at once', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({ target: backend.url, pool: { maxConnections: 1, maxWaiting: 1 } })
  for (const path of ['/1', '/2']) {
    const attempted = new Promise((resolve) => front.proxy.once('attempt', resolve))
    rawClient(front.port).write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await attempted
  }
  const response = await fetch(front.url)
  assert.equal(response.status, 503)
  assert.equal(response.headers.get('retry-after'), '1')
  assert.equal(await response.text(), '503 Service Unavailable (ERR_PROXY_POOL_FULL)\n')
  const record = await front.nextRecord()
  assert.equal(record.attempts, 1, 'what is full is not asked again')
  assert.equal(front.errors[0]?.side, 'proxy')
  assert.equal(front.errors[0]?.phase, 'acquire')
  assert.match(front.errors[0]?.message ?? '', /raise pool\.maxConnections or pool\.maxWaiting of group default/)
})

test('a backend may have 256 connections at one time by default', async () => {
  const { backend, replies } = await onDemand()
  await using _ = backend
  await using front = await runProxy({ target: backend.url })
  const answered = Array.from({ length: 257 }, () => fetch(front.url).then((response) => response.text()))
  const held: MockReply[] = []
  while (held.length < 256) held.push((await replies.next())[1])
  while (figures(front).waiting === 0) await rounds(1)
  assert.deepEqual([figures(front).connections, figures(front).waiting], [256, 1])
  for (const reply of held) reply.send()
  const [, last] = await replies.next()
  last.send()
  await Promise.all(answered)
})

test('a place that a closed connection leaves goes to the one who waits', async () => {
  await using backend = await mockBackend({ headers: ['Connection', 'close'], body: 'x' })
  await using front = await runProxy({ target: backend.url, pool: { maxConnections: 1 } })
  const all = await Promise.all(Array.from({ length: 8 }, () => fetch(front.url).then((response) => response.text())))
  assert.deepEqual(all, Array(8).fill('x'))
})

test('an idle connection is closed after keepAliveMs', async () => {
  const clock = manualClock()
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, clock, pool: { keepAliveMs: 2000 } })
  await get(front)
  clock.advance(1990)
  assert.equal(figures(front).idle, 1)
  clock.advance(40)
  await backend.untilOpenConnections(0)
  assert.equal(figures(front).connections, 0)
})

test('an idle connection is closed one second before the backend would', async () => {
  const clock = manualClock()
  await using backend = await mockBackend({ headers: ['Keep-Alive', 'timeout=3, max=100'], body: 'x' })
  await using front = await runProxy({ target: backend.url, clock })
  await get(front)
  clock.advance(1990)
  assert.equal(figures(front).idle, 1)
  clock.advance(40)
  await backend.untilOpenConnections(0)
})

test('a backend that announces one second is not kept at all', async () => {
  await using backend = await mockBackend({ headers: ['Keep-Alive', 'timeout=1'], body: 'x' })
  await using front = await runProxy({ target: backend.url })
  for (let i = 0; i < 2; i++) await get(front)
  assert.equal(backend.connections, 2)
})

test('keepAliveMs: 0 keeps no connection, and tells the backend so', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, pool: { keepAliveMs: 0 } })
  for (let i = 0; i < 2; i++) await get(front)
  assert.equal(backend.connections, 2)
  assert.equal(backend.requests[0]?.header('connection'), 'close')
  await (await fetch(front.url, { method: 'POST', body: 'x' })).text()
  assert.match(backend.requests[2]?.rawHead ?? '', /\r\nConnection: close\r\n/)
})

test('a backend that closes an idle connection is noticed before the next request', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  await get(front)
  backend.closeIdle()
  await backend.untilOpenConnections(0)
  await rounds()
  assert.equal(figures(front).connections, 0)
  await get(front)
  assert.equal(figures(front).reused, 0)
})

test('bytes on an idle connection are its end', async () => {
  const replies = gate<MockReply>()
  await using backend = await mockBackend([
    (_request, reply) => {
      // The reply is not ended, so that it can still write.
      reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx')
      replies.open(reply)
    },
    { body: 'fresh' },
  ])
  await using front = await runProxy({ target: backend.url })
  await get(front)
  const reply = await replies.promise
  reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison')
  await reply.closed
  assert.equal(await get(front), 'fresh')
})

test('a race between a closing backend and the next request is not seen by the client', async () => {
  await using backend = await mockBackend(closeIdleInRace('fin'))
  await using front = await runProxy({ target: backend.url })
  for (let i = 0; i < 5; i++) assert.equal(await get(front, `/${i}`), `GET /${i}`)
})

test('the most recently used connection is used first', async () => {
  const { backend, replies } = await onDemand()
  await using _ = backend
  await using front = await runProxy({ target: backend.url })
  const both = [fetch(`${front.url}/1`), fetch(`${front.url}/2`)]
  const [one, two] = [await replies.next(), await replies.next()]
  one[1].send()
  await front.nextRecord()
  two[1].send()
  await front.nextRecord()
  await Promise.all(both)
  const last = backend.requests[1]?.connection
  for (let i = 0; i < 3; i++) {
    const response = fetch(front.url)
    const [, reply] = await replies.next()
    assert.equal(backend.requests.at(-1)?.connection, last)
    reply.send()
    await response
    await front.nextRecord()
  }
})

test('a backend on a unix socket is reached', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'heddle-'))
  {
    const socketPath = join(folder, 'back end.sock')
    await using backend = await mockBackend(undefined, { socketPath })
    await using front = await runProxy({ target: backend.url })
    for (let i = 0; i < 2; i++) assert.equal(await get(front, '/p'), 'GET /p')
    assert.equal(backend.connections, 1)
    assert.equal((await backend.nextRequest()).header('host'), `127.0.0.1:${front.port}`)
    await using shown = await runProxy({ target: `${backend.url}:/base`, hostHeader: 'backend' })
    assert.equal(await get(shown, '/p'), 'GET /base/p')
    assert.equal(backend.requests.at(-1)?.header('host'), 'localhost')
  }
  await rm(folder, { recursive: true })
})

test('a unix socket that is not there is 502 ERR_PROXY_CONNECT', async () => {
  await using front = await runProxy({ target: 'http+unix:///nowhere/at/all.sock', retry: false })
  assert.equal((await fetch(front.url)).status, 502)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CONNECT')
})

test('close() of the proxy closes what is idle at once, and what is leased when its exchange ends', async () => {
  const { backend, replies } = await onDemand()
  await using _ = backend
  await using front = await runProxy({ target: backend.url, drainTimeoutMs: 10_000 })
  const both = [fetch(front.url), fetch(front.url)]
  const [[, one], [, two]] = [await replies.next(), await replies.next()]
  one.send()
  await front.nextRecord()
  const closed = front.proxy.close()
  two.send({ body: 'late' })
  await closed
  await backend.untilOpenConnections(0)
  await Promise.all(both)
})
