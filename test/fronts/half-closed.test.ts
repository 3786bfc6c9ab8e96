import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import type net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { createProxy, OptionsError, type ProxyOptions, workerThreads } from '../../src/index.ts'
import { type MockHandler, type MockReply, mockBackend, neverAnswer } from '../../src/testing/index.ts'
import { MIB } from '../support/bytes.ts'
import { certificate, key } from '../support/certificates.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { gate, runInServer, runProxy } from '../support/running-proxy.ts'
import { without } from '../threads/threaded.ts'

const skipThreads = await without()

/** Requests that the socket server reads, and those that it leaves to node's server behind it. */
const KINDS: readonly (readonly [name: string, request: string])[] = [
  ['GET', 'GET /1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['POST', 'POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody'],
  ['POST in chunks', 'POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n'],
  ['GET that node reads', 'GET http://a/1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['POST that node reads', 'POST http://a/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody'],
  ['GET in HTTP/1.0', 'GET /1 HTTP/1.0\r\nHost: a\r\n\r\n'],
]

/** Answers with the path and the body when `goOn` is fulfilled. */
function echoAfter(goOn: Promise<void>): MockHandler {
  return async (request, reply) => {
    const body = await request.body()
    await goOn
    reply.send({ body: `<${request.path} ${body}>` })
  }
}

for (const [kind, request] of KINDS) {
  test(`a client that ends its side after a whole request gets its answer: ${kind}`, async () => {
    const goOn = gate()
    await using backend = await mockBackend(echoAfter(goOn.promise))
    await using front = await runProxy({ target: backend.url })
    const client = rawClient(front.port)
    client.socket.end(request)
    await backend.nextRequest()
    goOn.open()
    assert.equal(await client.ended, 'end')
    assert.match(client.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*<\/1 (?:body)?>/)
    const record = await front.nextRecord()
    assert.deepEqual([record.status, record.outcome], [200, 'answered'])
    assert.deepEqual(front.errors, [])
  })

  test(`limits.halfClose: 'abort' takes it for one that has gone: ${kind}`, async () => {
    await using backend = await mockBackend(neverAnswer)
    await using front = await runProxy({ target: backend.url, limits: { halfClose: 'abort' } })
    const client = rawClient(front.port)
    client.write(request)
    await backend.nextRequest()
    client.socket.end()
    assert.equal(await client.ended, 'end')
    assert.equal(client.text, '')
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_GONE')
    await backend.untilOpenConnections(0)
  })

  test(`a client that ends its side in the middle of its second request gets one answer, and a 400: ${kind}`, async () => {
    const goOn = gate()
    await using backend = await mockBackend(echoAfter(goOn.promise))
    await using front = await runProxy({ target: backend.url })
    const client = rawClient(front.port)
    client.socket.end(`${request.replace('HTTP/1.0', 'HTTP/1.0\r\nConnection: keep-alive')}GET /2 HTTP/1.1\r\nHo`)
    await backend.nextRequest()
    goOn.open()
    await client.ended
    assert.match(client.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*<\/1 (?:body)?>[\s\S]*HTTP\/1\.1 400 Bad Request/)
  })
}

test('all requests before the end of its side are answered, in their order', async () => {
  const goOn = gate()
  await using backend = await mockBackend(echoAfter(goOn.promise))
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  // The last ones go by way of node's server.
  const targets = ['/1', '/2', '/3', '/4', 'http://a/5', '/6', 'http://a/7']
  client.socket.end(targets.map((to) => `POST ${to} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody`).join(''))
  await backend.nextRequest()
  goOn.open()
  assert.equal(await client.ended, 'end')
  assert.deepEqual(
    client.text.match(/<.*?>/g),
    [1, 2, 3, 4, 5, 6, 7].map((i) => `</${i} body>`),
  )
})

test('a body that the backend is slow to take is whole, though its client has ended its side meanwhile', async () => {
  const goOn = gate()
  const length = 8 * MIB
  await using backend = await mockBackend(async (request, reply) => {
    await goOn.promise
    reply.send({ body: `got ${(await request.body()).length}` })
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`)
  client.socket.end(Buffer.alloc(length))
  await backend.nextRequestHead()
  goOn.open()
  assert.equal(await client.ended, 'end')
  assert.match(client.text, new RegExp(`got ${length}$`))
})

test('a client that ends its side between requests is let go without a word', async () => {
  await using backend = await mockBackend({ body: 'served' })
  await using front = await runProxy({ target: backend.url })
  for (const bytes of ['', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n']) {
    const client = rawClient(front.port)
    client.write(bytes)
    if (bytes !== '') await client.until('served')
    const { length } = client.text
    client.socket.end()
    assert.equal(await client.ended, 'end')
    assert.equal(client.text.length, length)
  }
  assert.deepEqual(front.errors, [])
})

for (const target of ['/', 'http://a/']) {
  for (const [what, bytes] of [
    ['a body', `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf`],
    ['a chunk', `POST ${target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha`],
    ['a wait for 100', `POST ${target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n`],
  ] as const) {
    test(`a client that ends its side in the middle of ${what} is refused, to ${target}`, async () => {
      await using backend = await mockBackend(neverAnswer)
      await using front = await runProxy({ target: backend.url })
      const client = rawClient(front.port)
      client.write(bytes)
      await backend.nextRequestHead()
      client.socket.end()
      await client.ended
      assert.match(client.text, /HTTP\/1\.1 400 Bad Request\r\n/)
      await backend.untilOpenConnections(0)
    })
  }

  test(`a client that has gone is noticed by what is written to it, from ${target}`, async () => {
    const replies = gate<MockReply>()
    await using backend = await mockBackend((_request, reply) => {
      reply.head({ headers: { 'Content-Type': 'text/event-stream' } })
      reply.chunk('data: 0\n\n')
      replies.open(reply)
    })
    await using front = await runProxy({ target: backend.url })
    const client = rawClient(front.port)
    client.write(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await client.until('data: 0')
    client.socket.destroy()
    const reply = await replies.promise
    while (!reply.isClosed) {
      reply.chunk('data: more\n\n')
      await new Promise((resolve) => setImmediate(resolve))
    }
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.errorCode], ['aborted', 'ERR_PROXY_CLIENT_GONE'])
  })
}

test('with TLS, too: a client that ends its side gets its answers', async () => {
  const goOn = gate()
  await using backend = await mockBackend(echoAfter(goOn.promise))
  await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', tls: { key, cert: certificate } })
  const socket = tls.connect({ port, host: '127.0.0.1', ca: certificate, servername: 'localhost' })
  socket.allowHalfOpen = true
  let text = ''
  socket.on('data', (bytes) => {
    text += bytes
  })
  socket.end('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET http://a/2 HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequest()
  goOn.open()
  await once(socket, 'end')
  assert.deepEqual(text.match(/<.*?>/g), ['</1 >', '</2 >'])
})

test('with threads, too', { skip: skipThreads }, async () => {
  await using backend = await mockBackend(echoAfter(Promise.resolve()))
  await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100, executor: workerThreads({ threads: 2 }) })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const client = rawClient(port)
  client.socket.end('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.ended
  assert.match(client.text, /<\/1 >$/)
})

test("in an application's server it is for httpAllowHalfOpen to say", async () => {
  for (const allows of [false, true]) {
    const goOn = gate()
    const ended = gate<net.Socket>()
    await using backend = await mockBackend(echoAfter(goOn.promise))
    await using front = await runInServer({ target: backend.url }, (proxy) => {
      const server = http.createServer(proxy.web)
      Object.assign(server, { httpAllowHalfOpen: allows })
      server.on('connection', (socket) => socket.on('end', () => ended.open(socket)))
      return server
    })
    const client = rawClient(front.port)
    client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await backend.nextRequest()
    client.socket.end()
    await ended.promise
    goOn.open()
    await client.ended
    assert.equal(client.text.includes('</1 >'), allows)
  }
})

test('limits.halfClose is one of two words', () => {
  const options = { target: 'http://a', limits: { halfClose: 'maybe' } } as unknown as ProxyOptions
  assert.throws(() => createProxy(options), OptionsError)
})

test('a client that ends its side and takes no answer is held no longer than its exchange may idle', async () => {
  await using backend = await mockBackend({ body: Buffer.alloc(16 * MIB) })
  await using front = await runProxy({ target: backend.url, timeouts: { idle: 100 } })
  const client = rawClient(front.port)
  client.socket.pause()
  client.socket.end('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_TIMEOUT')
  client.socket.destroy()
})

test('half-closed connections in their hundreds leave nothing behind', async () => {
  await using backend = await mockBackend(echoAfter(Promise.resolve()))
  await using front = await runProxy({ target: backend.url })
  for (let round = 0; round < 10; round++) {
    const all = Array.from({ length: 20 }, async (_, i) => {
      const bytes = KINDS[i % KINDS.length]?.[1] ?? ''
      const client = rawClient(front.port)
      client.socket.end(bytes)
      await client.ended
      assert.match(client.text, /200 OK/)
    })
    await Promise.all(all)
  }
  assert.equal(front.proxy.stats().active, 0)
  const { text } = await converse(front.port, 'GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(text, /<\/1 >/)
})
