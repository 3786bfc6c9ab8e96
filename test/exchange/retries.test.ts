import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstAvailable, type ProxyOptions } from '../../src/index.ts'
import {
  closeIdleInRace,
  cutMidBody,
  garbage,
  neverAnswer,
  resetMidHead,
  resetOnRequest,
} from '../../src/testing/misbehaviour.ts'
import { deadPort, type MockBackend, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { randomBytes } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, type RunningProxy, runProxy } from '../support/running-proxy.ts'

/** The first backend is always asked first. */
function inOrder(backends: (MockBackend | { url: string })[], more: ProxyOptions = {}): Promise<RunningProxy> {
  return runProxy({ backends: backends.map(({ url }) => url), balancer: firstAvailable(), healthCheck: false, ...more })
}

const REPLAY_BYTES = 65_536

for (const method of ['GET', 'POST', 'PATCH']) {
  test(`a refused connection is retried on another backend for ${method}`, async () => {
    const dead = await deadPort()
    await using good = await mockBackend()
    await using front = await inOrder([dead, good])
    const told: unknown[] = []
    front.proxy.on('retry', (_exchange, error, delayMs) => told.push(error.code, error.backend?.id, delayMs))
    const response = await fetch(front.url, { method, ...(method === 'GET' ? {} : { body: 'the body' }) })
    assert.equal(response.status, 200)
    assert.equal((await good.nextRequest()).bodyText, method === 'GET' ? '' : 'the body')
    assert.deepEqual(told, ['ERR_PROXY_CONNECT', dead.url, 0])
    const record = await front.nextRecord()
    assert.equal(record.attempts, 2)
    assert.equal(record.backend, good.url)
    assert.equal(record.outcome, 'answered')
    assert.equal(record.errorCode, null)
  })
}

test('a refused connection is retried for a body past the replay buffer: none of it was read', async () => {
  const body = randomBytes(4 * REPLAY_BYTES)
  await using good = await mockBackend()
  await using front = await inOrder([await deadPort(), good])
  assert.equal((await fetch(front.url, { method: 'POST', body })).status, 200)
  assert.deepEqual((await good.nextRequest()).bodyBytes, body)
})

for (const how of ['reset', 'fin'] as const) {
  for (const method of ['GET', 'PUT', 'DELETE', 'OPTIONS']) {
    test(`${method} is repeated once when a kept connection is closed under it (${how}), even without a retry policy`, async () => {
      await using backend = await mockBackend(closeIdleInRace(how))
      await using front = await inOrder([backend], { retry: false })
      for (let i = 0; i < 4; i++) {
        const response = await fetch(`${front.url}/${i}`, { method, ...(method === 'PUT' ? { body: 'small' } : {}) })
        assert.equal(await response.text(), `${method} /${i}`)
      }
      assert.equal(backend.connections, 4)
      const attempts = []
      for (let i = 0; i < 4; i++) attempts.push((await front.nextRecord()).attempts)
      assert.deepEqual(attempts, [1, 2, 2, 2])
    })
  }
}

test('PUT is repeated for a stale connection once, not twice', async () => {
  await using backend = await mockBackend([{ body: 'first' }, resetOnRequest, resetOnRequest, { body: 'never' }])
  await using front = await inOrder([backend], { retry: false })
  await (await fetch(front.url)).text()
  assert.equal((await fetch(front.url, { method: 'PUT', body: 'small' })).status, 502)
  assert.equal(backend.requests.length, 3)
})

test('a stale connection says nothing bad of its backend', async () => {
  await using backend = await mockBackend(closeIdleInRace())
  await using other = await mockBackend()
  await using front = await inOrder([backend, other], { healthCheck: { consecutiveFailures: 1 } })
  for (let i = 0; i < 3; i++) await (await fetch(front.url)).text()
  assert.deepEqual(
    front.proxy.stats().groups[0]?.backends.map((one) => one.status === 'ejected'),
    [false, false],
  )
})

const readThenReset: MockHandler = async (request, reply) => {
  await request.body()
  reply.reset()
}

