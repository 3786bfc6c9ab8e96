import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import WebSocket from 'ws'
import type { CallOverrides, Interceptor, ProxyError, ProxyOptions, Transform, WebOverrides } from '../../src/index.ts'
import { wrapSink } from '../../src/index.ts'
import { deadPort, manualClock, mockBackend, neverAnswer } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { interceptor } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { type RunningProxy, runInServer } from '../support/running-proxy.ts'
import { upgradeRequest, webSocketBackend } from '../support/upgrade-backends.ts'

type Given<Overrides> = Overrides | ((req: IncomingMessage, other: ServerResponse | Duplex) => Overrides)

/** A server whose every call has these overrides. */
function calling(options: ProxyOptions, given: Given<WebOverrides>): Promise<RunningProxy> {
  const overridesOf = typeof given === 'function' ? given : () => given
  return runInServer(options, (proxy) =>
    http
      .createServer((req, res) => proxy.web(req, res, overridesOf(req, res)))
      .on('upgrade', (req, socket, head) => proxy.ws(req, socket, head, overridesOf(req, socket))),
  )
}

test('a proxy without backends is a router that needs a target in each call', async () => {
  await using one = await mockBackend({ body: 'one' })
  await using two = await mockBackend({ body: 'two' })
  const targets: Record<string, string> = { '/1': one.url, '/2': two.url }
  await using front = await calling({}, ({ url = '' }) => {
    const target = targets[url]
    return target === undefined ? {} : { target }
  })
  assert.equal(await (await fetch(`${front.url}/1`)).text(), 'one')
  assert.equal(await (await fetch(`${front.url}/2`)).text(), 'two')
  const none = await fetch(`${front.url}/3`)
  assert.match(await none.text(), /^503 .*ERR_PROXY_NO_BACKEND/)
  assert.match(front.errors[0]?.message ?? '', /group default has no backends.*setBackends\(\).*target/)
})

test('a target keeps the transforms, interceptors and time limits of the route', async () => {
  await using other = await mockBackend([{ body: 'x' }, neverAnswer])
  const seen: string[] = []
  await using front = await calling(
    {
      backends: [],
      retry: false,
      routes: [
        {
          path: '/api',
          stripPrefix: '/api',
          requestHeaders: { set: { 'X-Route': 'api' } },
          responseHeaders: { set: { 'X-Seen': 'yes' } },
          interceptors: [
            interceptor((next, ...args) => {
              seen.push('route')
              next(...args)
            }),
          ],
          timeouts: { headers: 50 },
        },
        { host: 'nobody.example' },
      ],
    },
    { target: other.url },
  )
  const response = await fetch(`${front.url}/api/users`)
  assert.equal(response.headers.get('x-seen'), 'yes')
  const request = await other.nextRequest()
  assert.deepEqual([request.path, request.header('x-route'), seen.length], ['/users', 'api', 1])
  assert.equal((await fetch(`${front.url}/api/slow`)).status, 504)
})

test('a target needs no route', async () => {
  await using other = await mockBackend()
  await using front = await calling({ backends: [], routes: [{ path: '/api' }] }, { target: other.url })
  assert.equal(await (await fetch(`${front.url}/else`)).text(), 'GET /else')
})

test('a target may be an object, as in `backends`', async () => {
  await using secure = await mockBackend({ body: 'x' }, { tls: { cert: certificate, key } })
  const tls = { ca: certificate, servername: 'backend.test' }
  // New objects with the same content use the same connection.
  await using front = await calling({}, () => ({
    target: { url: secure.url, tls: { ...tls }, weight: 2, id: 'secure', metadata: { zone: 'a' } },
  }))
  for (let i = 0; i < 3; i++) assert.equal((await fetch(front.url)).status, 200)
  assert.equal(secure.connections, 1)
  await using distrusting = await calling({}, { target: { url: secure.url } })
  assert.match(await (await fetch(distrusting.url)).text(), /^502 .*ERR_PROXY_TLS/)
})

