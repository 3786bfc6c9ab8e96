import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { Bridge } from '../../../src/fronts/http2/bridge.ts'
import { FLAG, FRAME } from '../../../src/http2/protocol.ts'
import type { Http2Stream } from '../../../src/http2/stream.ts'
import type { ListenOptions, ProxyOptions } from '../../../src/index.ts'
import { manualClock, mockBackend } from '../../../src/testing/index.ts'
import { data, type Frame, GET, headers, POST } from '../../http2/wire.ts'
import { certificate, key } from '../../support/certificates.ts'
import { type RunningProxy, runBoth } from '../../support/running-proxy.ts'
import { http2Client } from './client.ts'
import { rawClient } from './raw-client.ts'

/** A proxy with one route, `routed.test`, and an application for all else. */
function run(
  serve: http.RequestListener,
  { application = http.createServer(serve), ...options }: ProxyOptions & { application?: http.Server } = {},
  listen: Partial<ListenOptions> = {},
): Promise<RunningProxy> {
  const routes = [{ host: 'routed.test' }]
  return runBoth({ drainTimeoutMs: 1_000, routes, ...options }, { fallback: application, ...listen })
}

const A = { ':path': '/', ':authority': 'a.test' }
const is =
  (type: number, id: number) =>
  (one: Frame): boolean =>
    one.type === type && one.id === id

test("a request that no route matches is the application's, the others the proxy's; both on one connection", async () => {
  await using backend = await mockBackend((_request, reply) => reply.send({ body: 'routed' }))
  await using front = await run((req, res) => res.end(`application ${req.url}`), { backends: [backend.url] })
  await using client = http2Client(front.port)
  const answers = await Promise.all([
    client.ask({ ...A, ':path': '/one?a=1' }),
    client.ask({ ...A, ':authority': 'routed.test' }),
    client.ask({ ...A, ':path': '/two' }),
  ])
  assert.deepEqual(
    answers.map(({ status, body, code }) => [status, body, code]),
    [
      [200, 'application /one?a=1', 0],
      [200, 'routed', 0],
      [200, 'application /two', 0],
    ],
  )
})

test('the application sees the request of the client, and its connection', async () => {
  let seen: unknown[] = []
  const serve: http.RequestListener = (req, res) => {
    const socket = req.socket as typeof req.socket & { encrypted?: boolean }
    seen = [req.method, req.url, req.rawHeaders, socket.remoteAddress, socket.encrypted === true, socket.localPort]
    res.end()
  }
  await using front = await run(serve, {}, { tls: { key, cert: certificate } })
  await using client = http2Client(front.port, { rejectUnauthorized: false }, 'https')
  const cookie = ['a=1', 'b=2']
  await client.ask({ ...A, ':method': 'DELETE', ':path': '/x%20y', 'x-name': 'value', cookie, te: 'trailers' })
  assert.deepEqual(seen, [
    'DELETE',
    '/x%20y',
    ['host', 'a.test', 'x-name', 'value', 'cookie', 'a=1; b=2', 'te', 'trailers', 'Connection', 'close'],
    '127.0.0.1',
    true,
    front.port,
  ])
})

test('bodies and trailers go both ways', async () => {
  const serve: http.RequestListener = async (req, res) => {
    let bytes = 0
    for await (const chunk of req) bytes += (chunk as Buffer).length
    res.writeHead(201, { 'X-Coding': req.headers['transfer-encoding'] ?? '', Trailer: 'x-bytes' })
    res.write('a')
    res.addTrailers({ 'X-Bytes': String(bytes), 'X-Sent': req.trailers['x-sum'] ?? '' })
    res.end('b')
  }
  await using front = await run(serve)
  await using client = http2Client(front.port)
  const stream = client.session.request({ ...A, ':method': 'POST' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42', 'content-length': '9' }))
  const head = once(stream, 'response')
  const trailers = once(stream, 'trailers')
  void pipeline(Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(50_000))), stream)
  assert.equal((await head)[0][':status'], 201)
  assert.equal((await head)[0]['x-coding'], 'chunked')
  assert.equal((await head)[0]['transfer-encoding'], undefined)
  stream.resume()
  assert.equal((await trailers)[0]['x-bytes'], '2000000')
  assert.equal((await trailers)[0]['x-sent'], '42')
})

test('a body of known length keeps it; without a body POST has length 0, and GET nothing', async () => {
  const seen: (string | undefined)[][] = []
  const serve: http.RequestListener = async (req, res) => {
    for await (const _ of req);
    seen.push([req.headers['content-length'], req.headers['transfer-encoding']])
    res.end()
  }
  await using front = await run(serve)
  await using client = http2Client(front.port)
  await client.ask({ ...A, ':method': 'POST', 'content-length': '5' }, 'hello')
  await client.ask({ ...A, ':method': 'POST' })
  await client.ask(A)
  assert.deepEqual(seen, [
    ['5', undefined],
    ['0', undefined],
    [undefined, undefined],
  ])
})

