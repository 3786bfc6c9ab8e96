import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2, { type ClientHttp2Session, type Http2ServerResponse } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { ProxyServer, type ServerOptions } from '../../../src/compat/http-proxy/index.ts'
import { cutMidBody, deadPort, mockBackend, neverAnswer, recordingLogger } from '../../../src/testing/index.ts'
import { converse } from '../../support/raw-client.ts'
import { codeOf, nextEvent } from './serving.ts'

interface Front extends AsyncDisposable {
  readonly proxy: ProxyServer
  readonly session: ClientHttp2Session
  readonly authority: string
}

/** A ProxyServer in a server of HTTP/2 without TLS, and a client of it. */
async function http2Front(options: ServerOptions): Promise<Front> {
  const proxy = new ProxyServer({ logger: recordingLogger(), ...options })
  const server = http2.createServer((req, res) => void proxy.web(req as never, res as never)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const authority = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const session = http2.connect(`http://${authority}`)
  return {
    proxy,
    session,
    authority,
    async [Symbol.asyncDispose]() {
      session.destroy()
      await new Promise((resolve) => server.close(resolve))
      proxy.close()
    },
  }
}

async function ask(session: ClientHttp2Session, headers: http2.OutgoingHttpHeaders, body?: string | Buffer) {
  const stream = session.request(headers, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  const head = once(stream, 'response').then(([got]) => got as http2.IncomingHttpHeaders)
  return { head: await head, body: await text(stream), trailers: stream.sentTrailers }
}

test('a request line of HTTP/1 that claims HTTP/2.0 is refused', async () => {
  await using backend = await mockBackend()
  const proxy = new ProxyServer({ target: backend.url, logger: recordingLogger() })
  const server = http.createServer((req, res) => void proxy.web(req, res)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const { text: answer } = await converse(port, 'GET / HTTP/2.0\r\nHost: a\r\n\r\n')
  assert.match(answer, /^HTTP\/1\.1 400 /)
  assert.equal(backend.requests.length, 0)
  server.close()
  proxy.close()
})

test('HTTP/2: a request and its response', async () => {
  await using backend = await mockBackend((_request, reply) =>
    reply.send({
      status: 201,
      headers: ['X-A', '1', 'Set-Cookie', 'a', 'Set-Cookie', 'b', 'Keep-Alive', 'x'],
      body: 'hello',
    }),
  )
  await using front = await http2Front({ target: backend.url })
  const { head, body } = await ask(front.session, { ':path': '/x?y=1', 'x-given': 'a' })
  assert.deepEqual([head[':status'], head['x-a'], head['set-cookie'], body], [201, '1', ['a', 'b'], 'hello'])
  assert.equal(head['keep-alive'], undefined)
  const request = await backend.nextRequest()
  assert.deepEqual([request.method, request.path, request.header('x-given')], ['GET', '/x?y=1', 'a'])
  assert.deepEqual([request.header('host'), request.version], [front.authority, '1.1'])
  assert.doesNotMatch(request.rawHead, /:authority|:path|transfer-encoding/)
})

test('HTTP/2: bodies, with and without a length, and large ones', async () => {
  await using backend = await mockBackend(async (request, reply) => {
    const body = await request.body()
    reply.send({ headers: ['X-Length', request.header('content-length') ?? 'none'], body })
  })
  await using front = await http2Front({ target: backend.url })
  const plain = await ask(front.session, { ':method': 'POST' }, 'hello')
  assert.deepEqual([plain.head['x-length'], plain.body], ['none', 'hello'])
  const counted = await ask(front.session, { ':method': 'POST', 'content-length': '5' }, 'hello')
  assert.deepEqual([counted.head['x-length'], counted.body], ['5', 'hello'])
  const large = Buffer.alloc(3_000_000, 'x')
  assert.equal((await ask(front.session, { ':method': 'PUT' }, large)).body, large.toString())
  assert.equal((await ask(front.session, { ':method': 'DELETE' })).head['x-length'], 'none')
})

test('HTTP/2: without a body: HEAD, 204, 304', async () => {
  await using backend = await mockBackend((request, reply) =>
    reply.send(
      request.method === 'HEAD' ? { headers: ['Content-Length', '5'] } : { status: Number(request.path.slice(1)) },
    ),
  )
  await using front = await http2Front({ target: backend.url })
  assert.equal((await ask(front.session, { ':method': 'HEAD' })).head['content-length'], '5')
  for (const status of [204, 304]) {
    assert.equal((await ask(front.session, { ':path': `/${status}` })).head[':status'], status)
  }
})

test('HTTP/2: listeners get the request and the response of HTTP/2, and change heads', async () => {
  await using backend = await mockBackend()
  await using front = await http2Front({ target: backend.url, xfwd: true })
  front.proxy.on('proxyReq', (proxyReq, req) => {
    assert.deepEqual([req.httpVersionMajor, proxyReq.getHeader('host')], [2, front.authority])
    proxyReq.setHeader('X-Set', '1')
  })
  const seen: Promise<string>[] = []
  front.proxy.on('proxyRes', (proxyRes, _req, res) => {
    proxyRes.headers['x-seen'] = '1'
    proxyRes.statusCode = 203
    res.setHeader('x-res', '2')
    seen.push(text(proxyRes))
  })
  const ended = nextEvent(front.proxy, 'end')
  const { head, body } = await ask(front.session, { ':path': '/x' })
  assert.deepEqual([head[':status'], head['x-seen'], head['x-res'], body], [203, '1', '2', 'GET /x'])
  assert.deepEqual(await Promise.all(seen), ['GET /x'])
  await ended
  const [request] = backend.requests
  assert.deepEqual([request?.header('x-set'), request?.header('x-forwarded-host')], ['1', front.authority])
})

test('HTTP/2: selfHandleResponse', async () => {
  await using backend = await mockBackend()
  await using front = await http2Front({ target: backend.url, selfHandleResponse: true })
  front.proxy.on('proxyRes', async (proxyRes, _req, res) => {
    const body = await text(proxyRes)
    res.statusCode = 202
    res.end(body.toUpperCase())
  })
  const { head, body } = await ask(front.session, { ':path': '/x' })
  assert.deepEqual([head[':status'], body], [202, 'GET /X'])
  await backend.untilOpenConnections(1)
})

test('HTTP/2: a listener that writes the head itself', async () => {
  await using backend = await mockBackend()
  await using front = await http2Front({ target: backend.url })
  front.proxy.on('proxyRes', (_proxyRes, _req, res) => void res.writeHead(202, { 'x-own': '1' }))
  const { head, body } = await ask(front.session, { ':path': '/x' })
  assert.deepEqual([head[':status'], head['x-own'], body], [202, '1', 'GET /x'])
})

test('HTTP/2: failures are told, or responded to by us', async () => {
  const { url } = await deadPort()
  await using front = await http2Front({ target: url })
  const own = await ask(front.session, { ':path': '/' })
  assert.deepEqual([own.head[':status'], own.body], [502, '502 Bad Gateway (ECONNREFUSED)\n'])
  front.proxy.on('error', (error, _req, res) => {
    ;(res as unknown as Http2ServerResponse).writeHead(503).end(codeOf(error) ?? '')
  })
  const told = await ask(front.session, { ':path': '/' })
  assert.deepEqual([told.head[':status'], told.body], [503, 'ECONNREFUSED'])
})

test('HTTP/2: a truncated response ends the stream with an error', async () => {
  await using backend = await mockBackend(cutMidBody)
  await using front = await http2Front({ target: backend.url })
  const stream = front.session.request({ ':path': '/' })
  await once(stream, 'response')
  await assert.rejects(text(stream), { code: 'ERR_HTTP2_STREAM_ERROR' })
})

test('HTTP/2: a client that leaves ends the request to the target', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await http2Front({ target: backend.url })
  const reset = nextEvent(front.proxy, 'econnreset')
  const stream = front.session.request({ ':path': '/' })
  await backend.nextRequestHead()
  stream.close(http2.constants.NGHTTP2_CANCEL)
  assert.equal(codeOf((await reset)[0] as Error), 'ECONNRESET')
  await backend.untilOpenConnections(0)
})

test('HTTP/2: a slow client holds the target up', async () => {
  const total = 16 * 1024 * 1024
  let sent = 0
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head()
    for (; sent < total; sent += 65_536) if (!reply.chunk(Buffer.alloc(65_536))) await reply.drained()
    reply.end()
  })
  await using front = await http2Front({ target: backend.url })
  const stream = front.session.request({ ':path': '/' })
  await once(stream, 'response')
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.ok(sent < total, 'the target could send all of it')
  let received = 0
  for await (const chunk of stream) received += (chunk as Buffer).length
  assert.equal(received, total)
})

