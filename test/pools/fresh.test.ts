import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import {
  Backend,
  type BodySource,
  firstAvailable,
  type Lease,
  type Outcome,
  type Pool,
  standardPool,
} from '../../src/index.ts'
import {
  closeIdleInRace,
  exchangeView,
  type MockReply,
  manualClock,
  mockBackend,
  resetOnRequest,
} from '../../src/testing/index.ts'
import { queue, runProxy } from '../support/running-proxy.ts'

const ANSWERED: Outcome = { kind: 'answered', status: 200, grpcStatus: null, error: null, firstByteMs: 1, totalMs: 1 }
const first = exchangeView({ attempts: 1 })
const repeated = exchangeView({ isRetry: true })

/** Lets it carry a request, so that it can be kept. */
async function use(connection: Lease, body: BodySource | null = null): Promise<Lease> {
  await new Promise<void>((resolve, reject) => {
    connection.send({ method: 'GET', path: '/', authority: 'a', headers: ['Host', 'a'], upgrade: null }, body, {
      onInformational() {},
      onHead() {},
      onData: () => true,
      onFlush() {},
      onUpgrade() {},
      onEnd: () => resolve(),
      onError: reject,
    })
  })
  return connection
}

async function keepOne(pool: Pool, backend: Backend): Promise<void> {
  const connection = await use(await pool.acquire(backend, first))
  connection.release(ANSWERED)
}

for (const how of ['reset', 'fin'] as const) {
  test(`a PUT on one of several stale connections is repeated on a fresh one (${how})`, async () => {
    const replies = queue<MockReply>()
    const used = new Set<number>()
    await using backend = await mockBackend((request, reply) => {
      if (used.has(request.connection)) return how === 'reset' ? reply.reset() : reply.abort()
      used.add(request.connection)
      if (request.method === 'GET') replies.push(reply)
      else reply.send({ body: `PUT ${request.path}` })
    })
    await using front = await runProxy({ target: backend.url, retry: false })
    const made = [fetch(front.url), fetch(front.url), fetch(front.url)]
    const open = [await replies.next(), await replies.next(), await replies.next()]
    for (const reply of open) reply.send()
    for (const one of made) {
      await (await one).text()
      await front.nextRecord()
    }
    for (const path of ['/1', '/2']) {
      const response = await fetch(front.url + path, { method: 'PUT', body: 'x' })
      assert.equal(await response.text(), `PUT ${path}`)
      assert.equal((await front.nextRecord()).attempts, 2)
    }
    assert.equal(backend.connections, 5)
  })
}

test('a PUT on a stale connection is repeated on a fresh one of another backend, too', async () => {
  await using one = await mockBackend([{ body: 'kept' }, resetOnRequest, { body: 'one' }])
  await using two = await mockBackend(closeIdleInRace())
  let isTurned = false
  await using front = await runProxy({
    backends: [one.url, two.url],
    retry: false,
    balancer: {
      ...firstAvailable(),
      pick: ([a, b = a], { target, attempts }) => (target === '/two' || (isTurned && attempts > 0) ? b : a),
    },
  })
  for (const path of ['/one', '/two']) await (await fetch(front.url + path)).text()
  isTurned = true
  assert.equal(await (await fetch(`${front.url}/it`, { method: 'PUT', body: 'x' })).text(), 'PUT /it')
  assert.equal(two.connections, 2)
})

test('for a repeated exchange a kept connection makes room', async () => {
  await using backend = await mockBackend()
  const pool = standardPool({ maxConnections: 1, maxWaiting: 0 })
  const target = new Backend({ url: backend.url })
  await keepOne(pool, target)
  const fresh = await use(await pool.acquire(target, repeated))
  assert.equal(fresh.isReused, false)
  await backend.untilOpenConnections(1)
  fresh.release(ANSWERED)
  assert.equal((await pool.acquire(target, first)).isReused, true)
  pool.destroy()
})

test('a repeated exchange that waits gets a fresh connection in place of the one that comes back', async () => {
  await using backend = await mockBackend()
  const pool = standardPool({ maxConnections: 1 })
  const target = new Backend({ url: backend.url })
  const busy = await use(await pool.acquire(target, first))
  const waiting = pool.acquire(target, repeated)
  const behind = pool.acquire(target, first)
  busy.release(ANSWERED)
  const fresh = await use(await waiting)
  assert.equal(fresh.isReused, false)
  fresh.release(ANSWERED)
  assert.equal((await behind).isReused, true)
  assert.equal(backend.connections, 2)
  pool.destroy()
})

