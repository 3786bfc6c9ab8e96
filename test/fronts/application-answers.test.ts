import assert from 'node:assert/strict'
import http from 'node:http'
import type { Duplex } from 'node:stream'
import { test } from 'node:test'
import { type MockReply, mockBackend } from '../../src/testing/index.ts'
import { APPLICATIONS } from '../support/applications.ts'
import { interceptor } from '../support/interceptors.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, runInServer } from '../support/running-proxy.ts'
import { type RawUpgrade, rawBackend, switching, upgradeRequest } from '../support/upgrade-backends.ts'

test('what an application answers by itself, whole, is not cut where the backend answers while it goes out', async () => {
  const begun = gate<MockReply>()
  const answered = gate()
  await using backend = await mockBackend((_request, reply) => begun.open(reply))
  // More than sockets buffer.
  const large = Buffer.alloc(20_000_000, 'a')
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      proxy.web(req, res)
      void begun.promise.then(() => {
        res.end(large)
        answered.open()
      })
    }),
  )
  const client = rawClient(front.port)
  client.socket.pause()
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  const reply = await begun.promise
  await answered.promise
  reply.send({ body: 'late' })
  const record = await front.nextRecord()
  client.socket.resume()
  assert.equal(await client.ended, 'end')
  assert.equal(client.text.length - client.text.indexOf('\r\n\r\n') - 4, large.length)
  assert.equal(record.outcome, 'local')
  assert.equal(front.pending(), 0)
})

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

for (const { name, ask, hasResponse, passesErrors, run } of APPLICATIONS) {
  if (!hasResponse) continue
  for (const [what, answer, expected] of [
    ['responds', (reply: MockReply) => reply.send({ body: 'late' }), ['local', 299, null]],
    ['fails', (reply: MockReply) => reply.reset(), ['failed', 299, 'ERR_PROXY_RESET']],
  ] as const) {
    test(`${name}: a response that the application has begun goes on, where the backend ${what} meanwhile`, async () => {
      const asked = gate<MockReply>()
      const responding = gate<http.ServerResponse>()
      const errors: unknown[] = []
      await using backend = await mockBackend((_request, reply) => asked.open(reply))
      await using front = await run(
        {
          target: backend.url,
          retry: false,
          routes: [{ interceptors: [interceptor((next, ...args) => next(...args))] }],
        },
        {
          before(_req, res) {
            void asked.promise.then(() => {
              res?.writeHead(299, { 'Transfer-Encoding': 'chunked' }).write('first ')
              responding.open(res as http.ServerResponse)
            })
          },
          ...(passesErrors && { onError: (error: unknown) => void errors.push(error) }),
        },
      )
      const client = rawClient(front.port)
      client.write(ask([]))
      const res = await responding.promise
      answer(await asked.promise)
      const { outcome, status, errorCode } = await front.nextRecord()
      assert.deepEqual([outcome, status, errorCode], expected)
      res.end('last')
      assert.equal(await client.ended, 'end')
      assert.match(client.text, /^HTTP\/1\.1 299 .*\r\n\r\n6\r\nfirst \r\n4\r\nlast\r\n0\r\n\r\n$/s)
      assert.deepEqual(errors, [])
      assert.equal(front.pending(), 0)
    })
  }

  test(`${name}: an interceptor that waits is ended by the response of the application`, async () => {
    await using backend = await mockBackend()
    const waiting = gate()
    const aborted = gate()
    const waits = interceptor((next, exchange, request, body, sink) => {
      exchange.signal.addEventListener('abort', () => {
        aborted.open()
        next(exchange, request, body, sink)
      })
      waiting.open()
    })
    await using front = await run(
      { target: backend.url, routes: [{ interceptors: [waits] }] },
      { before: (_req, res) => void waiting.promise.then(() => res?.writeHead(299).end('mine')) },
    )
    const client = rawClient(front.port)
    client.write(ask([]))
    await aborted.promise
    assert.equal(await client.ended, 'end')
    assert.match(client.text, /^HTTP\/1\.1 299 .*mine/s)
    const { outcome, status } = await front.nextRecord()
    assert.deepEqual([outcome, status, backend.connections], ['local', 299, 0])
  })
}

