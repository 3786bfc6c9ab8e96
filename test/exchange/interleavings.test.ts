import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { leastConnections } from '../../src/balancers/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { mockPool } from '../../src/testing/mock-pool.ts'
import type { MockReply } from '../../src/testing/mock-script.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, rounds, runInServer, runProxy } from '../support/running-proxy.ts'

for (const { name, run } of ALL_FRONTS) {
  test(`a client is not late with a body that nobody asks it for between two attempts, ${name}`, async () => {
    const clock = manualClock()
    let requests = 0
    await using backend = await mockBackend(async (request, reply) => {
      requests++
      if (requests === 1) {
        while (request.bodyBytes.length < 4) await rounds(1)
        reply.reset()
      } else {
        await request.body()
        reply.send({ body: 'done' })
      }
    })
    await using running = await run({
      target: backend.url,
      clock,
      limits: { minBodyBytesPerSecond: 1000 },
      retry: { name: 'slow', next: (exchange) => (exchange.attempts === 1 ? 20_000 : -1) },
    })
    const retried = gate()
    running.proxy.on('retry', () => retried.open())
    const client = rawClient(running.port)
    client.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf')
    await retried.promise
    clock.advance(19_000)
    await rounds()
    assert.equal(running.proxy.stats().active, 1)
    clock.advance(1_000)
    client.write('more')
    assert.match(await client.until('done'), /^HTTP\/1\.1 200 /)
    client.socket.destroy()
  })
}

test('an exchange whose limits are reached at once has taken too long as a whole', async () => {
  const clock = manualClock()
  const quick = gate<MockReply>()
  await using backend = await mockBackend((request, reply) => {
    if (request.path === '/quick') quick.open(reply)
  })
  await using running = await runProxy({
    target: backend.url,
    clock,
    timeouts: { headers: 1000, total: 1000 },
    retry: { name: 'always', next: () => 0 },
  })
  // One that ends before changes the order in which the limits are looked at.
  const [first, client] = [rawClient(running.port), rawClient(running.port)]
  first.write('GET /quick HTTP/1.1\r\nHost: a\r\n\r\n')
  const reply = await quick.promise
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequest()
  await backend.nextRequest()
  reply.send()
  await running.nextRecord()
  clock.advance(1020)
  assert.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 504 /)
  const record = await running.nextRecord()
  assert.deepEqual([record.errorCode, record.attempts], ['ERR_PROXY_TOTAL_TIMEOUT', 1])
  for (const one of [first, client]) one.socket.destroy()
})

test('a balancer whose onStart throws takes no exchange from the retry policy', async () => {
  let exchanges = 0
  await using running = await runProxy({
    target: 'http://backend.test',
    pool: mockPool({ body: 'ok' }),
    balancer: {
      ...leastConnections(),
      onStart() {
        throw new Error('mine')
      },
    },
    retry: { name: 'counts', onExchange: () => void exchanges++, next: () => -1 },
  })
  assert.equal(await (await fetch(running.url)).text(), 'ok')
  assert.equal(exchanges, 1)
})

test('a response of ours that an application has wrapped, and throws at its end, is logged', async () => {
  const logger = recordingLogger()
  await using running = await runInServer({ target: (await deadPort()).url, logger }, (proxy) =>
    http.createServer((req, res) => {
      res.end = () => {
        throw new Error('mine')
      }
      proxy.web(req, res)
    }),
  )
  const client = rawClient(running.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.ended
  const record = await running.nextRecord()
  assert.equal(record.errorCode, 'ERR_PROXY_CONNECT')
  assert.ok(logger.messages('error').some((message) => message.includes('mine')))
})

test('a pool that switches protocols when nobody has asked ends the exchange', async () => {
  const pool = mockPool()
  const streams: string[] = []
  await using running = await runProxy({
    target: 'http://backend.test',
    pool: {
      ...pool,
      acquire: () => ({
        isReused: false,
        send(_head, _body, sink) {
          setImmediate(() => {
            const stream = { destroy: () => streams.push('destroyed') }
            sink.onUpgrade({ status: 101, reason: '', headers: [], bodyBytes: 0 }, stream as never, Buffer.alloc(0))
          })
        },
        release() {},
      }),
    },
  })
  const response = await fetch(running.url)
  assert.equal(response.status, 500)
  assert.match(await response.text(), /ERR_PROXY_HOOK/)
  assert.deepEqual(streams, ['destroyed'])
  assert.equal(running.pending(), 0)
})

test('a refusal after all of an upload has come keeps the connection', async () => {
  await using running = await runProxy({ target: (await deadPort()).url, retry: false })
  const client = rawClient(running.port)
  for (const path of ['/1', '/2']) {
    client.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`)
    assert.equal((await running.nextRecord()).errorCode, 'ERR_PROXY_CONNECT')
  }
  assert.match(await client.until('ERR_PROXY_CONNECT)\n'), /\r\nConnection: keep-alive\r\n/)
  client.socket.destroy()
})

test('a refusal while an upload comes ends the connection', async () => {
  await using running = await runProxy({ target: (await deadPort()).url, retry: false })
  const client = rawClient(running.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell')
  assert.equal(await client.ended, 'end')
  assert.match(client.text, /\r\nConnection: close\r\n/)
})