test('path, method, headers, responseHeaders and hostHeader are changed for one call', async () => {
  await using backend = await mockBackend({ headers: ['X-Backend', 'secret'], body: 'x' })
  await using front = await calling(
    {
      target: backend.url,
      routes: [{ addPrefix: '/v1', requestHeaders: { set: { 'X-One': 'route', 'X-Two': 'route' } } }],
    },
    {
      path: '/users?id=1',
      method: 'PUT',
      headers: { set: { 'X-One': 'call' }, remove: ['X-Gone'] },
      responseHeaders: { set: { 'X-Call': '1' }, remove: ['X-Backend'] },
      hostHeader: 'backend',
    },
  )
  const response = await fetch(`${front.url}/else`, { method: 'POST', body: 'b', headers: { 'X-Gone': '1' } })
  assert.deepEqual([response.headers.get('x-call'), response.headers.get('x-backend')], ['1', null])
  const request = await backend.nextRequest()
  const { method, path, bodyText } = request
  assert.deepEqual([method, path, bodyText], ['PUT', '/users?id=1', 'b'])
  assert.deepEqual(
    ['x-one', 'x-two', 'x-gone', 'host'].map((name) => request.header(name)),
    ['call', 'route', undefined, new URL(backend.url).host],
  )
})

test('a method that the client did not use keeps the message framing right', async () => {
  await using backend = await mockBackend({ body: 'the body' })
  for (const [asked, sent] of [
    ['GET', 'HEAD'],
    ['HEAD', 'GET'],
    ['GET', 'DELETE'],
  ] as const) {
    await using front = await calling({ target: backend.url }, { method: sent })
    const { text } = await converse(front.port, `${asked} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    assert.equal((await backend.nextRequest()).method, sent)
    const [head = '', body] = text.split('\r\n\r\n')
    assert.equal(body, asked === 'GET' && sent === 'DELETE' ? 'the body' : '')
    if (asked === 'GET' && sent === 'HEAD') assert.match(head, /content-length: 0/i)
  }
})

test('a request that is sent by POST is not sent twice, although the client has used GET', async () => {
  await using backend = await mockBackend((_request, reply) => reply.reset())
  await using front = await calling({ target: backend.url }, { method: 'POST' })
  assert.equal((await fetch(front.url)).status, 502)
  assert.equal(backend.requests.length, 1)
})

test('a path cannot lead out of the path of the target', async () => {
  await using backend = await mockBackend()
  await using front = await calling({}, ({ url = '' }) => ({ target: `${backend.url}/base`, path: url.slice(1) }))
  const { text } = await converse(front.port, 'GET //a/../../secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(text, /^HTTP\/1.1 200/)
  assert.equal((await backend.nextRequest()).path, '/base/secret')
  const refused = await converse(front.port, 'GET //..%2fsecret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(refused.text, /^HTTP\/1.1 500/)
  assert.match(front.errors[0]?.message ?? '', /^the overrides of proxy\.web: path has /)
})

test('a path of `/` keeps its slash below the path of the target', async () => {
  await using backend = await mockBackend()
  await using front = await calling({}, { target: `${backend.url}/base`, path: '/?a=1' })
  assert.equal((await fetch(`${front.url}/x`)).status, 200)
  assert.equal((await backend.nextRequest()).path, '/base/?a=1')
})

test('transforms run after those of the route, and interceptors inside', async () => {
  await using backend = await mockBackend()
  const order: string[] = []
  const transform = (name: string): Transform => ({ name, request: () => void order.push(name) })
  const around = (name: string): Interceptor =>
    interceptor((next, ...args) => {
      order.push(name)
      next(...args)
    }, name)
  await using front = await calling(
    { target: backend.url, routes: [{ transforms: [transform('1')], interceptors: [around('3')] }] },
    { transforms: [transform('2')], interceptors: [around('4')] },
  )
  assert.equal((await fetch(front.url)).status, 200)
  assert.deepEqual(order, ['1', '2', '3', '4'])
})

test('an interceptor whose wrap() throws fails the call', async () => {
  await using backend = await mockBackend()
  const broken: Interceptor = {
    name: 'broken',
    wrap() {
      throw new Error('no wrap')
    },
  }
  await using front = await calling({ target: backend.url }, { interceptors: [broken] })
  assert.equal((await fetch(front.url)).status, 500)
  assert.match(front.errors[0]?.message ?? '', /no wrap/)
})

test('hooks see the context of the call; middleware() gives them the request and the response', async () => {
  await using backend = await mockBackend()
  const seen: unknown[] = []
  const look: Transform = { name: 'look', request: (_request, { context }) => void seen.push(context) }
  const routes = [{ transforms: [look] }]
  await using front = await calling({ target: backend.url, routes }, ({ url }) =>
    url === '/' ? {} : { context: { url } },
  )
  await fetch(front.url)
  await fetch(`${front.url}/x`)
  await using app = await runInServer({ target: backend.url, routes }, (proxy) =>
    http.createServer((req, res) => {
      Object.assign(req, { user: 'me' })
      proxy.middleware()(req, res, () => res.end())
    }),
  )
  await fetch(app.url)
  const { req, res } = seen[2] as { req: IncomingMessage & { user: string }; res: ServerResponse }
  assert.deepEqual([...seen.slice(0, 2), req.user, res.statusCode], [undefined, { url: '/x' }, 'me', 200])
})

test('a body may be a string, bytes or a stream', async () => {
  await using backend = await mockBackend()
  const bodies: [WebOverrides['body'] & {}, string, string | undefined][] = [
    ['grüße', 'grüße', '7'],
    [new Uint8Array([97, 98]), 'ab', '2'],
    [Readable.from([Buffer.from('one '), 'two']), 'one two', undefined],
    [Readable.from([]), '', undefined],
    ['', '', '0'],
  ]
  for (const [body, text, length] of bodies) {
    await using front = await calling({ target: backend.url }, { body })
    assert.equal((await fetch(front.url, { method: 'POST', body: 'own' })).status, 200)
    const request = await backend.nextRequest()
    assert.deepEqual([request.bodyText, request.header('content-length')], [text, length])
    assert.equal(front.pending(), 0)
  }
})

test('the request itself as body is what would be sent anyway', async () => {
  await using backend = await mockBackend()
  await using front = await calling({ target: backend.url }, (req) => ({ body: req }))
  assert.equal((await fetch(front.url, { method: 'POST', body: 'own' })).status, 200)
  assert.equal((await backend.nextRequest()).bodyText, 'own')
})

test('a large body from a stream is held back by a slow backend', async () => {
  let given = 0
  const body = new Readable({
    read() {
      given += 65_536
      this.push(given > 64 * 1024 * 1024 ? null : Buffer.alloc(65_536))
    },
  })
  await using backend = await mockBackend((request, reply) => {
    request.pause()
    reply.head({ status: 200 })
    reply.chunk('x')
  })
  await using front = await calling({ target: backend.url, timeouts: { idle: 200 } }, { body })
  await assert.rejects(fetch(front.url, { method: 'POST' }).then((response) => response.text()))
  assert.ok(given < 32 * 1024 * 1024, `${given} bytes were read`)
  assert.ok(body.destroyed)
})

for (const [what, broken] of [
  ['fails before it is read', () => Readable.from([]).destroy(new Error('broken'))],
  ['fails at once', () => new Readable({ read: () => {} }).once('newListener', () => {}).destroy(new Error('broken'))],
  [
    'fails in the middle',
    () => {
      const stream = new PassThrough()
      stream.write('some')
      setImmediate(() => stream.destroy(new Error('broken')))
      return stream
    },
  ],
  [
    'is destroyed without an error',
    () => {
      const stream = new PassThrough()
      stream.write('some')
      setImmediate(() => stream.destroy())
      return stream
    },
  ],
  ['delivers objects', () => Readable.from([{ an: 'object' }])],
] as const) {
  test(`a body that ${what} fails the exchange, and nothing else`, async () => {
    await using backend = await mockBackend(neverAnswer)
    await using front = await calling({ target: backend.url, retry: false }, () => ({ body: broken() }))
    const response = await fetch(front.url, { method: 'POST' })
    assert.match(await response.text(), /^500 .*ERR_PROXY_HOOK/)
    assert.match(front.errors[0]?.message ?? '', /the body of the call/)
    assert.equal(front.pending(), 0)
  })
}

test('the stream of a body is destroyed if the client leaves', async () => {
  await using backend = await mockBackend(neverAnswer)
  const body = new PassThrough()
  await using front = await calling({ target: backend.url }, { body })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
  body.write('x')
  await new Promise((resolve) => front.proxy.once('attempt', resolve))
  client.socket.destroy()
  await once(body, 'close')
  assert.equal((await front.nextRecord()).outcome, 'aborted')
})

for (const [overrides, message] of [
  [{ targt: 'http://a' }, /targt is unknown; did you mean target\?/],
  [{ target: 'nonsense' }, / {2}target\.url is invalid/],
  [{ target: { url: 'http://a', wieght: 1 } }, /wieght is unknown; did you mean weight\?/],
  [{ target: 'http://a', group: 'default' }, /group cannot be used together with `target`/],
  [{ group: 'none' }, /there is no group "none"/],
  [{ path: 'x' }, /path is not a path/],
  [{ path: '/a b' }, /path is not a path/],
  [{ path: '/a\\..\\b' }, /path is not a path/],
  [{ path: '/a#b' }, /path is not a path/],
  [{ method: 'TRACE' }, /method is not a method that can be sent/],
  [{ method: 'A B' }, /method is not a method that can be sent/],
  [{ headers: { set: { Connection: 'x' } } }, /Connection"?\]? cannot be set/],
  [{ headers: { set: { 'X-A': 'a\nb' } } }, /character that is invalid/],
  [{ headers: { add: {} } }, /headers\.add is unknown/],
  [{ responseHeaders: { remove: ['a b'] } }, /cannot be removed/],
  [{ hostHeader: 'mine' }, /hostHeader is 'mine'/],
  [{ timeouts: { headers: -1 } }, /timeouts\.headers is -1/],
  [{ body: 7 }, /body is 7/],
  [{ transforms: [{}] }, /transforms\[0\]/],
  [{ interceptors: 'x' }, /interceptors/],
  [{ onError: 'x' }, /onError is 'x'/],
] as const) {
  test(`a mistake in overrides is told and fails the call: ${JSON.stringify(overrides)}`, async () => {
    await using backend = await mockBackend()
    await using front = await calling({ target: backend.url }, overrides as unknown as WebOverrides)
    assert.match(await (await fetch(front.url)).text(), /^500 .*ERR_PROXY_HOOK/)
    assert.match(front.errors[0]?.message ?? '', /^the overrides of proxy\.web: /)
    assert.match(front.errors[0]?.message ?? '', message)
    assert.equal(backend.requests.length, 0)
  })
}

for (const [what, overrides] of [
  ['a list', []],
  ['an object that inherits them', Object.create({ path: '/other' })],
  ['an object of a class', new (class Overrides {})()],
] as const) {
  test(`overrides are a plain object, and not ${what}`, async () => {
    await using backend = await mockBackend()
    await using front = await calling({ target: backend.url }, overrides as WebOverrides)
    assert.match(await (await fetch(front.url)).text(), /^500 .*ERR_PROXY_HOOK/)
    assert.match(front.errors[0]?.message ?? '', /^the overrides of proxy\.web: .*the options object is an/s)
    assert.equal(backend.requests.length, 0)
  })
}

test('overrides that are undefined are as if they were not there', async () => {
  await using backend = await mockBackend()
  const names = ['target', 'group', 'path', 'method', 'headers', 'responseHeaders', 'timeouts', 'body', 'hostHeader']
  const all = [...names, 'onError', 'transforms', 'interceptors', 'context']
  for (const given of [all, ...all.map((name) => [name])]) {
    const overrides = Object.fromEntries(given.map((name) => [name, undefined]))
    await using front = await calling({ target: backend.url }, overrides)
    assert.equal(await (await fetch(`${front.url}/a`)).text(), 'GET /a', given.join())
  }
})

test('a stream as body is destroyed if the call is refused', async () => {
  await using backend = await mockBackend()
  const body = new PassThrough()
  await using front = await calling({ target: backend.url }, { body, path: 'x' })
  assert.equal((await fetch(front.url)).status, 500)
  assert.ok(body.destroyed)
})

for (const [what, request, options] of [
  ['a body that has not arrived', `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n`, {}],
  [
    'the last request of a connection',
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    { limits: { maxRequestsPerConnection: 1 } },
  ],
  ['an upgrade that is not taken', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n', {}],
] as const) {
  test(`onError may call the proxy again with another target: ${what}`, async () => {
    const dead = await deadPort()
    await using backend = await mockBackend({ body: 'second' })
    await using front = await runInServer({ retry: false, ...options }, (proxy) =>
      http.createServer((req, res) =>
        proxy.web(req, res, { target: dead.url, onError: () => proxy.web(req, res, { target: backend.url }) }),
      ),
    )
    const client = rawClient(front.port)
    client.write(request)
    await front.nextRecord()
    if (request.startsWith('POST')) client.write('0123456789')
    assert.match(await client.until('second'), /^HTTP\/1\.1 200/)
    client.socket.destroy()
  })
}

test('a mistake does not hide onError', async () => {
  await using backend = await mockBackend()
  const codes: string[] = []
  await using front = await calling({ target: backend.url }, (_req, res) => ({
    path: 'x',
    onError({ code }) {
      codes.push(code)
      ;(res as ServerResponse).writeHead(418).end()
    },
  }))
  assert.equal((await fetch(front.url)).status, 418)
  assert.deepEqual(codes, ['ERR_PROXY_HOOK'])
})

test('proxy.ws takes the same overrides, without method and body', async () => {
  await using other = await webSocketBackend()
  const seen: unknown[] = []
  await using front = await calling(
    { routes: [{ path: '/api', stripPrefix: '/api' }] },
    ({ url }) =>
      ({
        target: other.url.replace(/^ws/, 'http'),
        headers: { set: { 'X-Call': '1' } },
        context: url,
        transforms: [{ name: 'look', request: ({ path }, { context }) => void seen.push(path, context) }],
        ...(url === '/wrong' && { method: 'GET' }),
      }) as CallOverrides,
  )
  const socket = new WebSocket(`${front.url.replace('http', 'ws')}/api/chat`)
  socket.on('open', () => socket.send('hello'))
  const [message] = await once(socket, 'message')
  assert.equal(String(message), 'hello')
  assert.deepEqual(seen, ['/chat', '/api/chat'])
  socket.close()
  const refused = await converse(front.port, upgradeRequest({ path: '/wrong' }))
  assert.match(refused.text, /^HTTP\/1.1 500/)
  assert.match(front.errors[0]?.message ?? '', /^the overrides of proxy\.ws: .*method is unknown/s)
})

test('proxy.ws: onError has the socket, and the last word', async () => {
  const dead = await deadPort()
  const told: ProxyError[] = []
  await using front = await calling({ target: dead.url }, (_req, socket) => ({
    onError(error) {
      told.push(error)
      ;(socket as Duplex).end('HTTP/1.1 418 Mine\r\nConnection: close\r\n\r\nmine')
    },
  }))
  const { text } = await converse(front.port, upgradeRequest())
  assert.equal(text, 'HTTP/1.1 418 Mine\r\nConnection: close\r\n\r\nmine')
  assert.deepEqual(
    told.map(({ code }) => code),
    ['ERR_PROXY_CONNECT'],
  )
  assert.equal((await front.nextRecord()).outcome, 'failed')
  assert.equal(front.proxy.stats().active, 0)
})

test('an interceptor chooses the group before the first attempt, and another one after it has failed', async () => {
  const dead = await deadPort()
  await using blue = await mockBackend({ body: 'blue' })
  await using green = await mockBackend({ body: 'green' })
  const choose = interceptor((next, exchange, request, body, sink) => {
    const group = exchange.header('x-group')
    if (group === undefined) return next(exchange, request, body, sink)
    const onError = () => next(exchange, { ...request, group: 'green' }, body, sink)
    next(exchange, { ...request, group }, body, wrapSink(sink, { onError }))
  })
  const options: ProxyOptions = {
    groups: { blue: { target: blue.url }, green: { target: green.url }, dead: { target: dead.url, retry: false } },
    routes: [{ group: 'blue', interceptors: [choose] }],
  }
  await using front = await runInServer(options)
  const ask = async (group?: string) =>
    (await fetch(front.url, group === undefined ? {} : { headers: { 'x-group': group } })).text()
  assert.equal(await ask(), 'blue')
  assert.equal(await ask('green'), 'green')
  assert.equal(await ask('dead'), 'green')
  assert.deepEqual(
    [(await front.nextRecord()).group, (await front.nextRecord()).group, (await front.nextRecord()).group],
    ['blue', 'green', 'green'],
  )
  assert.match(await ask('none'), /^500 .*ERR_PROXY_HOOK/)
  assert.match(front.errors.at(-1)?.message ?? '', /there is no group "none"; the groups are "blue", "green", "dead"/)
  // Each group has counted its exchanges down again, so that an update can retire it.
  await front.proxy.update({ target: blue.url }).drained
})

test('the time limit on the whole exchange is that of the group that an interceptor has chosen', async () => {
  const clock = manualClock()
  await using slow = await mockBackend((_request, reply) => {
    clock.advance(100)
    reply.send({ body: 'late' })
  })
  const choose = interceptor((next, exchange, request, body, sink) =>
    next(exchange, { ...request, group: 'patient' }, body, sink),
  )
  await using front = await runInServer({
    clock,
    groups: {
      hasty: { target: slow.url, timeouts: { total: 50 } },
      patient: { target: slow.url, timeouts: { total: 0 } },
    },
    routes: [{ group: 'hasty', interceptors: [choose] }],
  })
  assert.equal(await (await fetch(front.url)).text(), 'late')
})

test('an interceptor cannot send TRACE', async () => {
  await using backend = await mockBackend()
  await using front = await calling(
    { target: backend.url },
    {
      interceptors: [
        interceptor((next, exchange, request, body, sink) =>
          next(exchange, { ...request, method: 'TRACE' }, body, sink),
        ),
      ],
    },
  )
  assert.match(await (await fetch(front.url)).text(), /^500 .*ERR_PROXY_HOOK/)
  assert.equal(backend.requests.length, 0)
})
