import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { describe, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import {
  createProxy,
  type ListenOptions,
  type ProxyOptions,
  responseHeaders,
  workerThreads,
} from '../../../src/index.ts'
import { deadPort, manualClock, mockBackend } from '../../../src/testing/index.ts'
import * as misbehaviour from '../../../src/testing/misbehaviour.ts'
import { certificate, key } from '../../support/certificates.ts'
import { gate, runBoth, runProxy } from '../../support/running-proxy.ts'
import { http2Client } from './client.ts'

const run = (options: ProxyOptions, listen?: Partial<ListenOptions>) =>
  runBoth({ drainTimeoutMs: 2_000, ...options }, listen)

const CUTS = {
  resetMidBody: misbehaviour.resetMidBody,
  cutMidBody: misbehaviour.cutMidBody,
  badChunk: misbehaviour.badChunk,
  shortBody: misbehaviour.shortBody,
}

describe('HTTP/2 from clients', () => {
  test('requests and responses, with the headers of the proxy; HTTP/1.1 on the same port', async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url, via: 'edge' })
    await using client = http2Client(front.port)
    const { status, body, headers } = await client.ask({ ':path': '/a?b=c', cookie: ['x=1', 'y=2'], te: 'trailers' })
    assert.deepEqual([status, body], [200, 'GET /a?b=c'])
    assert.ok(headers.date !== undefined)
    const request = await backend.nextRequest()
    assert.equal(request.header('host'), `127.0.0.1:${front.port}`)
    assert.equal(request.header('cookie'), 'x=1; y=2')
    assert.equal(request.header('via'), '2 edge')
    assert.equal(request.header('x-forwarded-proto'), 'http')
    const record = await front.nextRecord()
    assert.deepEqual([record.httpVersion, record.status, record.outcome], ['2.0', 200, 'answered'])
    assert.equal(await (await fetch(`${front.url}/one`)).text(), 'GET /one')
  })

  test('each response has the date, also those without any headers', async () => {
    const clock = manualClock()
    await using backend = net.createServer((socket) =>
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')),
    )
    await once(backend.listen(0, '127.0.0.1'), 'listening')
    const { port } = backend.address() as net.AddressInfo
    await using front = await run({ target: `http://127.0.0.1:${port}`, clock })
    await using client = http2Client(front.port)
    const first = await client.ask({ ':path': '/' })
    clock.advance(5_000)
    const second = await client.ask({ ':path': '/' })
    assert.equal(Date.parse(second.headers.date ?? '') - Date.parse(first.headers.date ?? ''), 5_000)
  })

  test('bodies: of a known length, of an unknown one, large ones, and both ways at once', async () => {
    await using backend = await mockBackend(async (request, reply) => {
      reply.send({ headers: ['x-length', request.header('content-length') ?? 'none'], body: await request.body() })
    })
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port, { maxSessionMemory: 100 })
    const large = Buffer.alloc(1 << 20, 'l')
    const answers = await Promise.all([
      client.ask({ ':method': 'POST', ':path': '/', 'content-length': 5 }, 'hello'),
      client.ask({ ':method': 'POST', ':path': '/' }, 'hello'),
      client.ask({ ':method': 'PUT', ':path': '/' }, ''),
      ...Array.from({ length: 8 }, () => client.ask({ ':method': 'POST', ':path': '/' }, large)),
    ])
    assert.deepEqual(
      answers.slice(0, 2).map(({ body, headers }) => [body, headers['x-length']]),
      [
        ['hello', '5'],
        ['hello', 'none'],
      ],
    )
    for (const { body } of answers.slice(3)) assert.ok(body === large.toString())
  })

  test('200 requests at a time on one connection, of which 128 run', async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => client.ask({ ':path': `/${i}` })))
    for (const [i, { body }] of answers.entries()) assert.equal(body, `GET /${i}`)
  })

  test('trailers and interim responses', async () => {
    await using backend = await mockBackend((_request, reply) => {
      reply.informational(103, ['Link', '</a>; rel=preload'])
      reply.head({ headers: ['Transfer-Encoding', 'chunked'] })
      reply.chunk('x')
      reply.end(['X-Sum', '1'])
    })
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const { interim, body, trailers } = await client.ask({ ':path': '/' })
    assert.deepEqual([interim, body, trailers['x-sum']], [[103], 'x', '1'])
  })

  test('Expect: 100-continue', async () => {
    await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const stream = client.session.request(
      { ':method': 'POST', ':path': '/', expect: '100-continue' },
      { endStream: false },
    )
    await once(stream, 'continue')
    stream.end('now')
    let body = ''
    for await (const chunk of stream) body += String(chunk)
    assert.equal(body, 'now')
  })

  test('HEAD, 204 and 304 have no body', async () => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({ status: Number(request.path.slice(1)), body: request.method === 'HEAD' ? '' : '' }),
    )
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    for (const [method, status] of [
      ['HEAD', 200],
      ['GET', 204],
      ['GET', 304],
    ] as const) {
      const answer = await client.ask({ ':method': method, ':path': `/${status}` })
      assert.deepEqual([answer.status, answer.body, answer.code], [status, '', 0])
    }
  })

  for (const [what, handler] of Object.entries(CUTS)) {
    test(`a truncated response never ends cleanly: ${what}`, async () => {
      await using backend = await mockBackend(handler)
      await using front = await run({ target: backend.url, retry: false })
      await using client = http2Client(front.port)
      const { status, code } = await client.ask({ ':path': '/' })
      assert.deepEqual([status, code], [200, http2.constants.NGHTTP2_INTERNAL_ERROR])
      assert.equal((await front.nextRecord()).outcome, 'truncated')
      // The connection goes on.
      backend.use({ body: 'well' })
      assert.equal((await client.ask({ ':path': '/' })).body, 'well')
    })
  }

  test("errors of the proxy's own", async () => {
    await using backend = await mockBackend()
    const groups = { up: { target: backend.url }, down: { target: (await deadPort()).url, retry: false as const } }
    const routes = [
      { path: '/up', group: 'up' },
      { path: '/down', group: 'down' },
    ]
    await using front = await run({
      groups,
      routes,
      limits: { maxBodyBytes: 10, maxHeadBytes: 4096, maxTargetBytes: 100 },
    })
    await using client = http2Client(front.port)
    for (const [headers, status, body] of [
      [{ ':path': '/down' }, 502, /ERR_PROXY_CONNECT/],
      [{ ':path': '/elsewhere' }, 404, /ERR_PROXY_NO_ROUTE/],
      [{ ':path': `/${'l'.repeat(200)}` }, 414, /ERR_PROXY_TARGET_TOO_LONG/],
      [{ ':path': '/up', 'x-large': 'l'.repeat(5_000) }, 431, /ERR_PROXY_HEAD_TOO_LARGE/],
      [{ ':path': '/up', ':method': 'POST', 'content-length': 11 }, 413, /ERR_PROXY_BODY_TOO_LARGE/],
      [{ ':path': '/up HTTP/1.1' }, 400, /ERR_PROXY_BAD_REQUEST/],
      [{ ':path': 'up' }, 400, /ERR_PROXY_BAD_REQUEST/],
      [{ ':path': '/up', ':scheme': 'ftp' }, 400, /ERR_PROXY_BAD_REQUEST/],
      [{ ':path': '/up', ':authority': 'a@b' }, 400, /ERR_PROXY_BAD_REQUEST/],
      [{ ':path': '/up', ':authority': 'a', host: 'b' }, 400, /ERR_PROXY_BAD_REQUEST/],
      [{ ':path': '/up', ':method': 'TRACE' }, 405, /405/],
    ] as const) {
      const answer = await client.ask(
        headers,
        ':method' in headers && headers[':method'] === 'POST' ? 'x'.repeat(11) : undefined,
      )
      assert.equal(answer.status, status, JSON.stringify(headers))
      assert.match(answer.body, body)
    }
    assert.equal(backend.connections, 0)
  })

  test('a client that resets a stream ends the exchange, and the request at the backend', async () => {
    await using backend = await mockBackend(misbehaviour.neverAnswer)
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const stream = client.session.request({ ':path': '/' })
    await backend.nextRequestHead()
    stream.close(http2.constants.NGHTTP2_CANCEL)
    await backend.untilOpenConnections(0)
    assert.deepEqual((({ outcome, status }) => [outcome, status])(await front.nextRecord()), ['aborted', 499])
  })

  test('a client whose connection is lost', async () => {
    await using backend = await mockBackend(misbehaviour.neverAnswer)
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    for (let i = 0; i < 3; i++) client.session.request({ ':path': '/' }).on('error', () => {})
    for (let i = 0; i < 3; i++) await backend.nextRequestHead()
    client.session.destroy()
    for (let i = 0; i < 3; i++) assert.equal((await front.nextRecord()).outcome, 'aborted')
    await backend.untilOpenConnections(0)
  })

  test('a response that comes before the request is complete', async () => {
    await using backend = await mockBackend(misbehaviour.answerWithoutReading)
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const stream = client.session.request({ ':method': 'POST', ':path': '/' }, { endStream: false })
    stream.write('a part')
    const [head] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & { ':status': number }]
    stream.resume()
    await once(stream, 'close')
    assert.ok(head[':status'] >= 200)
    assert.equal(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR)
  })

  test('a slow reader holds up its own stream alone, and the backend', async () => {
    const body = Buffer.alloc(20 << 20, 'b')
    await using backend = await mockBackend((request, reply) =>
      reply.send({ body: request.path === '/large' ? body : 'small' }),
    )
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const slow = client.session.request({ ':path': '/large' })
    await once(slow, 'response')
    for (let i = 0; i < 20; i++) assert.equal((await client.ask({ ':path': '/small' })).body, 'small')
    let bytes = 0
    for await (const chunk of slow) bytes += (chunk as Buffer).length
    assert.equal(bytes, body.length)
  })

  test('a graceful end: running requests finish, and the client is told', async () => {
    const held = gate()
    await using backend = await mockBackend(misbehaviour.answerAfter(held.promise, { body: 'done' }))
    const front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const asked = client.ask({ ':path': '/' })
    await backend.nextRequestHead()
    const goAway = once(client.session, 'goaway')
    const closed = front.proxy.close()
    await goAway
    held.open()
    assert.equal((await asked).body, 'done')
    await closed
  })

  test('a body that does not come in time', async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url, limits: { requestTimeoutMs: 200 } })
    await using client = http2Client(front.port)
    const stream = client.session.request({ ':method': 'POST', ':path': '/' }, { endStream: false })
    const [head] = await once(stream, 'response')
    assert.equal(head[':status'], 408)
    stream.resume()
    await once(stream, 'close')
    assert.equal((await client.ask({ ':path': '/' })).status, 200)
  })

  test('a malformed request is reset, and the connection goes on', async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url })
    await using client = http2Client(front.port)
    const { code } = await client.ask({ ':path': '/', 'content-length': 'many' })
    assert.notEqual(code, 0)
    assert.equal((await client.ask({ ':path': '/' })).status, 200)
  })

  test('transforms see the same as with HTTP/1.1', async () => {
    await using backend = await mockBackend({ headers: ['X-Up', '1'] })
    await using front = await run({
      target: backend.url,
      routes: [{ transforms: [responseHeaders({ set: { 'X-Mine': '2' } })] }],
    })
    await using client = http2Client(front.port)
    const { headers } = await client.ask({ ':path': '/' })
    assert.deepEqual([headers['x-up'], headers['x-mine']], ['1', '2'])
  })
})

