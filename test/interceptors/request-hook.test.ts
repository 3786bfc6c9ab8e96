import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import vm from 'node:vm'
import { gzipSync } from 'node:zlib'
import { Response as UndiciResponse } from 'undici'
import { WebSocket } from 'ws'
import { type RequestHook, type ResponseLike, requestHook, wrapSink } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { MIB, randomBytes } from '../support/bytes.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, inHttp2, listening, queue, rounds, runInServer, runProxy } from '../support/running-proxy.ts'

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a hook changes method, path and headers of the request`, async () => {
    await using backend = await mockBackend()
    const hook: RequestHook = (request) => {
      assert.deepEqual([request.method, request.path, request.group], ['GET', '/a?b', 'default'])
      assert.equal(request.headers.get('x-client'), '1')
      request.method = 'PUT'
      request.path = '/other'
      request.headers.set('X-User', 'alice')
      request.headers.delete('X-Client')
    }
    await using front = await run(through(backend, [requestHook(hook)]))
    const response = await fetch(`${front.url}/a?b`, { headers: { 'X-Client': '1' } })
    assert.equal(await response.text(), 'PUT /other')
    const { headers } = await backend.nextRequest()
    assert.ok(headers.includes('X-User'))
    assert.ok(!headers.some((text) => /^x-client$/i.test(text)))
  })

  test(`${name}: a request that is sent again is hooked again, as it was at first`, async () => {
    await using backend = await mockBackend([{ status: 503 }, { status: 200 }])
    const again = interceptor((next, exchange, request, body, sink) => {
      const first = new AbortController()
      const onHead = (): void => {
        first.abort()
        next(exchange, request, body, sink)
      }
      next(exchange, { ...request, signal: first.signal }, body, wrapSink(sink, { onHead }))
    }, 'again')
    const hook: RequestHook = (request) => request.headers.append('X-Hooked', String(request.headers.has('X-Hooked')))
    await using front = await run(through(backend, [again, requestHook(hook)]))
    assert.equal((await fetch(front.url)).status, 200)
    for (let i = 0; i < 2; i++) {
      const { headers } = await backend.nextRequest()
      assert.deepEqual(
        headers.filter((_, at) => headers[at - 1] === 'X-Hooked'),
        ['false'],
      )
    }
  })

  test(`${name}: a Response of an async hook is sent in place of the backend's`, {
    skip: inHttp2(name, 'HTTP/2 has no reason phrase'),
  }, async () => {
    await using backend = await mockBackend()
    const hook: RequestHook = async (request) => {
      await turn()
      if (request.headers.get('authorization') !== undefined) return
      const headers = new Headers({ 'Content-Type': 'text/plain', Location: '/login' })
      headers.append('Set-Cookie', 'a=1; Path=/')
      headers.append('Set-Cookie', 'b=2, 3; Path=/')
      return new Response('who are you?', { status: 302, statusText: 'Over there', headers })
    }
    await using front = await run(through(backend, [requestHook(hook)]))
    const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1\.1 302 Over there\r\n/)
    assert.match(text, /\r\nlocation: \/login\r\n/)
    assert.deepEqual(text.match(/set-cookie: .*/g), ['set-cookie: a=1; Path=/', 'set-cookie: b=2, 3; Path=/'])
    assert.match(text, /\r\n\r\nc\r\nwho are you\?\r\n0\r\n\r\n$/)
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.status, record.attempts, record.responseBytes], ['local', 302, 0, 12])
    const passed = await fetch(front.url, { headers: { authorization: 'x' } })
    assert.equal(await passed.text(), 'GET /')
    assert.equal(backend.requests.length, 1)
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: a Response without a body, with a length, or to HEAD`, async () => {
    await using backend = await mockBackend()
    let response: () => Response = () => new Response(null, { status: 401 })
    await using front = await run(through(backend, [requestHook(() => response())]))
    const ask = async (method = 'GET') =>
      (await converse(front.port, `${method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).text
    assert.match(await ask(), /^HTTP\/1\.1 401 Unauthorized\r\n(?:.+\r\n)*content-length: 0\r\n(?:.+\r\n)*\r\n$/i)
    response = () => new Response(null, { status: 204 })
    assert.doesNotMatch(await ask(), /content-length|transfer-encoding/i)
    response = () => new Response('12345', { headers: { 'Content-Length': '5' } })
    assert.match(await ask(), /content-length: 5\r\n(?:.+\r\n)*\r\n12345$/i)
    assert.match(await ask('HEAD'), /content-length: 5\r\n(?:.+\r\n)*\r\n$/i)
    let isCancelled = false
    const endless = new ReadableStream({
      pull: (stream) => stream.enqueue(new Uint8Array(1)),
      cancel() {
        isCancelled = true
      },
    })
    response = () => new Response(endless)
    assert.match(await ask('HEAD'), /^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*\r\n$/)
    assert.ok(isCancelled)
  })

  test(`${name}: a body is taken from its source at the client's pace`, async () => {
    await using backend = await mockBackend()
    const piece = randomBytes(64 * 1024)
    const total = 64 * MIB
    let sent = 0
    const body = (): ReadableStream<Uint8Array> =>
      new ReadableStream({
        pull(stream) {
          if (sent === total) return stream.close()
          sent += piece.length
          stream.enqueue(Uint8Array.from(piece))
        },
      })
    await using front = await run(through(backend, [requestHook(() => new Response(body()))]))
    const client = rawClient(front.port)
    client.socket.removeAllListeners('data').pause()
    client.write('GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    for (let last = -1, same = 0; same < 20; last = sent) {
      await rounds(50)
      same = sent === last && sent > 0 ? same + 1 : 0
    }
    assert.ok(sent < 24 * MIB, `${sent} bytes were taken`)
    let received = 0
    client.socket.on('data', (chunk) => {
      received += chunk.length
    })
    client.socket.resume()
    await client.ended
    assert.ok(received > total, `${received} bytes`)
    assert.equal((await front.nextRecord()).responseBytes, total)
  })

  test(`${name}: a body that fails in the middle ends truncated`, async () => {
    await using backend = await mockBackend()
    const failing = (): ReadableStream<Uint8Array> => {
      let pulls = 0
      return new ReadableStream({
        pull(stream) {
          if (pulls++ > 0) throw new Error('the disk is gone')
          stream.enqueue(Buffer.from('first'))
        },
      })
    }
    const bodies: ResponseLike[] = [
      new Response(failing()),
      new Response(failing(), { headers: { 'Content-Length': '100' } }),
      // Shorter and longer than they say, and not bytes.
      new Response('short', { headers: { 'Content-Length': '100' } }),
      new Response('longer', { headers: { 'Content-Length': '3' } }),
      { status: 200, headers: [], body: Readable.from(['first', 7]) },
    ]
    await using front = await run(through(backend, [requestHook(() => bodies[0])]))
    while (bodies.length > 0) {
      const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      const [head = '', body = ''] = text.split('\r\n\r\n')
      if (/chunked/i.test(head)) assert.ok(!body.endsWith('0\r\n'), text)
      else assert.ok(body.length < Number(/content-length: (\d+)/i.exec(head)?.[1]) || body === '', text)
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_HOOK'])
      bodies.shift()
    }
  })

  test(`${name}: a body is cancelled if the client leaves`, async () => {
    await using backend = await mockBackend()
    const cancelled = gate()
    const destroyed = gate()
    const bodies = [
      new ReadableStream({ start: (stream) => stream.enqueue(Buffer.from('first')), cancel: () => cancelled.open() }),
      new Readable({
        read() {
          if (this.readableLength === 0 && !this.readableDidRead) this.push('first')
        },
        destroy(_error, done) {
          destroyed.open()
          done(null)
        },
      }),
    ]
    await using front = await run(
      through(backend, [requestHook(() => ({ status: 200, headers: [], body: bodies[0] ?? null }))]),
    )
    for (const left of [cancelled, destroyed]) {
      const client = rawClient(front.port)
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      await client.until('first')
      client.socket.resetAndDestroy()
      await left.promise
      assert.equal((await front.nextRecord()).outcome, 'aborted')
      bodies.shift()
    }
  })

  test(`${name}: a hook that throws, rejects or returns something else ends with 500`, async () => {
    await using backend = await mockBackend()
    const used = new Response('used')
    await used.text()
    const locked = new Response('locked')
    locked.body?.getReader()
    const hooks: RequestHook[] = [
      () => {
        throw new Error('no session')
      },
      async () => {
        throw new Error('no session')
      },
      // A hook that means "no" must not let the request pass.
      () => false as never,
      async () => null as never,
      () => ({ status: 403 }) as never,
      () => used,
      () => locked,
      () => ({ status: 200, headers: [], body: Readable.from([]), bodyUsed: true }),
      () => Response.error(),
      () => new Response(null, { headers: { 'Content-Length': '5' } }),
      (request) => {
        request.path = 'no path'
      },
      (request) => {
        request.method = 'NO METHOD'
      },
      (request) => request.headers.set('Content-Length', '5'),
    ]
    await using front = await run(through(backend, [requestHook((...args) => hooks[0]?.(...args))]))
    while (hooks.length > 0) {
      const response = await fetch(front.url)
      assert.equal(response.status, 500, String(hooks[0]))
      assert.match(await response.text(), /ERR_PROXY_HOOK/)
      assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
      hooks.shift()
    }
    assert.equal(backend.requests.length, 0)
  })

  test(`${name}: a Response refuses a WebSocket handshake, and nothing lets it pass`, {
    skip: inHttp2(name, 'there is no upgrade in HTTP/2'),
  }, async () => {
    await using backend = await echoBackend()
    const hook: RequestHook = async (request, exchange) => {
      assert.equal(exchange.upgrade, 'websocket')
      if (request.path === '/no') return new Response('not here', { status: 403, headers: { 'X-Why': 'because' } })
      request.path = '/changed'
      return undefined
    }
    await using front = await run(through(backend, [requestHook(hook)]))
    const refused = new WebSocket(`${front.url.replace('http', 'ws')}/no`)
    const [, response] = (await once(refused, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.deepEqual([response.statusCode, response.headers['x-why']], [403, 'because'])
    assert.equal(await new Response(Readable.toWeb(response) as ReadableStream).text(), 'not here')
    const socket = new WebSocket(`${front.url.replace('http', 'ws')}/yes`)
    await once(socket, 'open')
    socket.send('hello')
    assert.equal(String((await once(socket, 'message'))[0]), '/changed: hello')
    socket.terminate()
  })
}

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a hook chooses the group`, async () => {
    await using blue = await mockBackend({ body: 'blue' })
    await using green = await mockBackend({ body: 'green' })
    const hook = requestHook(async (request) => {
      const chosen = request.headers.get('x-group')
      if (chosen !== undefined) request.group = chosen
    })
    // A hook inside of it sees, and may change, what it has chosen.
    const inner: string[] = []
    const looks = requestHook((request) => void inner.push(request.group))
    await using front = await run({
      groups: { blue: { target: blue.url }, green: { target: green.url } },
      routes: [{ group: 'blue', interceptors: [hook, looks] }],
    })
    for (const [headers, text] of [
      [{}, 'blue'],
      [{ 'x-group': 'green' }, 'green'],
      [{ 'x-group': 'blue' }, 'blue'],
    ] as [Record<string, string>, string][]) {
      assert.equal(await (await fetch(front.url, { headers })).text(), text)
      assert.equal((await front.nextRecord()).group, text)
    }
    assert.deepEqual(inner, ['blue', 'green', 'blue'])
    const unknown = await fetch(front.url, { headers: { 'x-group': 'red' } })
    assert.equal(unknown.status, 500)
    assert.match(front.errors[0]?.message ?? '', /there is no group "red"; the groups are "blue", "green"/)
  })
}

test('a hook sees what the application has put on its request', async () => {
  await using backend = await mockBackend()
  const hook: RequestHook = (request, exchange) => {
    const { req } = exchange.context as { req: IncomingMessage & { session?: { user: string } } }
    if (req.session === undefined) return new Response('log in\n', { status: 401 })
    request.headers.set('X-User', req.session.user)
    return undefined
  }
  await using front = await runInServer(through(backend, [requestHook(hook)]), (proxy) => {
    const handle = proxy.middleware()
    return http.createServer((req, res) => {
      if (req.headers.cookie === 'sid=1') Object.assign(req, { session: { user: 'alice' } })
      handle(req, res, () => res.end('next'))
    })
  })
  assert.equal((await fetch(front.url)).status, 401)
  assert.equal(await (await fetch(front.url, { headers: { cookie: 'sid=1' } })).text(), 'GET /')
  assert.equal((await backend.nextRequest()).header('x-user'), 'alice')
})

test('a Response of another library or realm is one', async () => {
  await using backend = await mockBackend()
  const foreign = vm.runInNewContext(
    '({ status: 201, headers: [["x-realm", "other"]], body: { async *[Symbol.asyncIterator]() { yield new Uint8Array([104, 105]) } } })',
  ) as ResponseLike
  // As node-fetch has them: no getSetCookie(), several cookies joined in iteration, a stream of node's as the body.
  const headers = Object.assign(
    [
      ['set-cookie', 'a=1, b=2'],
      ['x-lib', 'node-fetch'],
    ] as [string, string][],
    { raw: () => ({ 'set-cookie': ['a=1', 'b=2'] }) },
  )
  const responses: ResponseLike[] = [
    new UndiciResponse('hi', { status: 201 }),
    foreign,
    { status: 201, statusText: 'Created', headers, body: Readable.from([Buffer.from('hi')]), bodyUsed: false, url: '' },
  ]
  await using front = await runProxy(through(backend, [requestHook(() => responses[0])]))
  for (const more of [{}, { 'x-realm': 'other' }, { 'x-lib': 'node-fetch' }]) {
    const response = await fetch(front.url)
    assert.equal(response.status, 201)
    assert.equal(await response.text(), 'hi')
    for (const [name, value] of Object.entries(more)) assert.equal(response.headers.get(name), value)
    if ('x-lib' in more) assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
    responses.shift()
  }
})

test('the Response of a fetch() is sent as fetch() has decoded it', async () => {
  const zipped = gzipSync('hello '.repeat(100))
  const other = http.createServer((req, res) => {
    res.setHeader('ETag', '"1"')
    if (req.url === '/zipped') res.setHeader('Content-Encoding', 'gzip')
    res.end(req.url === '/zipped' ? zipped : 'plain')
  })
  const port = await listening(other)
  await using backend = await mockBackend()
  const hook: RequestHook = ({ path }) => fetch(`http://127.0.0.1:${port}${path}`)
  await using front = await runProxy(through(backend, [requestHook(hook)]))
  const decoded = await fetch(`${front.url}/zipped`, { headers: { 'accept-encoding': 'identity' } })
  assert.equal(decoded.headers.get('content-encoding'), null)
  assert.equal(await decoded.text(), 'hello '.repeat(100))
  const plain = await fetch(`${front.url}/plain`)
  assert.equal(plain.headers.get('content-length'), '5')
  assert.equal(await plain.text(), 'plain')
  // One that was made by hand is sent as it is.
  await using own = await runProxy(
    through(backend, [requestHook(() => new Response(zipped, { headers: { 'Content-Encoding': 'gzip' } }))]),
  )
  assert.equal(await (await fetch(own.url)).text(), 'hello '.repeat(100))
  other.close()
  other.closeAllConnections()
})