test('a PUT whose body is as large as the replay buffer is repeated on a fresh connection, byte by byte', async () => {
  const body = randomBytes(REPLAY_BYTES)
  await using backend = await mockBackend([{ body: 'first' }, readThenReset, { body: 'second' }])
  await using front = await inOrder([backend])
  await (await fetch(front.url)).text()
  assert.equal(await (await fetch(front.url, { method: 'PUT', body })).text(), 'second')
  assert.deepEqual(backend.requests[1]?.bodyBytes, body)
  assert.deepEqual(backend.requests[2]?.bodyBytes, body)
})

test('a PUT whose body is past the replay buffer is not repeated', async () => {
  await using backend = await mockBackend([{ body: 'first' }, readThenReset, { body: 'never' }])
  await using front = await inOrder([backend])
  await (await fetch(front.url)).text()
  const response = await fetch(front.url, { method: 'PUT', body: randomBytes(REPLAY_BYTES + 1) })
  assert.equal(response.status, 502)
  assert.equal(backend.requests.length, 2)
})

test('limits.replayBytes is the size of the replay buffer', async () => {
  await using bad = await mockBackend(readThenReset)
  await using good = await mockBackend()
  await using front = await inOrder([bad, good], { limits: { replayBytes: 10 } })
  assert.equal((await fetch(front.url, { method: 'PUT', body: '0123456789' })).status, 200)
  assert.equal((await fetch(front.url, { method: 'PUT', body: '0123456789a' })).status, 502)
})

for (const [what, handler] of [
  ['a reset', resetOnRequest],
  ['a reset in the head', resetMidHead],
  ['garbage', garbage],
] as const) {
  for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
    test(`${what} on a fresh connection is retried for ${method}`, async () => {
      await using bad = await mockBackend(handler)
      await using good = await mockBackend()
      await using front = await inOrder([bad, good])
      const response = await fetch(front.url, { method, ...(method === 'PUT' ? { body: 'x' } : {}) })
      assert.equal(response.status, 200)
      assert.equal(good.requests.length, 1)
    })
  }
  for (const method of ['POST', 'PATCH']) {
    test(`${what} on a fresh connection is not retried for ${method}`, async () => {
      await using bad = await mockBackend(handler)
      await using good = await mockBackend()
      await using front = await inOrder([bad, good])
      assert.equal((await fetch(front.url, { method, body: 'x' })).status, 502)
      assert.equal(good.requests.length, 0)
      assert.equal((await front.nextRecord()).attempts, 1)
    })
  }
}

test('a backend that does not answer in time is given up for another one for GET, not for POST', async () => {
  await using bad = await mockBackend(neverAnswer)
  await using good = await mockBackend()
  await using front = await inOrder([bad, good], { timeouts: { headers: 50 } })
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal((await fetch(front.url, { method: 'POST', body: 'x' })).status, 504)
  assert.equal(good.requests.length, 1)
})

for (const [what, handler] of [
  ['the first byte of the body', cutMidBody],
  [
    'the head',
    ((_request, reply) => {
      reply.head({ headers: ['Content-Length', '5'] })
      reply.abort()
    }) as MockHandler,
  ],
] as const) {
  test(`nothing is retried after ${what}`, async () => {
    await using bad = await mockBackend(handler)
    await using good = await mockBackend()
    await using front = await inOrder([bad, good])
    await assert.rejects(async () => (await fetch(front.url)).text())
    assert.equal(good.requests.length, 0)
  })
}

test('an answer is an answer, whatever its status: 503 is not retried', async () => {
  await using bad = await mockBackend({ status: 503, body: 'busy' })
  await using good = await mockBackend()
  await using front = await inOrder([bad, good])
  const response = await fetch(front.url)
  assert.equal(response.status, 503)
  assert.equal(await response.text(), 'busy')
  assert.equal(good.requests.length, 0)
})

test('no retry when the budget is used up', async () => {
  await using bad = await mockBackend(resetOnRequest)
  await using good = await mockBackend()
  await using front = await inOrder([bad, good], { retry: { minPerSecond: 0, budgetPercent: 20 } })
  const statuses = []
  for (let i = 0; i < 10; i++) statuses.push((await fetch(front.url)).status)
  // Every fifth exchange has paid for a retry.
  assert.deepEqual(statuses, [502, 502, 502, 502, 200, 502, 502, 502, 502, 200])
})

