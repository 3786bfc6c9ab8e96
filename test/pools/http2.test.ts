import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { CODE, FLAG, FRAME, SETTING } from '../../src/http2/protocol.ts'
import { Backend, type BackendInit, type ProxyError, standardPool } from '../../src/index.ts'
import { exchangeView, manualClock } from '../../src/testing/index.ts'
import { data, frame, uint32 } from '../http2/wire.ts'
import { certificate, key } from '../support/certificates.ts'
import { type RunningProxy, runProxy } from '../support/running-proxy.ts'
import { greet, head, poolStats, rawBackend, runRaw } from './raw-backend.ts'

type Handler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void

/** A backend by node:http2. @param alpn protocols to offer over TLS; `null` for clear text. */
async function nodeBackend(
  onStream: Handler,
  alpn: 'h2' | 'both' | null = null,
  settings: http2.Settings = {},
): Promise<{ url: string; server: http2.Http2Server; sessions: http2.ServerHttp2Session[] } & AsyncDisposable> {
  const server =
    alpn === null
      ? http2.createServer({ settings })
      : http2.createSecureServer({ cert: certificate, key, allowHTTP1: alpn === 'both', settings })
  const sessions: http2.ServerHttp2Session[] = []
  server.on('session', (session) => void sessions.push(session))
  server.on('sessionError', () => {})
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream, headers)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `${alpn === null ? 'http' : 'https'}://localhost:${port}`,
    server,
    sessions,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy()
      server.close()
    },
  }
}

function h2(url: string, more: Partial<BackendInit> = {}): { backends: BackendInit[] } {
  return { backends: [{ url, protocol: 'h2', ...more }] }
}

function message(front: RunningProxy): string {
  return front.errors.map((error) => error.message).join()
}

function rst(id: number, code: number): Buffer {
  return frame(FRAME.RST_STREAM, 0, id, uint32(code))
}

function goAway(lastId: number, code: number = CODE.NO_ERROR): Buffer {
  return frame(FRAME.GOAWAY, 0, 0, [...uint32(lastId), ...uint32(code)])
}

