import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import { firstAvailable, type ProxyOptions } from '../../src/index.ts'
import { Backend } from '../../src/model/backend.ts'
import { connectError, FAULTS, isShortage, ProxyError, type ProxyErrorCode } from '../../src/model/errors.ts'
import { deadPort, type MockHandler, manualClock, mockBackend } from '../../src/testing/index.ts'
import { closeIdleInRace, neverAnswer } from '../../src/testing/misbehaviour.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2, type RunningProxy, type WayIn } from '../support/running-proxy.ts'
import { type RawBackend, rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

const DOCUMENT = new URL('../../../docs/events-and-errors.md', import.meta.url)

test('the document says of each code whose fault it is, its status, and whether it counts', () => {
  const rows = readFileSync(DOCUMENT, 'utf8').matchAll(
    /^\| `(ERR_PROXY_\w+)` \| (\w+) \| ([^|]+) \| (yes|no)\b[^|]*\|/gm,
  )
  const documented = Array.from(rows, ([, code, side, status, counts]) => [
    code,
    side,
    Number.parseInt(status as string, 10),
    counts,
  ])
  const codes = Object.entries(FAULTS).map(([code, { side, status, blames }]) => [
    code,
    side,
    // What the client can no longer be told.
    CUT.has(code) ? Number.NaN : status,
    blames ? 'yes' : 'no',
  ])
  assert.deepEqual(documented.sort(), codes.sort())
})
const CUT = new Set(['ERR_PROXY_TRUNCATED', 'ERR_PROXY_UPGRADE_IDLE_TIMEOUT', 'ERR_PROXY_THREADS'])

test('only what says something about the backend counts, whatever its side', () => {
  for (const [code, { side, blames }] of Object.entries(FAULTS)) {
    const error = new ProxyError(code as ProxyErrorCode, 'test')
    assert.equal(error.blamesBackend, blames)
    if (blames) assert.equal(side, 'backend', code)
  }
  assert.equal(new ProxyError('ERR_PROXY_CONNECT', 'test', { blamesBackend: false }).blamesBackend, false)
})

function systemError(code: string): Error {
  return Object.assign(new Error(`connect ${code} 127.0.0.1:1`), { code, syscall: 'connect' })
}

test('our own shortage of descriptors, ports, buffers or memory is told from a refusal', () => {
  const backend = new Backend('http://127.0.0.1:1')
  for (const code of ['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM']) {
    for (const cause of [systemError(code), new AggregateError([systemError('ECONNREFUSED'), systemError(code)])]) {
      const error = connectError(backend, cause)
      assert.deepEqual(
        [error.code, error.side, error.status, error.blamesBackend, error.cause],
        ['ERR_PROXY_SHORTAGE', 'proxy', 503, false, cause],
      )
      assert.deepEqual(error.headers, { 'Retry-After': '1' })
    }
  }
  for (const cause of [
    systemError('ECONNREFUSED'),
    systemError('ENOTFOUND'),
    new AggregateError([systemError('ECONNREFUSED'), systemError('EHOSTUNREACH')]),
  ]) {
    assert.deepEqual(
      [connectError(backend, cause).code, connectError(backend, cause).blamesBackend],
      ['ERR_PROXY_CONNECT', true],
    )
  }
  assert.equal(isShortage('EMFILE'), false)
})

test('a resolver that does not answer says nothing about the backend', () => {
  const { code, blamesBackend } = connectError(new Backend('http://backend.internal'), systemError('EAI_AGAIN'))
  assert.deepEqual([code, blamesBackend], ['ERR_PROXY_CONNECT', false])
})

type Url = { readonly url: string }

/** One failure that counts would eject `suspect`. */
function inQuestion(front: WayIn, suspect: Url, other: Url, more: ProxyOptions = {}): Promise<RunningProxy> {
  return front.run({
    backends: [
      { url: suspect.url, id: 'suspect' },
      { url: other.url, id: 'other' },
    ],
    balancer: firstAvailable(),
    retry: false,
    healthCheck: { consecutiveFailures: 1 },
    ...more,
  })
}

/** Both an exchange's record and whether its backend was ejected for it. */
async function verdict(running: RunningProxy): Promise<[code: string | null, isEjected: boolean]> {
  const { errorCode } = await running.nextRecord()
  return [errorCode, running.proxy.stats().groups[0]?.backends[0]?.status === 'ejected']
}

/** From now on no socket gets a connection: the process has no descriptor left, say. */
function withoutDescriptors(t: TestContext, code = 'EMFILE'): void {
  t.mock.method(net.Socket.prototype, 'connect', function connect(this: net.Socket) {
    process.nextTick(() => this.destroy(systemError(code)))
    return this
  })
}

/** An event stream in which nothing happens after the first event. */
const quietStream: MockHandler = (_request, reply) => {
  reply.head({ headers: { 'Content-Type': 'text/event-stream' } })
  reply.chunk('data: 1\n\n')
}

/** Takes a request's head, and nothing of its body. */
const takeNoBody: MockHandler = (request) => request.pause()

const HANDSHAKE = upgradeRequest({ protocol: 'foo' })

function upgradeBackend(): Promise<RawBackend> {
  return rawBackend((upgrade) => upgrade.accept('foo'))
}

for (const front of ALL_FRONTS) {
  test(`an idle WebSocket that our limit ends does not count (${front.name})`, {
    skip: inHttp2(front.name, 'there is no upgrade in HTTP/2'),
  }, async () => {
    await using suspect = await upgradeBackend()
    await using other = await mockBackend()
    await using running = await inQuestion(front, suspect, other, { timeouts: { upgradeIdle: 40 } })
    const client = rawClient(running.port)
    client.write(HANDSHAKE)
    await client.until('101')
    assert.deepEqual(await verdict(running), ['ERR_PROXY_UPGRADE_IDLE_TIMEOUT', false])
  })

  test(`a WebSocket that timeouts.total ends does not count (${front.name})`, {
    skip: inHttp2(front.name, 'there is no upgrade in HTTP/2'),
  }, async () => {
    await using suspect = await upgradeBackend()
    await using other = await mockBackend()
    const clock = manualClock()
    await using running = await inQuestion(front, suspect, other, { clock, timeouts: { total: 4000 } })
    const client = rawClient(running.port)
    client.write(HANDSHAKE)
    await client.until('101')
    clock.advance(4000)
    assert.deepEqual(await verdict(running), ['ERR_PROXY_TOTAL_TIMEOUT', false])
  })

  test(`a client that reads too slowly for timeouts.total does not count (${front.name})`, async () => {
    await using suspect = await mockBackend({ body: Buffer.alloc(32 * 2 ** 20) })
    await using other = await mockBackend()
    const clock = manualClock()
    await using running = await inQuestion(front, suspect, other, { clock, timeouts: { total: 4000 } })
    const client = rawClient(running.port)
    client.socket.once('data', () => client.socket.pause())
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('200 OK')
    clock.advance(4000)
    assert.deepEqual(await verdict(running), ['ERR_PROXY_TOTAL_TIMEOUT', false])
    client.socket.destroy()
  })

  test(`an event stream in which nothing happens does not count (${front.name})`, async () => {
    await using suspect = await mockBackend(quietStream)
    await using other = await mockBackend()
    await using running = await inQuestion(front, suspect, other, { timeouts: { idle: 40 } })
    const client = rawClient(running.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.deepEqual(await verdict(running), ['ERR_PROXY_IDLE_TIMEOUT', false])
    client.socket.destroy()
  })

  test(`a backend that takes nothing of a body does count (${front.name})`, async () => {
    await using suspect = await mockBackend(takeNoBody)
    await using other = await mockBackend()
    await using running = await inQuestion(front, suspect, other, { timeouts: { idle: 1500 } })
    const client = rawClient(running.port)
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${48 * 2 ** 20}\r\n\r\n`)
    client.write(Buffer.alloc(48 * 2 ** 20))
    assert.deepEqual(await verdict(running), ['ERR_PROXY_IDLE_TIMEOUT', true])
    client.socket.destroy()
  })

  test(`timeouts.total counts where the backend has had the request all that time (${front.name})`, async () => {
    await using suspect = await mockBackend(neverAnswer)
    await using other = await mockBackend()
    const clock = manualClock()
    await using running = await inQuestion(front, suspect, other, { clock, timeouts: { total: 4000 } })
    const response = fetch(running.url)
    await suspect.nextRequest()
    clock.advance(4000)
    assert.equal((await response).status, 504)
    assert.deepEqual(await verdict(running), ['ERR_PROXY_TOTAL_TIMEOUT', true])
  })

  test(`timeouts.total does not count where the client took that time to send its body (${front.name})`, async () => {
    await using suspect = await mockBackend(neverAnswer)
    await using other = await mockBackend()
    const clock = manualClock()
    await using running = await inQuestion(front, suspect, other, { clock, timeouts: { total: 4000 } })
    const client = rawClient(running.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1')
    const request = await suspect.nextRequestHead()
    clock.advance(3000)
    client.write('2')
    await request.body()
    clock.advance(1000)
    assert.deepEqual(await verdict(running), ['ERR_PROXY_TOTAL_TIMEOUT', false])
    client.socket.destroy()
  })

  test(`our own lack of descriptors is a 503 that does not count, for requests (${front.name})`, {
    skip: inHttp2(front.name, 'the gateway of the test lacks them, too'),
  }, async (t) => {
    await using suspect = await mockBackend()
    await using other = await mockBackend()
    await using running = await inQuestion(front, suspect, other)
    const client = rawClient(running.port)
    await new Promise<void>((resolve) => client.socket.once('connect', () => resolve()))
    withoutDescriptors(t)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('ERR_PROXY_SHORTAGE')
    assert.match(client.text, /^HTTP\/1\.1 503 /)
    assert.match(client.text, /\r\nRetry-After: 1\r\n/i)
    assert.deepEqual(await verdict(running), ['ERR_PROXY_SHORTAGE', false])
    client.socket.destroy()
  })

  test(`what met our own lack of descriptors is tried again, whatever its method (${front.name})`, {
    skip: inHttp2(front.name, 'the gateway of the test lacks them, too'),
  }, async (t) => {
    await using suspect = await mockBackend()
    await using other = await mockBackend({ body: 'made it' })
    await using running = await inQuestion(front, suspect, other, { retry: { maxRetries: 1, baseDelayMs: 0 } })
    const client = rawClient(running.port)
    await new Promise<void>((resolve) => client.socket.once('connect', () => resolve()))
    t.mock.method(net.Socket.prototype, 'connect', function connect(this: net.Socket) {
      // The next one works.
      t.mock.restoreAll()
      process.nextTick(() => this.destroy(systemError('EMFILE')))
      return this
    })
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
    await client.until('made it')
    assert.deepEqual(await verdict(running), [null, false])
    client.socket.destroy()
  })

  test(`our own lack of descriptors is a 503 that does not count, for upgrades (${front.name})`, {
    skip: inHttp2(front.name, 'there is no upgrade in HTTP/2'),
  }, async (t) => {
    await using suspect = await upgradeBackend()
    await using other = await mockBackend()
    await using running = await inQuestion(front, suspect, other)
    const client = rawClient(running.port)
    await new Promise<void>((resolve) => client.socket.once('connect', () => resolve()))
    withoutDescriptors(t, 'ENOBUFS')
    client.write(HANDSHAKE)
    await client.until('ERR_PROXY_SHORTAGE')
    assert.match(client.text, /^HTTP\/1\.1 503 /)
    assert.deepEqual(await verdict(running), ['ERR_PROXY_SHORTAGE', false])
  })

  test(`a connection that no one gave back in time does not count (${front.name})`, async () => {
    await using suspect = await mockBackend(neverAnswer)
    await using other = await mockBackend()
    await using running = await inQuestion(front, suspect, other, {
      pool: { maxConnections: 1, maxWaiting: 1 },
      timeouts: { acquire: 40 },
    })
    const client = rawClient(running.port)
    client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await suspect.nextRequest()
    const others = [fetch(running.url), fetch(running.url)]
    const statuses = (await Promise.all(others)).map(({ status }) => status)
    assert.deepEqual(statuses.sort(), [503, 504])
    assert.deepEqual(await verdict(running), ['ERR_PROXY_POOL_FULL', false])
    assert.deepEqual(await verdict(running), ['ERR_PROXY_ACQUIRE_TIMEOUT', false])
    client.socket.destroy()
  })

  test(`a kept connection that the backend closes as we use it does not count (${front.name})`, async () => {
    await using suspect = await mockBackend(closeIdleInRace())
    await using other = await mockBackend()
    await using running = await inQuestion(front, suspect, other)
    for (let i = 0; i < 4; i++) {
      // Too much to be kept, so that it is not sent again once it has been read.
      const response = await fetch(running.url, { method: 'POST', body: 'x'.repeat(300_000) })
      await response.text()
      assert.equal((await verdict(running))[1], false)
    }
  })

  for (const [what, code, backend] of [
    ['a refused connection', 'ERR_PROXY_CONNECT', () => deadPort()],
    ['no head in time', 'ERR_PROXY_HEADERS_TIMEOUT', () => mockBackend(neverAnswer)],
  ] as const) {
    test(`${what} counts (${front.name})`, async () => {
      const suspect: Url & Partial<AsyncDisposable> = await backend()
      await using other = await mockBackend()
      await using running = await inQuestion(front, suspect, other, { timeouts: { headers: 60 } })
      await fetch(running.url)
      assert.deepEqual(await verdict(running), [code, true])
      await suspect[Symbol.asyncDispose]?.()
    })
  }
}
