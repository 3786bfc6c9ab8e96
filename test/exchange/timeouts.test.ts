import assert from 'node:assert/strict'
import net, { type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import type { ProxyErrorCode } from '../../src/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { neverAnswer } from '../../src/testing/misbehaviour.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockReply } from '../../src/testing/mock-script.ts'
import { MIB } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, queue, type RunningProxy, rounds, runProxy } from '../support/running-proxy.ts'

async function assertTimedOut(
  front: RunningProxy,
  code: ProxyErrorCode,
  expected: { status: number; side?: string; phase: string; outcome?: string },
): Promise<void> {
  const record = await front.nextRecord()
  assert.equal(record.errorCode, code)
  assert.equal(record.outcome, expected.outcome ?? 'failed')
  assert.equal(record.status, expected.status)
  const error = front.errors.at(-1)
  assert.equal(error?.code, code)
  assert.equal(error?.side, expected.side ?? 'backend')
  assert.equal(error?.phase, expected.phase)
  assert.equal(front.pending(), 0)
}

test('a TLS handshake that does not come to its end is ERR_PROXY_CONNECT_TIMEOUT and 504', async () => {
  const mute = net.createServer((socket) => void socket.on('error', () => {}).resume())
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
  const { port } = mute.address() as AddressInfo
  await using front = await runProxy({
    target: `https://127.0.0.1:${port}`,
    timeouts: { connect: 50 },
    retry: false,
  })
  const response = await fetch(front.url)
  assert.equal(response.status, 504)
  assert.equal(await response.text(), '504 Gateway Timeout (ERR_PROXY_CONNECT_TIMEOUT)\n')
  await assertTimedOut(front, 'ERR_PROXY_CONNECT_TIMEOUT', { status: 504, phase: 'connect' })
  mute.close()
})

test('a backend that does not accept is ERR_PROXY_CONNECT_TIMEOUT and 504', async () => {
  // Listens, and sleeps: the kernel takes as many connections as its queue holds, and drops the others' SYN.
  const sleeper = new Worker(
    `const { parentPort } = require('node:worker_threads')
     const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port)
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))
     })`,
    { eval: true },
  )
  const port = await new Promise<number>((resolve) => sleeper.once('message', resolve))
  const fillers = Array.from({ length: 8 }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
  await Promise.all(fillers.slice(0, 2).map((one) => new Promise((resolve) => one.once('connect', resolve))))
  {
    await using front = await runProxy({
      target: `http://127.0.0.1:${port}`,
      timeouts: { connect: 100, headers: 1000 },
      retry: false,
    })
    assert.equal((await fetch(front.url)).status, 504)
    await assertTimedOut(front, 'ERR_PROXY_CONNECT_TIMEOUT', { status: 504, phase: 'connect' })
  }
  for (const one of fillers) one.destroy()
  await sleeper.terminate()
})

test('a wait for a free connection that is too long is ERR_PROXY_ACQUIRE_TIMEOUT and 504', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({
    target: backend.url,
    pool: { maxConnections: 1 },
    timeouts: { acquire: 50 },
  })
  const first = rawClient(front.port)
  first.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequest()
  const response = await fetch(`${front.url}/2`)
  assert.equal(response.status, 504)
  const record = await front.nextRecord()
  assert.equal(record.errorCode, 'ERR_PROXY_ACQUIRE_TIMEOUT')
  assert.equal(record.attempts, 1, 'waiting for the same backend again would be waiting twice as long')
  assert.equal(front.errors[0]?.phase, 'acquire')
  assert.match(front.errors[0]?.message ?? '', /raise pool\.maxConnections or timeouts\.acquire of group default/)
  first.socket.destroy()
})

test('a backend that does not answer is ERR_PROXY_HEADERS_TIMEOUT and 504', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({ target: backend.url, timeouts: { headers: 50 }, retry: false })
  assert.equal((await fetch(front.url)).status, 504)
  await assertTimedOut(front, 'ERR_PROXY_HEADERS_TIMEOUT', { status: 504, phase: 'headers' })
  await backend.untilOpenConnections(0)
})

test('a backend that stops in mid-body is ERR_PROXY_IDLE_TIMEOUT, and the client sees the cut', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.head()
    reply.chunk('half')
  })
  await using front = await runProxy({ target: backend.url, timeouts: { idle: 50 } })
  await assert.rejects(async () => (await fetch(front.url)).text())
  await assertTimedOut(front, 'ERR_PROXY_IDLE_TIMEOUT', { status: 200, phase: 'body', outcome: 'truncated' })
  await backend.untilOpenConnections(0)
})

