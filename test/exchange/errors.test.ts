import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  createProxy,
  firstAvailable,
  type Lease,
  type Pool,
  type ProxyOptions,
  type Transform,
} from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { runProxy } from '../support/running-proxy.ts'

for (const [what, request, status, code] of [
  ['a Transfer-Encoding that is not chunked', 'Transfer-Encoding: gzip, chunked', 400, 'ERR_PROXY_BAD_REQUEST'],
  ['both framings', 'Content-Length: 3\r\nTransfer-Encoding: chunked', 400, 'ERR_PROXY_BAD_REQUEST'],
  ['two Content-Lengths', 'Content-Length: 3\r\nContent-Length: 4', 400, 'ERR_PROXY_BAD_REQUEST'],
  ['a Content-Length that is no number', 'Content-Length: 3x', 400, 'ERR_PROXY_BAD_REQUEST'],
  ['a header line without a colon', 'nonsense', 400, 'ERR_PROXY_BAD_REQUEST'],
  ['a head that is too large', `X-Large: ${'x'.repeat(100_000)}`, 431, 'ERR_PROXY_HEAD_TOO_LARGE'],
] as const) {
  test(`a request with ${what} is ${status} ${code}, and no backend sees it`, async () => {
    await using backend = await mockBackend()
    await using front = await runProxy({ target: backend.url })
    const { text } = await converse(front.port, `POST / HTTP/1.1\r\nHost: a\r\n${request}\r\n\r\n3\r\nabc\r\n0\r\n\r\n`)
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*\\r\\nConnection: close\\r\\n[\\s\\S]*${code}`))
    assert.equal(front.errors[0]?.code, code)
    assert.equal(front.errors[0]?.side, 'client')
    assert.equal(front.errors[0]?.phase, 'accept')
    assert.equal(front.errors[0]?.status, status)
    assert.equal(backend.connections, 0)
  })
}

test('two Host headers are 400', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n')
  assert.match(text, /^HTTP\/1\.1 400 /)
  assert.equal(backend.connections, 0)
})

test('a request target that cannot be passed on is 400', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  for (const target of ['*', 'ftp://a/b', 'http://user@a/b']) {
    const { text } = await converse(front.port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    assert.match(text, /^HTTP\/1\.1 400 /, target)
  }
  assert.equal(backend.connections, 0)
})

test('a bad chunk in the middle of an upload is 400, and the backend does not take the body for complete', async () => {
  await using backend = await mockBackend(async (request, reply) => {
    await request.body()
    reply.send()
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  const request = await backend.nextRequestHead()
  client.write('zz\r\nsecond\r\n0\r\n\r\n')
  await client.ended
  assert.match(client.text, /^HTTP\/1\.1 400 /)
  await backend.untilOpenConnections(0)
  assert.equal(request.isComplete, false)
  assert.equal((await front.nextRecord()).outcome, 'aborted')
})

test('a body over limits.maxBodyBytes is 413 before any backend is bothered, where its length is announced', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, limits: { maxBodyBytes: 10 } })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n')
  assert.match(await client.until('ERR_PROXY_BODY_TOO_LARGE'), /^HTTP\/1\.1 413 /)
  assert.equal(backend.connections, 0)
  const record = await front.nextRecord()
  assert.equal(record.errorCode, 'ERR_PROXY_BODY_TOO_LARGE')
  assert.equal(record.outcome, 'local')
  assert.equal(record.backend, null)
  assert.equal(front.errors[0]?.side, 'client')
  assert.equal(front.errors[0]?.phase, 'request')
  await client.ended
  assert.equal((await fetch(front.url, { method: 'POST', body: '0123456789' })).status, 200)
})

test('a client that waits for 100 learns of limits.maxBodyBytes without sending its body', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, limits: { maxBodyBytes: 10 } })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n')
  assert.match(await client.until('ERR_PROXY_BODY_TOO_LARGE'), /^HTTP\/1\.1 413 /)
  await client.ended
})

test('a chunked body that grows over limits.maxBodyBytes is 413, and the backend does not get it as complete', async () => {
  await using backend = await mockBackend(async (request, reply) => {
    await request.body()
    reply.send()
  })
  await using front = await runProxy({ target: backend.url, limits: { maxBodyBytes: 10 } })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  const request = await backend.nextRequestHead()
  client.write('6\r\nsecond\r\n')
  assert.match(await client.until('ERR_PROXY_BODY_TOO_LARGE'), /^HTTP\/1\.1 413 /)
  await client.ended
  await backend.untilOpenConnections(0)
  assert.equal(request.isComplete, false)
  assert.equal(front.pending(), 0)
})

test('a chunked body that grows over limits.maxBodyBytes while the response runs is a cut', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.head()
    reply.chunk('begun')
  })
  await using front = await runProxy({ target: backend.url, limits: { maxBodyBytes: 10 } })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n')
  await client.until('begun')
  client.write('6\r\nsecond\r\n')
  await client.ended
  assert.doesNotMatch(client.text, /\r\n0\r\n/)
  const record = await front.nextRecord()
  assert.equal(record.outcome, 'truncated')
  assert.equal(record.errorCode, 'ERR_PROXY_BODY_TOO_LARGE')
})

function transform(part: { [Key in keyof Transform]?: Transform[Key] | undefined }): ProxyOptions {
  return { routes: [{ transforms: [{ name: 'mine', ...part } as Transform] }] }
}

function oops(): never {
  throw new Error('oops at 10.0.0.1')
}

const setsPath: Transform['request'] = (request) => {
  request.path = '/a b'
}

const setsStatus =
  (status: number): Transform['response'] =>
  (response) => {
    response.status = status
  }

const rejectingPool: Pool = {
  acquire: () => Promise.reject(new Error('oops at 10.0.0.1')),
  stats: () => ({ backends: [] }),
  drain: async () => {},
  close: async () => {},
  destroy: () => {},
}

const hooks: readonly [string, ProxyOptions][] = [
  ['a balancer that throws', { balancer: { name: 'mine', pick: oops } }],
  ['a balancer that picks nothing', { balancer: { name: 'mine', pick: () => undefined as never } }],
  ['a transform that throws on the request', transform({ request: oops })],
  ['a transform that throws on the response', transform({ response: oops })],
  ['a transform that makes an impossible path', transform({ request: setsPath })],
  [
    'a transform that sets an impossible header',
    transform({ request: (request) => request.headers.set('X', 'a\r\nb') }),
  ],
  [
    'a transform that sets a framing header',
    transform({ response: (response) => response.headers.set('Content-Length', '1') }),
  ],
  ['a transform that sets an impossible status', transform({ response: setsStatus(42) })],
  ['a transform that sets an interim status', transform({ response: setsStatus(101) })],
  ['a pool that rejects', { pool: rejectingPool }],
  ['a pool that throws', { pool: { ...rejectingPool, acquire: oops } }],
]

for (const [what, options] of hooks) {
  test(`${what} is 500 ERR_PROXY_HOOK that tells the client nothing, and leaves nothing pending`, async () => {
    await using backend = await mockBackend()
    await using front = await runProxy({ target: backend.url, ...options })
    const response = await fetch(front.url)
    assert.equal(response.status, 500)
    assert.equal(await response.text(), '500 Internal Server Error (ERR_PROXY_HOOK)\n')
    const record = await front.nextRecord()
    assert.equal(record.errorCode, 'ERR_PROXY_HOOK')
    assert.equal(record.status, 500)
    assert.equal(front.errors[0]?.code, 'ERR_PROXY_HOOK')
    assert.equal(front.errors[0]?.side, 'proxy')
    assert.equal(front.pending(), 0)
    assert.equal(front.proxy.stats().active, 0)
  })
}

test('the cause of a failed hook is in the error event and in the log', async () => {
  const logger = recordingLogger()
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, logger, balancer: { name: 'mine', pick: oops } })
  await fetch(front.url)
  assert.match(String(front.errors[0]?.cause), /oops/)
  assert.match(logger.messages('error').join(), /balancer mine threw: oops/)
})

test('a retry policy that throws ends the exchange with the error that it was asked about', async () => {
  const { url } = await deadPort()
  await using front = await runProxy({ target: url, retry: { name: 'mine', next: oops } })
  assert.equal((await fetch(front.url)).status, 502)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CONNECT')
})

test('a retry policy whose onExchange throws hurts no exchange', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, retry: { name: 'mine', next: () => -1, onExchange: oops } })
  assert.equal((await fetch(front.url)).status, 200)
})

test('a balancer whose onStart and onEnd throw hurts no exchange', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({
    target: backend.url,
    balancer: { ...firstAvailable(), onStart: oops, onEnd: oops },
  })
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal((await front.nextRecord()).outcome, 'answered')
  assert.equal(front.pending(), 0)
})

test('a health check that throws hurts no exchange', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, healthCheck: { name: 'mine', observe: oops } })
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal((await front.nextRecord()).outcome, 'answered')
})

test('a logger that throws hurts no exchange', async () => {
  const { url } = await deadPort()
  await using front = await runProxy({ target: url, logger: { debug: oops, info: oops, warn: oops, error: oops } })
  assert.equal((await fetch(front.url)).status, 502)
  assert.equal((await front.nextRecord()).outcome, 'failed')
})

test('an access log that throws hurts no exchange', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url, accessLog: { format: 'common', write: oops } })
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal((await front.nextRecord()).outcome, 'answered')
})

test('listeners that throw are logged and change nothing', async () => {
  const logger = recordingLogger()
  const dead = await deadPort()
  await using backend = await mockBackend()
  await using front = await runProxy({ backends: [dead.url, backend.url], balancer: firstAvailable(), logger })
  for (const event of ['request', 'attempt', 'retry', 'response', 'finish', 'error', 'eject'] as const) {
    front.proxy.on(event, oops)
  }
  for (let i = 0; i < 6; i++) assert.equal((await fetch(front.url)).status, 200)
  assert.equal(front.pending(), 0)
  for (const event of ['request', 'attempt', 'retry', 'response', 'finish', 'eject']) {
    assert.ok(
      logger.messages('error').some((message) => message.includes(`"${event}"`)),
      event,
    )
  }
})

test('with no listener for error nothing crashes', async () => {
  const { url } = await deadPort()
  await using proxy = createProxy({ logger: 'silent', target: url })
  const { url: front, port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  assert.equal((await fetch(front)).status, 502)
  await converse(port, 'nonsense\r\n\r\n')
})

test('every exchange tells request once and finish once, whatever becomes of it', async () => {
  const { url } = await deadPort()
  await using good = await mockBackend()
  await using front = await runProxy({
    groups: { good: { target: good.url }, bad: { target: url } },
    routes: [
      { path: '/good', group: 'good' },
      { path: '/bad', group: 'bad' },
    ],
  })
  const told: string[] = []
  front.proxy
    .on('request', (exchange) => told.push(`request ${exchange.target}`))
    .on('attempt', (exchange) => told.push(`attempt ${exchange.target}`))
    .on('response', (exchange, status) => told.push(`response ${exchange.target} ${status}`))
    .on('error', (error, exchange) => {
      told.push(`error ${exchange?.target} ${error.code}`)
    })
    .on('finish', (exchange, record) => told.push(`finish ${exchange.target} ${record.outcome}`))
  for (const path of ['/good', '/bad', '/none']) {
    await (await fetch(front.url + path)).text()
    await front.nextRecord()
  }
  assert.deepEqual(told, [
    'request /good',
    'attempt /good',
    'response /good 200',
    'finish /good answered',
    'request /bad',
    'attempt /bad',
    'attempt /bad',
    'attempt /bad',
    'error /bad ERR_PROXY_CONNECT',
    'finish /bad failed',
    'request /none',
    'error /none ERR_PROXY_NO_ROUTE',
    'finish /none local',
  ])
})

test("a connection that a pool hands out but that never answers is the client's to end", async () => {
  const connection: Lease = { isReused: false, send() {}, release() {} }
  await using front = await runProxy({
    target: 'http://127.0.0.1:1',
    pool: { ...rejectingPool, acquire: () => connection },
  })
  const attempted = new Promise((resolve) => front.proxy.once('attempt', resolve))
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await attempted
  client.socket.resetAndDestroy()
  assert.equal((await front.nextRecord()).outcome, 'aborted')
})