describe('with a backend of node:http2', () => {
  test('heads, bodies and trailers go both ways; the fields of HTTP/1.1 connections do not', async () => {
    let seen: http2.IncomingHttpHeaders = {}
    let trailers: http2.IncomingHttpHeaders = {}
    await using backend = await nodeBackend((stream, headers) => {
      seen = headers
      stream.on('trailers', (some) => {
        trailers = some
      })
      stream.additionalHeaders({ ':status': 103, link: '</a.css>' })
      stream.respond({ ':status': 201, 'x-a': '1', 'set-cookie': ['a=1', 'b=2'] }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '7' }))
      stream.pipe(stream)
    })
    await using front = await runProxy(h2(backend.url))
    const request = http.request(front.url, {
      method: 'POST',
      path: '/p?q=1',
      headers: {
        Host: 'a.test',
        Connection: 'close, X-Mine',
        'X-Mine': '1',
        TE: 'trailers',
        Trailer: 'X-Check',
        'X-Upper': 'Ab',
      },
    })
    const interim: number[] = []
    request.on('information', ({ statusCode }) => interim.push(statusCode))
    request.write('hello ')
    request.addTrailers({ 'X-Check': 'ok' })
    request.end('world')
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    let body = ''
    for await (const chunk of response) body += chunk
    assert.deepEqual([response.statusCode, response.headers['x-a'], body], [201, '1', 'hello world'])
    assert.deepEqual(response.headers['set-cookie'], ['a=1', 'b=2'])
    assert.deepEqual({ ...response.trailers }, { 'x-sum': '7' })
    assert.deepEqual(interim, [103])
    assert.deepEqual(
      [seen[':method'], seen[':path'], seen[':authority'], seen[':scheme'], seen['x-upper'], seen.te],
      ['POST', '/p?q=1', 'a.test', 'http', 'Ab', 'trailers'],
    )
    for (const name of ['connection', 'x-mine', 'transfer-encoding', 'host', 'keep-alive'])
      assert.equal(seen[name], undefined, name)
    assert.equal(trailers['x-check'], 'ok')
  })

  test('requests share one connection, which stats() counts', async () => {
    const open: http2.ServerHttp2Stream[] = []
    let isFull = (): void => {}
    const full = new Promise<void>((resolve) => {
      isFull = resolve
    })
    await using backend = await nodeBackend((stream) => {
      if (open.push(stream) === 20) isFull()
    })
    await using front = await runProxy(h2(backend.url))
    const made = Array.from({ length: 20 }, () => fetch(front.url).then((response) => response.text()))
    await full
    const { connections, streams, maxStreams, idle } = poolStats(front.proxy)
    assert.deepEqual(
      { connections, streams, maxStreams, idle },
      { connections: 1, streams: 20, maxStreams: 100, idle: 0 },
    )
    for (const stream of open) stream.respond({ ':status': 200 }) ?? stream.end('x')
    assert.deepEqual(new Set(await Promise.all(made)), new Set(['x']))
    assert.equal(poolStats(front.proxy).streams, 0)
  })

  test('a body of several windows goes up and down whole, beside one that nobody reads', async () => {
    const MB = 1 << 20
    await using backend = await nodeBackend((stream, headers) => {
      if (headers[':path'] === '/stalled') {
        stream.respond({ ':status': 200 })
        Readable.from(Array.from({ length: 20 }, () => Buffer.alloc(MB))).pipe(stream)
        return
      }
      stream.respond({ ':status': 200 })
      stream.pipe(stream)
    })
    await using front = await runProxy(h2(backend.url))
    const stalled = http.get(`${front.url}/stalled`)
    const [unread] = (await once(stalled, 'response')) as [http.IncomingMessage]
    unread.pause()
    const body = Buffer.alloc(5 * MB, 'abcdefg')
    const response = await fetch(front.url, { method: 'POST', body })
    const back = Buffer.from(await response.arrayBuffer())
    assert.ok(back.equals(body))
    let bytes = 0
    for await (const chunk of unread) bytes += chunk.length
    assert.equal(bytes, 20 * MB)
  })

  test('a client that goes away cancels its stream, and no other', async () => {
    let cancelled = (_code: number): void => {}
    const code = new Promise<number>((resolve) => {
      cancelled = resolve
    })
    await using backend = await nodeBackend((stream, headers) => {
      stream.respond({ ':status': 200 })
      if (headers[':path'] === '/other') return void stream.end('fine')
      stream.write('first')
      stream.on('close', () => cancelled(stream.rstCode))
    })
    await using front = await runProxy(h2(backend.url))
    const client = net.connect(front.port, '127.0.0.1')
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await once(client, 'data')
    client.resetAndDestroy()
    assert.equal(await code, CODE.CANCEL)
    assert.equal(await (await fetch(`${front.url}/other`)).text(), 'fine')
    assert.equal(backend.sessions.length, 1)
  })

  test('HEAD, 204 and 304 have no body, and their Content-Length is kept', async () => {
    await using backend = await nodeBackend((stream, headers) => {
      const status = Number((headers[':path'] as string).slice(1))
      stream.respond({ ':status': status, ...(status !== 204 && { 'content-length': 5 }) }, { endStream: true })
    })
    await using front = await runProxy(h2(backend.url))
    const got = []
    for (const [method, status] of [
      ['HEAD', 200],
      ['GET', 204],
      ['GET', 304],
    ] as const) {
      const response = await fetch(`${front.url}/${status}`, { method })
      got.push([response.status, response.headers.get('content-length'), await response.text()])
    }
    assert.deepEqual(got, [
      [200, '5', ''],
      [204, null, ''],
      [304, '5', ''],
    ])
  })

  test("a body waits for the backend's 100, or for a second", async () => {
    await using backend = await nodeBackend((stream, headers) => {
      assert.equal(headers.expect, '100-continue')
      if (headers[':path'] === '/no') return void stream.respond({ ':status': 413 }, { endStream: true })
      stream.additionalHeaders({ ':status': 100 })
      stream.respond({ ':status': 200 })
      stream.pipe(stream)
    })
    // node's server answers an Expect by itself unless somebody listens.
    backend.server.on('checkContinue', () => {})
    await using front = await runProxy(h2(backend.url))
    const ask = (path: string): Promise<string[]> =>
      new Promise((resolve, reject) => {
        const seen: string[] = []
        const request = http.request(front.url + path, {
          method: 'POST',
          headers: { Expect: '100-continue', 'Content-Length': 2 },
        })
        request
          .on('continue', () => {
            seen.push('100')
            request.end('ok')
          })
          .on('response', async (response) => {
            let body = ''
            for await (const chunk of response) body += chunk
            resolve([...seen, String(response.statusCode), body])
          })
          .on('error', reject)
        request.flushHeaders()
      })
    assert.deepEqual(await ask('/yes'), ['100', '200', 'ok'])
    assert.deepEqual(await ask('/no'), ['413', ''])
  })

  test('a WebSocket goes by HTTP/1.1', async () => {
    const server = http2.createSecureServer({ cert: certificate, key, allowHTTP1: true }, (_request, response) =>
      response.end('h2'),
    )
    new WebSocketServer({ server: server as unknown as https.Server }).on('connection', (ws) =>
      ws.on('message', (message) => ws.send(`echo ${message}`)),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await using front = await runProxy(h2(`https://localhost:${port}`, { tls: { ca: certificate } }))
    assert.equal(await (await fetch(front.url)).text(), 'h2')
    const ws = new WebSocket(front.url.replace('http', 'ws'))
    await once(ws, 'open')
    ws.send('hi')
    const [message] = await once(ws, 'message')
    assert.equal(String(message), 'echo hi')
    const { connections } = poolStats(front.proxy)
    assert.equal(connections, 2)
    ws.terminate()
    await front.proxy.close()
    server.close()
  })
})