describe('HTTP/2 over TLS', () => {
  const tls = { key, cert: certificate }

  test('it is offered by ALPN, and HTTP/1.1 beside it', async () => {
    await using backend = await mockBackend()
    const proxy = createProxy({ target: backend.url })
    const { port } = await proxy.listen({ host: '127.0.0.1', port: 0, tls })
    for (const [offered, chosen] of [
      [['h2', 'http/1.1'], 'h2'],
      [['http/1.1'], 'http/1.1'],
      [['http/1.1', 'h2'], 'h2'],
    ] as const) {
      const socket = connectTls({ port, host: '127.0.0.1', ca: certificate, ALPNProtocols: [...offered] })
      await once(socket, 'secureConnect')
      assert.equal(socket.alpnProtocol, chosen)
      socket.destroy()
    }
    await using client = http2Client(port, { ca: certificate }, 'https')
    const large = Buffer.alloc(1 << 20, 'x')
    assert.equal((await client.ask({ ':path': '/a', ':method': 'POST' }, large)).body, 'POST /a')
    assert.equal((await backend.nextRequest()).header('x-forwarded-proto'), 'https')
    await proxy.close()
  })

  test('by default before an application, too', async () => {
    await using backend = await mockBackend()
    const application = http.createServer((req, res) => res.end(`application ${req.httpVersion}`))
    const routes = [{ path: '/api' }]
    await using front = await run({ target: backend.url, routes }, { tls, protocols: undefined, fallback: application })
    await using client = http2Client(front.port, { ca: certificate }, 'https')
    assert.equal((await client.ask({ ':path': '/' })).body, 'application 1.1')
    assert.equal((await client.ask({ ':path': '/api' })).body, 'GET /api')
  })

  test('with threads', async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url, executor: workerThreads({ threads: 2 }) }, { tls })
    for (let i = 0; i < 4; i++) {
      await using client = http2Client(front.port, { ca: certificate }, 'https')
      const answers = await Promise.all(Array.from({ length: 20 }, () => client.ask({ ':path': '/' })))
      assert.ok(answers.every(({ status }) => status === 200))
    }
  })
})

test('a listener without HTTP/2 says how to take it', async () => {
  await using front = await runProxy({ target: 'http://127.0.0.1:1' })
  const socket = net.connect(Number(new URL(front.url).port), '127.0.0.1')
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  socket.resume()
  await once(socket, 'close')
  assert.match(
    front.errors[0]?.message ?? '',
    /it began with HTTP\/2, which is not spoken here; listen\(\) takes it with 'h2' among its protocols$/,
  )
})