test('the connection serves the next request after a response of the application', async () => {
  await using backend = await mockBackend(({ path }, reply) => reply.send({ body: path === '/' ? 'late' : 'next' }))
  await using front = await runInServer({ target: backend.url, limits: { maxRequestsPerConnection: 3 } }, (proxy) =>
    http.createServer((req, res) => {
      proxy.web(req, res)
      if (req.url === '/own') res.end('own')
    }),
  )
  const client = rawClient(front.port)
  for (const [path, body] of [
    ['/own', 'own'],
    ['/next', 'next'],
    ['/own', 'own'],
  ] as const) {
    const { length } = client.text
    client.write(REQUEST.replace('/', path))
    const { promise, open } = gate()
    client.socket.on('data', () => client.text.slice(length).includes(`\r\n\r\n${body}`) && open())
    await promise
  }
  assert.equal(await client.ended, 'end')
  assert.match(client.text, /Connection: close\r\n.*own$/s)
})

test('a request whose response the application had begun before is not sent to a backend', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      res.write('mine')
      proxy.web(req, res)
    }),
  )
  const client = rawClient(front.port)
  client.write(REQUEST)
  await client.ended
  assert.doesNotMatch(client.text, /0\r\n\r\n$/)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
  assert.match(front.errors[0]?.message ?? '', /had begun a response/)
  assert.equal(backend.connections, 0)
})

for (const [what, answer, expected] of [
  ['switches', ({ socket }: RawUpgrade) => void socket.write(switching('foo', 'glued')), ['local', 0, null]],
  [
    'refuses',
    ({ socket }: RawUpgrade) => void socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'),
    ['local', 0, null],
  ],
  ['fails', ({ socket }: RawUpgrade) => void socket.resetAndDestroy(), ['failed', 0, 'ERR_PROXY_RESET']],
] as const) {
  test(`an upgrade that the application has answered gets all of it, where the backend ${what} meanwhile`, async () => {
    const large = Buffer.alloc(20_000_000, 'a')
    let own: Duplex | null = null
    await using backend = await rawBackend()
    await using front = await runInServer({ target: backend.url, retry: false }, (proxy) =>
      http.createServer().on('upgrade', (req, socket, head) => {
        own = socket
        proxy.ws(req, socket, head)
      }),
    )
    const client = rawClient(front.port)
    client.socket.pause()
    client.write(upgradeRequest())
    const upgrade = await backend.nextUpgrade()
    const socket = own as Duplex | null
    socket?.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 20000000\r\nSet-Cookie: a=1\r\n\r\n')
    socket?.end(large)
    answer(upgrade)
    const { outcome, status, errorCode } = await front.nextRecord()
    assert.deepEqual([outcome, status, errorCode], expected)
    client.socket.resume()
    assert.equal(await client.ended, 'end')
    assert.match(client.text.slice(0, 200), /^HTTP\/1\.1 401 /)
    assert.equal(client.text.length - client.text.indexOf('\r\n\r\n') - 4, large.length)
    await backend.untilOpen(0)
  })
}

test('an upgrade that the application has answered ends with its connection, whatever the client still sends', async () => {
  const asked = gate<Duplex>()
  await using backend = await rawBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer().on('upgrade', (req, socket, head) => {
      proxy.ws(req, socket, head)
      asked.open(socket)
    }),
  )
  const client = rawClient(front.port)
  client.write(upgradeRequest())
  await backend.nextUpgrade()
  const socket = await asked.promise
  socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
  await client.until('401')
  client.socket.end(Buffer.alloc(500_000, 'a'))
  const { outcome, errorCode } = await front.nextRecord()
  assert.deepEqual([outcome, errorCode], ['local', null])
  await backend.untilOpen(0)
})