describe('the protocol', () => {
  test('auto takes what the backend chooses by ALPN', async () => {
    await using two = await nodeBackend((stream, headers) => {
      stream.respond({ ':status': 200 })
      stream.end(String(headers[':scheme']))
    }, 'h2')
    const one = https.createServer({ cert: certificate, key }, (request, response) => response.end(request.httpVersion))
    one.listen(0, '127.0.0.1')
    await once(one, 'listening')
    const tls = { ca: certificate }
    const url = `https://localhost:${(one.address() as AddressInfo).port}`
    await using front = await runProxy({
      groups: {
        two: { backends: [{ url: two.url, protocol: 'auto', tls }] },
        one: { backends: [{ url, protocol: 'auto', tls }] },
      },
      routes: [
        { path: '/two', group: 'two' },
        { path: '/one', group: 'one' },
      ],
    })
    assert.equal(await (await fetch(`${front.url}/two`)).text(), 'https')
    const ones = await Promise.all(Array.from({ length: 5 }, () => fetch(`${front.url}/one`).then((r) => r.text())))
    assert.deepEqual(new Set(ones), new Set(['1.1']))
    assert.equal(await (await fetch(`${front.url}/one`)).text(), '1.1')
    await front.proxy.close()
    one.closeAllConnections()
    one.close()
  })

  test('h2 where the backend does not offer it is a TLS error that says so', async () => {
    const one = https.createServer({ cert: certificate, key, ALPNProtocols: ['http/1.1'] }, (_, response) =>
      response.end(),
    )
    one.listen(0, '127.0.0.1')
    await once(one, 'listening')
    const url = `https://localhost:${(one.address() as AddressInfo).port}`
    await using front = await runProxy(h2(url, { tls: { ca: certificate } }))
    assert.equal((await fetch(front.url)).status, 502)
    const { errorCode } = await front.nextRecord()
    assert.equal(errorCode, 'ERR_PROXY_TLS')
    assert.match(message(front), /takes none of the protocols that were offered \(ALPN\)/)
    one.closeAllConnections()
    one.close()
  })

  test('h2 on a backend of HTTP/1.1 says what it may be', async () => {
    const one = http.createServer((_, response) => response.end())
    one.listen(0, '127.0.0.1')
    await once(one, 'listening')
    await using front = await runProxy(h2(`http://127.0.0.1:${(one.address() as AddressInfo).port}`))
    assert.equal((await fetch(front.url)).status, 502)
    const { errorCode } = await front.nextRecord()
    assert.equal(errorCode, 'ERR_PROXY_CONNECT')
    assert.match(message(front), /is not HTTP\/2; is its protocol 'http\/1.1', or |closed the connection/)
    one.closeAllConnections()
    one.close()
  })

  test('a backend that sends no settings is given up after timeouts.connect', async () => {
    await using backend = await rawBackend(() => {})
    await using front = await runProxy({ ...h2(backend.url), timeouts: { connect: 50 }, retry: false })
    assert.equal((await fetch(front.url)).status, 504)
    await front.nextRecord()
    assert.match(message(front), /sent no HTTP\/2 settings in time/)
  })
})