test('an empty DATA frame is no end of the body, and what looks like a request in a body stays a body', async () => {
  const seen: string[] = []
  const serve: http.RequestListener = async (req, res) => {
    let body = ''
    for await (const chunk of req) body += String(chunk)
    seen.push(`${req.method} ${req.url} ${body}`)
    res.end()
  }
  await using front = await run(serve)
  await using client = rawClient(front.port)
  const smuggled = 'GET /admin HTTP/1.1\r\nHost: a\r\n\r\n'
  client.send(headers(1, POST, FLAG.END_HEADERS), data(1, ''), data(1, '0\r\n\r\n'), data(1, ''), data(1, smuggled))
  client.send(data(1, '', FLAG.END_STREAM))
  await client.until(is(FRAME.HEADERS, 1))
  const fixed = [...POST, ['content-length', '2'], ['content-length', '2']] as const
  client.send(headers(3, fixed, FLAG.END_HEADERS), data(3, 'ab', FLAG.END_STREAM))
  await client.until(is(FRAME.HEADERS, 3))
  assert.deepEqual(seen, [`POST / 0\r\n\r\n${smuggled}`, 'POST / ab'])
})

test('a piece without bytes never becomes a chunk: it would be the last one', () => {
  const stream = { consume() {}, reset() {} } as unknown as Http2Stream
  const head = { method: 'POST', target: '/', protocol: '', headers: ['host', 'a'], expectedBytes: -1, fault: null }
  const bridge = new Bridge(stream, head, false, new net.Socket(), manualClock())
  for (const piece of ['', 'ab', '']) bridge.onData(Buffer.from(piece))
  let text = ''
  for (let piece = bridge.read(); piece !== null; piece = bridge.read()) text += String(piece)
  assert.match(text, /\r\n\r\n2\r\nab\r\n$/)
  bridge.destroy()
})

test('a time limit on the connection of a request counts from its last byte', () => {
  const clock = manualClock()
  const stream = { consume() {}, reset() {} } as unknown as Http2Stream
  const head = { method: 'POST', target: '/', protocol: '', headers: ['host', 'a'], expectedBytes: -1, fault: null }
  const bridge = new Bridge(stream, head, false, new net.Socket(), clock)
  let ends = 0
  bridge.setTimeout(1_000, () => ends++)
  clock.advance(600)
  bridge.onData(Buffer.from('ab'))
  clock.advance(600)
  assert.equal(ends, 0)
  clock.advance(600)
  assert.equal(ends, 1)
  bridge.destroy()
})

test('the application may have long heads', async () => {
  const value = 'x'.repeat(40_000)
  await using front = await run((_req, res) => res.writeHead(200, { 'x-long': value }).end())
  await using client = http2Client(front.port)
  assert.equal((await client.ask(A)).headers['x-long'], value)
})

test('a WebSocket whose client has already ended is told so', async () => {
  const application = http.createServer()
  const ended = new Promise((resolve) =>
    application.on('upgrade', (_req, socket) => socket.on('end', resolve).resume()),
  )
  await using front = await run(() => {}, { application })
  await using client = rawClient(front.port)
  const connect = [[':method', 'CONNECT'], [':protocol', 'websocket'], ...GET.slice(1)] as const
  client.send(headers(1, [...connect, ['sec-websocket-version', '13']]))
  await ended
})

for (const [what, fields] of [
  ['a space in the path', [...GET.slice(0, 3), [':path', '/a HTTP/1.1']]],
  ['a path without a slash', [...GET.slice(0, 3), [':path', 'a']]],
  ['no authority', [...GET.slice(0, 2), ...GET.slice(3)]],
  ['an authority that is none', [...GET.slice(0, 2), [':authority', 'a b'], [':path', '/']]],
  ['differing lengths', [...POST, ['content-length', '0'], ['content-length', '00']]],
] as const) {
  test(`${what} is refused before the application sees it`, async () => {
    let requests = 0
    await using front = await run((_req, res) => {
      requests++
      res.end()
    })
    await using client = rawClient(front.port)
    client.send(headers(1, fields as typeof GET))
    const frame = await client.until(is(FRAME.HEADERS, 1))
    assert.equal(client.fields(frame)[1], '400')
    assert.equal(requests, 0)
  })
}