test('while its own is being set up, one that comes back is for those behind it', async () => {
  await using backend = await mockBackend()
  const pool = standardPool({ maxConnections: 2 })
  const target = new Backend({ url: backend.url })
  const busy = await use(await pool.acquire(target, first))
  const waiting = pool.acquire(target, repeated)
  const behind = pool.acquire(target, first)
  busy.release(ANSWERED)
  assert.equal((await behind).isReused, true)
  assert.equal((await waiting).isReused, false)
  assert.equal(backend.connections, 2)
  pool.destroy()
})

test('a place is free as soon as its connection cannot go on, though nobody may wait for one', async () => {
  const clock = manualClock()
  await using backend = await mockBackend()
  const pool = standardPool({ maxConnections: 1, maxWaiting: 0, keepAliveMs: 1000 }, { clock })
  const target = new Backend({ url: backend.url })
  const broken = await pool.acquire(target, first)
  broken.release({ ...ANSWERED, kind: 'aborted' })
  await keepOne(pool, target)
  clock.advance(1100)
  await keepOne(pool, target)
  assert.equal(backend.connections, 3)
  pool.destroy()
})

const HELLO: BodySource = {
  bytes: 5,
  expectsContinue: false,
  isReplayable: true,
  stop() {},
  start(sink) {
    sink.onBody(Buffer.from('hello'))
    sink.onBodyEnd(null)
  },
  resume() {},
}

for (const [what, body] of [
  ['no body', null],
  ['a body', HELLO],
  ['a body that waits for 100', { ...HELLO, expectsContinue: true }],
] as const) {
  test(`a 408 that meets the request on its way out is no answer to it (${what})`, async () => {
    const sockets: Socket[] = []
    await using backend = await mockBackend([{ body: 'kept' }, { body: 'never sent' }], {
      onConnection: (socket) => void sockets.push(socket),
    })
    const pool = standardPool()
    const target = new Backend({ url: backend.url })
    await keepOne(pool, target)
    const kept = await pool.acquire(target, first)
    // Between the sending and the end of the turn lies one look at what has come.
    await new Promise((resolve) => setImmediate(resolve))
    sockets[0]?.write('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    await assert.rejects(use(kept, body), { code: 'ERR_PROXY_RESET', message: /sent bytes before it had the request/ })
    kept.release({ ...ANSWERED, kind: 'failed' })
    await backend.untilOpenConnections(0)
    assert.equal(backend.requests.length, 1)
    pool.destroy()
  })
}

test('a body is not sent before its head, though the wait for 100 may be over before the socket was looked at', async () => {
  const clock = manualClock()
  await using backend = await mockBackend()
  const pool = standardPool({}, { clock })
  const target = new Backend({ url: backend.url })
  await keepOne(pool, target)
  const kept = await pool.acquire(target, first)
  const used = use(kept, { ...HELLO, expectsContinue: true })
  clock.advance(1500)
  await used
  assert.equal(kept.isReused, true)
  assert.equal(backend.requests[1]?.method, 'GET')
  assert.equal((await backend.requests[1].body()).toString(), 'hello')
  pool.destroy()
})

test('a connection that is given back from within its last bytes is not kept where others stand behind them', async () => {
  const sockets: Socket[] = []
  await using backend = await mockBackend(
    () => void sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n'),
    { onConnection: (socket) => void sockets.push(socket) },
  )
  const pool = standardPool()
  const target = new Backend({ url: backend.url })
  const connection = await pool.acquire(target, first)
  await new Promise<void>((resolve, reject) => {
    connection.send({ method: 'GET', path: '/', authority: 'a', headers: ['Host', 'a'], upgrade: null }, null, {
      onInformational() {},
      onHead() {},
      onData() {
        connection.release({ ...ANSWERED, kind: 'truncated' })
        setImmediate(resolve)
        return true
      },
      onFlush() {},
      onUpgrade() {},
      onEnd() {},
      onError: reject,
    })
  })
  assert.equal((await pool.acquire(target, first)).isReused, false)
  assert.equal(backend.connections, 2)
  pool.destroy()
})