describe('a response that is not whole', () => {
  for (const [name, last] of [
    ...[0, 1, 2, 7, 8, 11].map((code) => [`RST_STREAM ${code}`, (id: number) => rst(id, code)] as const),
    ['END_STREAM before its Content-Length', (id: number) => data(id, '', FLAG.END_STREAM)],
    ['more than its Content-Length', (id: number) => data(id, 'x'.repeat(100))],
    ['GOAWAY and FIN', null],
    ['an invalid frame', () => frame(FRAME.PING, 0, 0, [1])],
  ] as const) {
    test(`${name}: the client sees that it is cut`, async () => {
      await using raw = await runRaw(async (connection) => {
        greet(connection)
        const { id } = await connection.request()
        connection.send(head(id, 200, [['content-length', '10']]), data(id, 'hello'))
        if (last === null) {
          connection.send(goAway(id))
          connection.socket.end()
        } else connection.send(last(id))
      })
      const response = await fetch(raw.front.url)
      assert.equal(response.status, 200)
      await assert.rejects(response.text())
      const record = await raw.front.nextRecord()
      assert.equal(record.errorCode, 'ERR_PROXY_TRUNCATED')
    })
  }
})

describe('a head that is not valid', () => {
  for (const [name, answer] of [
    ['no :status', (id: number) => frame(FRAME.HEADERS, FLAG.END_HEADERS, id, [])],
    ['a :status of two digits', (id: number) => head(id, 20)],
    ['101', (id: number) => head(id, 101)],
    ['a 1xx with END_STREAM', (id: number) => head(id, 103, [], true)],
    ['transfer-encoding', (id: number) => head(id, 200, [['transfer-encoding', 'chunked']])],
    [
      'differing lengths',
      (id: number) =>
        head(id, 200, [
          ['content-length', '1'],
          ['content-length', '2'],
        ]),
    ],
    ['END_STREAM with a length', (id: number) => head(id, 200, [['content-length', '1']], true)],
    ['an upper-case name', (id: number) => head(id, 200, [['X-A', '1']])],
    ['a line break in a value', (id: number) => head(id, 200, [['x-a', 'a\r\nb: c']])],
    ['RST_STREAM 0', (id: number) => rst(id, 0)],
    ['a pushed stream', (id: number) => frame(FRAME.PUSH_PROMISE, FLAG.END_HEADERS, id, [0, 0, 0, 2])],
  ] as const) {
    test(`${name}: 502`, async () => {
      await using raw = await runRaw(
        async (connection) => {
          greet(connection)
          const { id } = await connection.request()
          connection.send(answer(id))
        },
        { retry: false },
      )
      assert.equal((await fetch(raw.front.url)).status, 502)
      assert.equal((await raw.front.nextRecord()).errorCode, 'ERR_PROXY_BAD_RESPONSE')
    })
  }

  test('one over pool.maxResponseHeadBytes: 502', async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        const { id } = await connection.request()
        connection.send(
          head(
            id,
            200,
            Array.from({ length: 20 }, (_, i) => [`x-${i}`, 'v'.repeat(100)] as [string, string]),
          ),
        )
      },
      { pool: { maxResponseHeadBytes: 1024 }, retry: false },
    )
    assert.equal((await fetch(raw.front.url)).status, 502)
    await raw.front.nextRecord()
    assert.match(message(raw.front), /a head of more than 1024 bytes/)
  })

  test('more interim responses than pool.maxInterimResponses: 502', async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        const { id } = await connection.request()
        connection.send(head(id, 103), head(id, 103), head(id, 103))
      },
      { pool: { maxInterimResponses: 2 }, retry: false },
    )
    assert.equal((await fetch(raw.front.url)).status, 502)
  })
})