test('a stream of events reaches the client event by event, through another interceptor that holds bytes back', async () => {
  await using backend = await mockBackend()
  const events = queue<string>()
  const body = new ReadableStream({ pull: async (stream) => stream.enqueue(Buffer.from(await events.next())) })
  let held: Buffer[] = []
  const holds = interceptor((next, exchange, request, body, sink) => {
    const changes = {
      onData: (chunk: Buffer) => held.push(chunk) > 0,
      onFlush() {
        for (const chunk of held) sink.onData(chunk)
        held = []
      },
    }
    next(exchange, request, body, wrapSink(sink, changes))
  }, 'holds')
  await using front = await runProxy(through(backend, [holds, requestHook(() => new Response(body))]))
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
    events.push(event)
    await client.until(event)
  }
  client.socket.destroy()
})

test('a hook that is not async adds no turn, and a hook runs in the async context of its request', async () => {
  await using backend = await mockBackend()
  const storage = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  let isSynchronous = false
  let inHook = false
  const outer = interceptor((next, exchange, request, body, sink) => {
    inHook = true
    next(exchange, request, body, sink)
    inHook = false
  }, 'outer')
  const inner = interceptor((next, ...args) => {
    isSynchronous = inHook
    next(...args)
  }, 'inner')
  const hook = requestHook(() => {
    seen.push(storage.getStore())
  })
  await using front = await runInServer(through(backend, [outer, hook, inner]), (proxy) =>
    http.createServer((req, res) => storage.run(req.url ?? '', () => proxy.web(req, res))),
  )
  assert.equal(await (await fetch(`${front.url}/a`)).text(), 'GET /a')
  assert.ok(isSynchronous)
  assert.deepEqual(seen, ['/a'])
})

test('a hook that is no function is refused at once', () => {
  assert.throws(() => requestHook(undefined as never), /TypeError: request-hook: the hook is missing; give a function/)
})