test('HTTP/2: trailers of the response pass', async () => {
  await using backend = await mockBackend((_request, reply) => reply.send({ body: 'hello', trailers: ['X-Sum', '1'] }))
  await using front = await http2Front({ target: backend.url })
  const stream = front.session.request({ ':path': '/', te: 'trailers' })
  const trailers = once(stream, 'trailers')
  await text(stream)
  assert.equal((await trailers)[0]['x-sum'], '1')
})

test('HTTP/2: forward, alone and with a target', async () => {
  await using copies = await mockBackend(async (request, reply) => {
    await request.body()
    reply.send()
  })
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using front = await http2Front({ forward: copies.url })
  const alone = await ask(front.session, { ':method': 'POST', ':path': '/alone' }, 'hello')
  assert.deepEqual([alone.head[':status'], alone.body], [200, ''])
  front.proxy.options.target = backend.url
  const both = await ask(front.session, { ':method': 'POST', ':path': '/both' }, 'hello')
  assert.deepEqual([both.head[':status'], both.body], [200, 'hello'])
  for (const path of ['/alone', '/both']) {
    const copy = await copies.nextRequest()
    assert.deepEqual([copy.path, copy.bodyText, copy.header('host')], [path, 'hello', front.authority])
  }
})

test('HTTP/2: a body that a parser has read', async () => {
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  const proxy = new ProxyServer({ target: backend.url })
  const server = http2.createServer(async (req, res) => {
    const body = JSON.parse(await text(req))
    proxy.web(Object.assign(req, { body }) as never, res as never)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const { body } = await ask(session, { ':method': 'POST', 'content-type': 'application/json' }, '{"a":1}')
  assert.equal(body, '{"a":1}')
  session.destroy()
  await new Promise((resolve) => server.close(resolve))
  proxy.close()
})

test('HTTP/2: a body that is not complete ends the request', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await http2Front({ target: backend.url })
  const stream = front.session.request({ ':method': 'POST' })
  stream.on('error', () => {}).write('some')
  await backend.nextRequestHead()
  stream.close(http2.constants.NGHTTP2_CANCEL)
  await backend.untilOpenConnections(0)
})

test('HTTP/2: headers of a connection stay behind, without a warning of node', async () => {
  await using backend = await mockBackend((_request, reply) => reply.send({ status: 426, headers: ['Upgrade', 'foo'] }))
  await using front = await http2Front({ target: backend.url })
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  const { head } = await ask(front.session, { ':path': '/' })
  assert.deepEqual([head[':status'], head.upgrade, head.connection], [426, undefined, undefined])
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', onWarning)
  assert.deepEqual(warnings, [])
})