describe('what the backend has not processed is repeated, whatever the method', () => {
  const body = 'pay'

  test('REFUSED_STREAM', async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        connection.send(rst((await connection.request()).id, CODE.REFUSED_STREAM))
        const { id } = await connection.request()
        connection.send(head(id, 200, [], true))
      },
      { retry: false },
    )
    assert.equal((await fetch(raw.front.url, { method: 'POST', body })).status, 200)
    const { attempts } = await raw.front.nextRecord()
    assert.equal(attempts, 2)
    const [backend] = raw.front.proxy.stats().groups[0]?.backends ?? []
    assert.equal(backend?.status, 'available')
  })

  test('REFUSED_STREAM twice is an error', async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        for (;;) connection.send(rst((await connection.request()).id, CODE.REFUSED_STREAM))
      },
      { retry: false },
    )
    assert.equal((await fetch(raw.front.url, { method: 'POST', body })).status, 502)
    const { errorCode, attempts } = await raw.front.nextRecord()
    assert.deepEqual([errorCode, attempts], ['ERR_PROXY_REFUSED', 2])
  })

  test('GOAWAY: streams after its last go to a new connection, those before end on the old one', async () => {
    let isFirst = true
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        if (!isFirst) {
          for (;;) {
            const { id } = await connection.request()
            connection.send(head(id, 200, [['x-on', 'new']], true))
          }
        }
        isFirst = false
        const ids = []
        for (let i = 0; i < 5; i++) ids.push((await connection.request()).id)
        connection.send(goAway(ids[0] as number))
        await connection.next(FRAME.DATA)
        connection.send(head(ids[0] as number, 200, [['x-on', 'old']], true))
      },
      { retry: false },
    )
    const made = Array.from({ length: 5 }, () => fetch(raw.front.url, { method: 'POST', body }))
    const answers = await Promise.all(made)
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200, 200, 200],
    )
    const where = answers.map(({ headers }) => headers.get('x-on')).sort()
    assert.deepEqual(where, ['new', 'new', 'new', 'new', 'old'])
  })

  test('HTTP_1_1_REQUIRED, with auto, goes by HTTP/1.1 from then on', async () => {
    const server = http2.createSecureServer({ cert: certificate, key, allowHTTP1: true })
    server.on('stream', (stream) => {
      stream.on('error', () => {})
      stream.close(CODE.HTTP_1_1_REQUIRED)
    })
    server.on('request', (request, response) => {
      if (request.httpVersion === '1.1') response.end('1.1')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `https://localhost:${(server.address() as AddressInfo).port}`
    await using front = await runProxy({
      backends: [{ url, protocol: 'auto', tls: { ca: certificate } }],
      retry: false,
    })
    for (const _ of [1, 2]) assert.equal(await (await fetch(front.url, { method: 'POST', body })).text(), '1.1')
    await front.nextRecord()
    assert.equal((await front.nextRecord()).attempts, 1)
    await front.proxy.close()
    server.close()
  })

  test('a reset that may follow work: a GET is repeated by the policy, a POST is not', async () => {
    for (const [method, status] of [
      ['GET', 200],
      ['POST', 502],
    ] as const) {
      let isFirst = true
      await using raw = await runRaw(async (connection) => {
        greet(connection)
        for (;;) {
          const { id } = await connection.request()
          connection.send(isFirst ? rst(id, CODE.INTERNAL_ERROR) : head(id, 200, [], true))
          isFirst = false
        }
      })
      assert.equal((await fetch(raw.front.url, { method })).status, status)
    }
  })

  test('a POST on a connection that was closed while it was idle is sent on a new one', async () => {
    let count = 0
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        const { id } = await connection.request()
        connection.send(head(id, 200, [['x-n', String(++count)]], true))
        connection.socket.end()
      },
      { retry: false },
    )
    for (const n of ['1', '2', '3']) {
      const response = await fetch(raw.front.url, { method: 'POST', body })
      assert.equal(response.headers.get('x-n'), n)
    }
  })
})