test('retry: false tries once', async () => {
  await using good = await mockBackend()
  await using front = await inOrder([await deadPort(), good], { retry: false })
  assert.equal((await fetch(front.url)).status, 502)
  assert.equal((await front.nextRecord()).attempts, 1)
})

test('there are two retries by default, and the last error is the one that is told', async () => {
  const dead = [await deadPort(), await deadPort(), await deadPort(), await deadPort()]
  await using front = await inOrder(dead)
  assert.equal((await fetch(front.url)).status, 502)
  const record = await front.nextRecord()
  assert.equal(record.attempts, 3)
  assert.equal(record.backend, dead[2]?.url)
  assert.equal(front.errors.length, 1)
})

test('a body that is still on its way is replayed as far as it came, and goes on', async () => {
  const isReset = gate()
  await using bad = await mockBackend(async (_request, reply) => {
    reply.reset()
    isReset.open()
  })
  await using good = await mockBackend(async (request, reply) => reply.send({ body: `got ${await request.body()}` }))
  await using front = await inOrder([bad, good])
  const client = rawClient(front.port)
  client.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  await isReset.promise
  await good.nextRequestHead()
  client.write('6\r\nsecond\r\n0\r\nX-Sum: 7\r\n\r\n')
  await client.until('got firstsecond')
  assert.deepEqual((await good.nextRequest()).trailers, ['X-Sum', '7'])
  client.socket.destroy()
})

test('trailers are replayed with their body', async () => {
  await using bad = await mockBackend(readThenReset)
  await using good = await mockBackend()
  await using front = await inOrder([bad, good])
  const client = rawClient(front.port)
  client.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX-Sum: 7\r\n\r\n')
  await client.until('PUT /')
  const again = await good.nextRequest()
  assert.equal(again.bodyText, 'first')
  assert.deepEqual(again.trailers, ['X-Sum', '7'])
  client.socket.destroy()
})

test('a large upload that a backend resets in the middle is a 502, and the other backend sees nothing of it', async () => {
  await using bad = await mockBackend(async (request, reply) => {
    while (request.bodyBytes.length <= REPLAY_BYTES) await new Promise((resolve) => setImmediate(resolve))
    reply.reset()
  })
  await using good = await mockBackend()
  await using front = await inOrder([bad, good])
  const response = await fetch(front.url, { method: 'PUT', body: randomBytes(4 * REPLAY_BYTES) })
  assert.equal(response.status, 502)
  assert.equal(good.requests.length, 0)
})

test('a full pool sends the exchange to another backend', async () => {
  await using busy = await mockBackend(neverAnswer)
  await using good = await mockBackend()
  await using front = await inOrder([busy, good], { pool: { maxConnections: 1, maxWaiting: 0 } })
  const first = rawClient(front.port)
  first.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await busy.nextRequest()
  assert.equal((await fetch(front.url, { method: 'POST', body: 'x' })).status, 200)
  first.socket.destroy()
})

test('a retry policy of the user decides, and may wait', async () => {
  await using bad = await mockBackend(resetOnRequest)
  await using good = await mockBackend()
  await using front = await inOrder([bad, good], {
    retry: {
      name: 'mine',
      next: (exchange, error) => (exchange.attempts < 2 && error.code === 'ERR_PROXY_RESET' ? 5 : -1),
    },
  })
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal((await front.nextRecord()).attempts, 2)
})

test('a client that goes while a retry waits ends the exchange', async () => {
  await using bad = await mockBackend(resetOnRequest)
  await using front = await inOrder([bad], { retry: { name: 'slow', next: () => 3_600_000 } })
  const waits = new Promise((resolve) => front.proxy.once('retry', resolve))
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await waits
  client.socket.resetAndDestroy()
  assert.equal((await front.nextRecord()).outcome, 'aborted')
  assert.equal(bad.requests.length, 1)
})