test('a backend that stops reading an upload is ERR_PROXY_IDLE_TIMEOUT and 504', async () => {
  await using backend = await mockBackend((request) => request.pause())
  await using front = await runProxy({ target: backend.url, timeouts: { idle: 100 } })
  const client = rawClient(front.port)
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${64 * MIB}\r\n\r\n`)
  const piece = Buffer.alloc(MIB)
  for (let i = 0; i < 64; i++) client.write(piece)
  assert.match(await client.until('ERR_PROXY_IDLE_TIMEOUT'), /^HTTP\/1\.1 504 /)
  await assertTimedOut(front, 'ERR_PROXY_IDLE_TIMEOUT', { status: 504, phase: 'body' })
  client.socket.destroy()
})

test('a client that stops its upload is ERR_PROXY_CLIENT_TIMEOUT and 408', async () => {
  const reply = gate<MockReply>()
  await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
  await using front = await runProxy({ target: backend.url, timeouts: { idle: 50 } })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf')
  assert.match(await client.until('ERR_PROXY_CLIENT_TIMEOUT'), /^HTTP\/1\.1 408 [\s\S]*\r\nConnection: close\r\n/)
  await assertTimedOut(front, 'ERR_PROXY_CLIENT_TIMEOUT', { status: 408, side: 'client', phase: 'request' })
  await (await reply.promise).closed
  await client.ended
})

for (const [what, length] of [
  ['while there is more', 64 * MIB],
  ['of which the backend has sent all', 6 * MIB],
] as const) {
  test(`a client that does not read a body ${what} is ERR_PROXY_CLIENT_TIMEOUT`, async () => {
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: ['Content-Length', String(length)] })
      for (let sent = 0; sent < length && !reply.isClosed; sent += MIB) {
        if (!reply.chunk(Buffer.alloc(MIB))) await reply.drained()
      }
      reply.end()
    })
    await using front = await runProxy({ target: backend.url, timeouts: { idle: 100 } })
    const client = rawClient(front.port)
    client.socket.pause()
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    const record = await front.nextRecord()
    assert.equal(record.errorCode, 'ERR_PROXY_CLIENT_TIMEOUT')
    assert.equal(record.outcome, 'truncated')
    assert.equal(front.errors[0]?.side, 'client')
    assert.equal(front.pending(), 0)
    client.socket.destroy()
  })
}

test('an exchange that takes too long before its head is ERR_PROXY_TOTAL_TIMEOUT and 504', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({ target: backend.url, timeouts: { total: 50 } })
  assert.equal((await fetch(front.url)).status, 504)
  await assertTimedOut(front, 'ERR_PROXY_TOTAL_TIMEOUT', { status: 504, phase: 'headers' })
})

test('an exchange that takes too long in its body is cut with ERR_PROXY_TOTAL_TIMEOUT', async () => {
  const clock = manualClock()
  const next = queue<string>()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head()
    for (;;) reply.chunk(await next.next())
  })
  await using front = await runProxy({ target: backend.url, clock, timeouts: { total: 1000, idle: 400 } })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  for (const piece of ['<1>', '<2>', '<3>']) {
    next.push(piece)
    await client.until(piece)
    clock.advance(300)
  }
  next.push('<4>')
  await client.until('<4>')
  clock.advance(150)
  await client.ended
  await assertTimedOut(front, 'ERR_PROXY_TOTAL_TIMEOUT', { status: 200, phase: 'headers', outcome: 'truncated' })
})

test('a wait for a connection ends with the total limit', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({
    target: backend.url,
    pool: { maxConnections: 1 },
    timeouts: { total: 60, acquire: 5000 },
  })
  const responses = [fetch(front.url), fetch(front.url)]
  for (const response of responses) assert.equal((await response).status, 504)
  for (let i = 0; i < 2; i++) assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_TOTAL_TIMEOUT')
  assert.equal(front.proxy.stats().groups[0]?.pool.backends[0]?.waiting, 0)
})

test('a body that moves, however slowly, is not idle', async () => {
  const clock = manualClock()
  const next = queue<string>()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head()
    for (let i = 0; i < 20; i++) reply.chunk(await next.next())
    reply.end()
  })
  await using front = await runProxy({ target: backend.url, clock, timeouts: { idle: 1000, headers: 1000 } })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  for (let i = 0; i < 20; i++) {
    next.push(`<${i}>`)
    await client.until(`<${i}>`)
    clock.advance(900)
  }
  assert.equal((await front.nextRecord()).outcome, 'answered')
  client.socket.destroy()
})

test('an upload that moves, however slowly, is not idle, and the head is waited for from its end on', async () => {
  const clock = manualClock()
  const answer = gate()
  await using backend = await mockBackend(async (request, reply) => {
    await Promise.all([answer.promise, request.body()])
    reply.send({ body: 'done' })
  })
  await using front = await runProxy({ target: backend.url, clock, timeouts: { idle: 1000, headers: 1000 } })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n')
  const request = await backend.nextRequestHead()
  for (let i = 1; i <= 20; i++) {
    client.write('x')
    while (request.bodyBytes.length < i) await rounds(1)
    clock.advance(900)
  }
  answer.open()
  await client.until('done')
  assert.equal((await front.nextRecord()).outcome, 'answered')
  client.socket.destroy()
})

for (const [name, ms, code] of [
  ['headers', 30_000, 'ERR_PROXY_HEADERS_TIMEOUT'],
  ['idle', 60_000, 'ERR_PROXY_IDLE_TIMEOUT'],
] as const) {
  test(`the default limit for ${name} is ${ms} ms`, async () => {
    const clock = manualClock()
    const reply = gate<MockReply>()
    await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
    await using front = await runProxy({ target: backend.url, clock, retry: false })
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    const theirs = await reply.promise
    if (name === 'idle') {
      theirs.head()
      theirs.chunk('half')
      await client.until('half')
    }
    clock.advance(ms - 1)
    assert.equal(front.proxy.stats().active, 1)
    clock.advance(21)
    const record = await front.nextRecord()
    assert.equal(record.errorCode, code)
    client.socket.destroy()
  })
}

test('limits of 0 are none', async () => {
  const clock = manualClock()
  const reply = gate<MockReply>()
  await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
  await using front = await runProxy({
    target: backend.url,
    clock,
    timeouts: { connect: 0, acquire: 0, headers: 0, idle: 0, total: 0 },
  })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const theirs = await reply.promise
  clock.advance(100_000)
  theirs.head()
  theirs.chunk('half')
  await client.until('half')
  clock.advance(100_000)
  theirs.end()
  assert.equal((await front.nextRecord()).outcome, 'answered')
  client.socket.destroy()
})