describe('limits', () => {
  test('no more streams than the backend allows: others wait, or get connections of their own', async () => {
    let most = 0
    let open = 0
    await using backend = await nodeBackend(
      (stream) => {
        most = Math.max(most, ++open)
        stream.on('close', () => open--)
        stream.respond({ ':status': 200 })
        setImmediate(() => stream.end('x'))
      },
      null,
      { maxConcurrentStreams: 1 },
    )
    await using one = await runProxy({ ...h2(backend.url), pool: { maxConnections: 1 } })
    const got = await Promise.all(Array.from({ length: 30 }, () => fetch(one.url).then((r) => r.text())))
    assert.deepEqual([got.join(''), backend.sessions.length, most], ['x'.repeat(30), 1, 1])
    await using many = await runProxy({ ...h2(backend.url), pool: { maxConnections: 5 } })
    await Promise.all(Array.from({ length: 30 }, () => fetch(many.url).then((r) => r.text())))
    assert.equal(poolStats(many.proxy).connections, 5)
    assert.equal(poolStats(many.proxy).maxStreams, 5)
  })

  test('requests that come while connections are being set up open no more than pool.maxConnections', async () => {
    const bodies: (() => void)[] = []
    await using backend = await nodeBackend(
      (stream) => {
        stream.respond({ ':status': 200 })
        bodies.push(() => stream.end('x'))
      },
      null,
      { maxConcurrentStreams: 1 },
    )
    await using front = await runProxy({ ...h2(backend.url), pool: { maxConnections: 2 } })
    const get = (): Promise<string> => fetch(front.url).then((response) => response.text())
    const first = get()
    while (bodies.length < 1) await new Promise(setImmediate)
    // The settings of the backend are known now: one stream for each connection. One more is set up, for one of these.
    const others = Array.from({ length: 4 }, get)
    const all = Promise.all([first, ...others])
    let isOver = false
    all.then(() => {
      isOver = true
    })
    let most = 0
    while (!isOver) {
      const { connections, connecting } = poolStats(front.proxy)
      most = Math.max(most, connections + connecting)
      bodies.shift()?.()
      await new Promise(setImmediate)
    }
    assert.equal((await all).join(''), 'xxxxx')
    assert.equal(most, 2)
  })

  test('pool.maxWaiting and timeouts.acquire hold', async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection, [SETTING.MAX_CONCURRENT_STREAMS, 1])
      },
      { pool: { maxConnections: 1, maxWaiting: 1 }, timeouts: { acquire: 50 }, retry: false },
    )
    const abort = new AbortController()
    const first = fetch(raw.front.url, { signal: abort.signal }).catch(() => null)
    while (raw.backend.connections[0] === undefined) await new Promise(setImmediate)
    await raw.backend.connections[0].next(FRAME.HEADERS)
    const statuses = (await Promise.all([fetch(raw.front.url), fetch(raw.front.url)])).map(({ status }) => status)
    assert.deepEqual(statuses.sort(), [503, 504])
    abort.abort()
    await first
  })

  test('a limit that the backend raises later lets those that wait go on', async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection, [SETTING.MAX_CONCURRENT_STREAMS, 0])
        await connection.next(FRAME.SETTINGS)
        greet(connection, [SETTING.MAX_CONCURRENT_STREAMS, 3])
        for (;;) connection.send(head((await connection.request()).id, 200, [], true))
      },
      { pool: { maxConnections: 1 } },
    )
    const statuses = (await Promise.all([fetch(raw.front.url), fetch(raw.front.url)])).map(({ status }) => status)
    assert.deepEqual(statuses, [200, 200])
  })

  test('an unused connection ends after pool.keepAliveMs, by GOAWAY', async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        connection.send(head((await connection.request()).id, 200, [], true))
      },
      { pool: { keepAliveMs: 20 } },
    )
    await fetch(raw.front.url)
    const [connection] = raw.backend.connections
    assert.ok(connection)
    await connection.next(FRAME.GOAWAY)
    connection.socket.end()
    await connection.closed
    assert.equal(poolStats(raw.front.proxy).connections, 0)
  })

  test('a backend that is silent for pool.pingMs is asked, and is lost if it does not answer', async () => {
    const clock = manualClock()
    const pool = standardPool({ pingMs: 1000 }, { clock })
    await using raw = await rawBackend(greet)
    const lease = await pool.acquire(new Backend({ url: raw.url, protocol: 'h2' }), exchangeView())
    let informed = (): void => {}
    const interim = new Promise<void>((resolve) => {
      informed = resolve
    })
    const failed = new Promise<ProxyError>((resolve) => {
      lease.send({ method: 'GET', path: '/', authority: 'a', headers: [], upgrade: null }, null, {
        onInformational: () => informed(),
        onHead() {},
        onData: () => true,
        onFlush() {},
        onEnd() {},
        onUpgrade() {},
        onError: resolve,
      })
    })
    const [connection] = raw.connections
    assert.ok(connection)
    await connection.request()
    clock.advance(2000)
    const { payload } = await connection.next(FRAME.PING)
    connection.send(frame(FRAME.PING, FLAG.ACK, 0, payload), head(1, 103))
    await interim
    clock.advance(2000)
    await connection.next(FRAME.PING)
    clock.advance(6000)
    const { code, message } = await failed
    assert.equal(code, 'ERR_PROXY_RESET')
    assert.match(message, /did not answer a PING within 5000 ms/)
    pool.destroy()
  })
})