test('interim responses, Expect, HEAD, 204 and 304', async () => {
  const application = http.createServer()
  application.on('checkContinue', (req, res) => {
    res.writeContinue()
    req.resume().on('end', () => res.end('continued'))
  })
  application.on('request', (req, res) => {
    if (req.url === '/hints') res.writeEarlyHints({ link: '</a.css>; rel=preload' })
    res.writeHead(req.url === '/204' ? 204 : req.url === '/304' ? 304 : 200, {
      ...(req.url === '/head' && { 'Content-Length': 7 }),
    })
    res.end(req.url === '/head' ? 'a body.' : undefined)
  })
  await using front = await run(() => {}, { application })
  await using client = http2Client(front.port)
  assert.deepEqual((await client.ask({ ...A, ':path': '/hints' })).interim, [103])
  const expecting = await client.ask({ ...A, ':method': 'POST', expect: '100-continue' }, 'x')
  assert.deepEqual([expecting.interim, expecting.body], [[100], 'continued'])
  const head = await client.ask({ ...A, ':method': 'HEAD', ':path': '/head' })
  assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '7', ''])
  for (const status of [204, 304]) {
    const { body, code, ...rest } = await client.ask({ ...A, ':path': `/${status}` })
    assert.deepEqual([rest.status, body, code], [status, '', 0])
  }
})

test('a response that the application breaks off is no clean end', async () => {
  await using front = await run((req, res) => {
    if (req.url === '/before') return void req.socket.destroy()
    if (req.url === '/length') res.setHeader('Content-Length', 100)
    res.write('some')
    setImmediate(() => res.destroy())
  })
  await using client = http2Client(front.port)
  for (const path of ['/', '/length', '/before']) {
    const { code } = await client.ask({ ...A, ':path': path })
    assert.equal(code, 2, path)
  }
})

test('a client that goes away is seen by the application', async () => {
  let whenClosed!: () => void
  const closed = new Promise<void>((resolve) => {
    whenClosed = resolve
  })
  await using front = await run((_req, res) => {
    res.on('close', whenClosed)
    res.write('x')
  })
  await using client = http2Client(front.port)
  const stream = client.session.request(A)
  stream.on('error', () => {})
  await once(stream, 'data')
  stream.close(8)
  await closed
})

test('a slow reader stops the application, and a slow application the client', async () => {
  let written = 0
  const serve: http.RequestListener = (req, res) => {
    if (req.method === 'POST') return void res.writeHead(200).flushHeaders()
    const write = (): void => {
      while (written < 64 << 20) {
        written += 1 << 16
        if (!res.write(Buffer.alloc(1 << 16))) return void res.once('drain', write)
      }
      res.end()
    }
    write()
  }
  await using front = await run(serve)
  await using client = http2Client(front.port)
  const slow = client.session.request(A)
  slow.on('error', () => {})
  await once(slow, 'response')
  slow.pause()
  const upload = client.session.request({ ...A, ':method': 'POST' })
  upload.on('error', () => {})
  for (let i = 0; i < 64; i++) upload.write(Buffer.alloc(1 << 20))
  await once(upload, 'response')
  assert.ok(written < 8 << 20, `${written} bytes were taken from the application`)
  assert.ok(upload.writableLength > 16 << 20, 'more was taken from the client than the application has read')
  let bytes = 0
  slow.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  slow.resume()
  await once(slow, 'end')
  assert.equal(bytes, 64 << 20)
  upload.destroy()
})

test('res.setTimeout() of the application works', async () => {
  await using front = await run((_req, res) => {
    res.setTimeout(20, () => res.writeHead(503).end('late'))
  })
  await using client = http2Client(front.port)
  const { status, body } = await client.ask(A)
  assert.deepEqual([status, body], [503, 'late'])
})

test('a connection that the application wants to keep is one stream all the same', async () => {
  await using front = await run((_req, res) => res.setHeader('Connection', 'keep-alive').end('kept'))
  await using client = http2Client(front.port)
  for (let i = 0; i < 3; i++) assert.equal((await client.ask(A)).body, 'kept')
})

test('a request body that does not come in time is a 408', async () => {
  const limits = { requestTimeoutMs: 100 }
  await using front = await run((req) => void req.resume(), { limits })
  await using client = rawClient(front.port)
  client.send(headers(1, POST, FLAG.END_HEADERS), data(1, 'a'))
  const frame = await client.until(is(FRAME.HEADERS, 1))
  assert.equal(client.fields(frame)[1], '408')
})

test('close() waits for the application, and the connection ends after it', async () => {
  let respond!: () => void
  let whenCalled!: () => void
  const called = new Promise<void>((resolve) => {
    whenCalled = resolve
  })
  await using front = await run((_req, res) => {
    respond = () => res.end('in time')
    whenCalled()
  })
  await using client = http2Client(front.port)
  const goaway = once(client.session, 'goaway')
  const answer = client.ask(A)
  await called
  const closed = front.proxy.close()
  await goaway
  respond()
  assert.equal((await answer).body, 'in time')
  await closed
})