test('a request that was answered leaves no RST_STREAM: backends count them as an attack', async () => {
  await using raw = await runRaw(async (connection) => {
    greet(connection)
    for (;;) {
      const { id, isEnd } = await connection.request()
      if (!isEnd) while (((await connection.next(FRAME.DATA)).flags & FLAG.END_STREAM) === 0);
      if (id === 5) connection.send(head(id, 204, [], true))
      else connection.send(head(id, 200), data(id, 'x', FLAG.END_STREAM))
    }
  })
  await (await fetch(raw.front.url)).text()
  await (await fetch(raw.front.url, { method: 'POST', body: 'a body' })).text()
  // What the first two left behind would go out with this one.
  await (await fetch(raw.front.url)).text()
  const types = raw.backend.connections.flatMap(({ frames }) => frames.map(({ type }) => type))
  assert.deepEqual(
    types.filter((type) => type === FRAME.HEADERS),
    [1, 1, 1],
  )
  assert.ok(!types.includes(FRAME.RST_STREAM))
})

test('closing waits for streams, and ends the connection', async () => {
  await using raw = await runRaw(async (connection) => {
    greet(connection)
    const { id } = await connection.request()
    connection.send(head(id, 200))
    await connection.next(FRAME.GOAWAY).then(() => connection.socket.end())
  })
  const response = await fetch(raw.front.url)
  const closing = raw.front.proxy.close()
  const [connection] = raw.backend.connections
  assert.ok(connection)
  connection.send(data(1, 'late', FLAG.END_STREAM))
  assert.equal(await response.text(), 'late')
  await closing
})

test('a session that is lost with many streams tells each of them', async () => {
  await using raw = await runRaw(
    async (connection) => {
      greet(connection)
      for (let i = 0; i < 10; i++) await connection.request()
      connection.socket.resetAndDestroy()
    },
    { retry: false },
  )
  const statuses = await Promise.all(
    Array.from({ length: 10 }, () => fetch(raw.front.url).then(({ status }) => status)),
  )
  assert.deepEqual(new Set(statuses), new Set([502]))
  for (let i = 0; i < 10; i++) assert.equal((await raw.front.nextRecord()).errorCode, 'ERR_PROXY_RESET')
})
