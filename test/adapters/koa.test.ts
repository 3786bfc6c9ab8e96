import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import Koa, { type Middleware } from 'koa'
import { WebSocket } from 'ws'
import { handleUpgrades, type KoaProxy, proxyMiddleware } from '../../src/adapters/koa.ts'
import { createProxy, ProxyError } from '../../src/index.ts'
import { neverAnswer } from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { gate, queue } from '../support/running-proxy.ts'
import { consume, echoBackend, eventsInTurn, leaveEarly, MULTIPART, type Serving, serve } from './serving.ts'

/** An application with these middlewares. What it reports as errors goes to `errors`. */
async function run(
  proxy: KoaProxy,
  middlewares: readonly Middleware[] = [proxy],
  errors: unknown[] = [],
): Promise<Serving> {
  const app = new Koa()
  app.on('error', (error) => errors.push(error))
  for (const middleware of middlewares) app.use(middleware)
  return serve(app.callback(), proxy.proxy)
}

/** A body parser as there are several for Koa: it leaves what it has read on Koa's request. */
function parser(parse: (text: string) => Record<string, unknown>): Middleware {
  return async (ctx, next) => {
    const text = await consume(ctx.req)
    Object.assign(ctx.request, text === '' ? {} : parse(text))
    await next()
  }
}

/** What `koa-mount` does. */
function mount(prefix: string, middleware: Middleware): Middleware {
  return async (ctx, next) => {
    const { path } = ctx
    if (path !== prefix && !path.startsWith(`${prefix}/`)) return next()
    ctx.path = path.slice(prefix.length) || '/'
    await middleware(ctx, async () => {
      ctx.path = path
      await next()
    })
    ctx.path = path
  }
}

test('Koa: the mount path is not sent to the backend, its own base path is', async () => {
  await using backend = await mockBackend()
  const proxy = proxyMiddleware({ logger: 'silent', target: `${backend.url}/base` })
  await using front = await run(proxy, [mount('/api', mount('/v1', proxy)), mount('/plain', proxy)])
  for (const [path, sent] of [
    ['/plain', '/base/'],
    ['/plain?a=1', '/base/?a=1'],
    ['/api/v1/users/?a=1&a=2', '/base/users/?a=1&a=2'],
  ]) {
    assert.equal(await (await fetch(front.url + path)).text(), `GET ${sent}`, path)
  }
})

test('Koa: an unmatched request goes to the next middleware', async () => {
  await using backend = await mockBackend()
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url, routes: [{ path: '/api', method: 'POST' }] })
  let calls = 0
  const application: Middleware = async (ctx) => {
    calls++
    ctx.body = { path: ctx.path, sent: await consume(ctx.req) }
  }
  await using front = await run(proxy, [proxy, application])
  const api = await fetch(`${front.url}/api/x`, { method: 'POST', body: 'hello' })
  assert.equal(await api.text(), 'POST /api/x')
  assert.equal(calls, 0)
  const other = await fetch(`${front.url}/apix`, { method: 'POST', body: 'hello' })
  assert.deepEqual(await other.json(), { path: '/apix', sent: 'hello' })
})

test('Koa: before body parsers a body passes through as it is', async () => {
  await using backend = await mockBackend()
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  await using front = await run(proxy)
  await fetch(front.url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{ "a" : 1.0 }' })
  assert.equal((await backend.nextRequest()).bodyText, '{ "a" : 1.0 }')
})

for (const [name, type, sent, parse, received] of [
  ['json', 'application/json', '{ "a": 1 }', (text) => ({ body: JSON.parse(text) }), '{"a":1}'],
  ['rawBody', 'application/json', '{ "a": 1 }', (text) => ({ body: JSON.parse(text), rawBody: text }), '{ "a": 1 }'],
  [
    'urlencoded',
    'application/x-www-form-urlencoded',
    'a=1&b=x+y',
    (text) => ({ body: Object.fromEntries(new URLSearchParams(text)) }),
    'a=1&b=x+y',
  ],
  ['text', 'text/plain', 'hällo', (text) => ({ body: text }), 'hällo'],
  ['raw', 'application/octet-stream', 'bytes', (text) => ({ body: Buffer.from(text) }), 'bytes'],
] as const satisfies readonly [string, string, string, Parameters<typeof parser>[0], string][]) {
  test(`Koa: after a body parser the body is sent from memory (${name})`, async () => {
    await using backend = await mockBackend()
    const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
    await using front = await run(proxy, [parser(parse), proxy])
    const response = await fetch(front.url, { method: 'POST', headers: { 'content-type': type }, body: sent })
    assert.equal(response.status, 200)
    const request = await backend.nextRequest()
    assert.equal(request.bodyText, received)
    assert.equal(request.header('content-length'), String(Buffer.byteLength(received)))
  })
}

test('Koa: requests without a body pass the parsers', async () => {
  await using backend = await mockBackend()
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  await using front = await run(proxy, [parser((text) => ({ body: text })), proxy])
  assert.equal(await (await fetch(`${front.url}/x`)).text(), 'GET /x')
  assert.equal(await (await fetch(`${front.url}/x`, { method: 'POST' })).text(), 'POST /x')
})

test('Koa: a consumed body is a clear error at once', async () => {
  await using backend = await mockBackend()
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  await using front = await run(proxy, [parser(() => ({ body: { a: '1' } })), proxy])
  const response = await fetch(front.url, MULTIPART)
  assert.equal(response.status, 500)
  assert.match(await response.text(), /ERR_PROXY_BODY_CONSUMED/)
  assert.equal(backend.connections, 0)
})

test('Koa: without passErrors the proxy responds to failures', async () => {
  const errors: unknown[] = []
  const proxy = proxyMiddleware({ logger: 'silent', target: (await deadPort()).url, retry: false })
  await using front = await run(proxy, [proxy], errors)
  const response = await fetch(front.url)
  assert.equal(response.status, 502)
  assert.match(await response.text(), /ERR_PROXY_CONNECT/)
  assert.deepEqual(errors, [])
})

test('Koa: with passErrors failures are thrown, and Koa responds', async () => {
  const errors: unknown[] = []
  const proxy = proxyMiddleware({ logger: 'silent', target: (await deadPort()).url, retry: false, passErrors: true })
  await using front = await run(proxy, [parser(() => ({ body: { a: '1' } })), proxy], errors)
  const response = await fetch(front.url)
  assert.deepEqual([response.status, await response.text()], [502, 'Bad Gateway'])
  const consumed = await fetch(front.url, MULTIPART)
  assert.deepEqual([consumed.status, await consumed.text()], [500, 'Internal Server Error'])
  const codes = errors.map((error) => error instanceof ProxyError && error.code)
  assert.deepEqual(codes, ['ERR_PROXY_CONNECT', 'ERR_PROXY_BODY_CONSUMED'])
})

test('Koa: with passErrors an earlier middleware can handle the failure', async () => {
  const proxy = proxyMiddleware({ logger: 'silent', target: (await deadPort()).url, retry: false, passErrors: true })
  const rescue: Middleware = async (ctx, next) => {
    try {
      await next()
    } catch (error) {
      assert.ok(error instanceof ProxyError)
      ctx.status = 599
      ctx.body = { code: error.code }
    }
  }
  await using front = await run(proxy, [rescue, proxy])
  const response = await fetch(front.url)
  assert.deepEqual([response.status, await response.json()], [599, { code: 'ERR_PROXY_CONNECT' }])
})

test('Koa: headers of earlier middleware survive unless the backend sets them', async () => {
  await using backend = await mockBackend({ headers: ['X-Both', 'backend'], body: 'x' })
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  const earlier: Middleware = async (ctx, next) => {
    ctx.set('X-Earlier', '1')
    ctx.set('x-both', 'application')
    ctx.body = 'replaced'
    await next()
  }
  await using front = await run(proxy, [earlier, proxy])
  const response = await fetch(front.url)
  assert.equal(await response.text(), 'x')
  assert.equal(response.headers.get('x-earlier'), '1')
  assert.equal(response.headers.get('x-both'), 'backend')
  assert.equal(response.headers.get('content-length'), '1')
})

test('Koa: code after "await next()" runs after the response, with its status', async () => {
  const end = gate()
  await using backend = await mockBackend(async (_request, reply) => {
    reply.head({ status: 201 })
    reply.chunk('first ')
    await end.promise
    reply.chunk('last')
    reply.end()
  })
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  const after = gate<{ status: number; wasWritten: boolean }>()
  let isAfter = false
  const log: Middleware = async (ctx, next) => {
    await next()
    isAfter = true
    after.open({ status: ctx.status, wasWritten: ctx.res.writableFinished })
    // Too late, and harmless.
    ctx.set('X-Late', '1')
    ctx.body = 'late'
  }
  const errors: unknown[] = []
  await using front = await run(proxy, [log, proxy], errors)
  const response = await fetch(front.url)
  assert.equal(isAfter, false)
  end.open()
  assert.equal(await response.text(), 'first last')
  assert.deepEqual(await after.promise, { status: 201, wasWritten: true })
  assert.deepEqual(errors, [])
})

test('Koa: an earlier middleware that does not wait does not end the response', async () => {
  await using backend = await mockBackend({ body: 'x' })
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  await using front = await run(proxy, [(_ctx, next) => void next(), proxy])
  const response = await fetch(front.url)
  assert.deepEqual([response.status, await response.text()], [200, 'x'])
})

test('Koa: a disconnected client aborts the backend and ends the middleware', async () => {
  await using backend = await mockBackend(neverAnswer)
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url, passErrors: true })
  const after = gate()
  const log: Middleware = async (_ctx, next) => {
    await next()
    after.open()
  }
  await using front = await run(proxy, [log, proxy])
  await leaveEarly(front.url, backend)
  await after.promise
  assert.equal((await front.nextRecord()).outcome, 'aborted')
})

test('Koa: a client that disconnects early ends the middleware too', async () => {
  await using backend = await mockBackend()
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  const arrived = gate()
  const after = gate()
  const slow: Middleware = async (ctx, next) => {
    arrived.open()
    await once(ctx.res, 'close')
    await next()
    after.open()
  }
  await using front = await run(proxy, [slow, proxy])
  const abort = new AbortController()
  const response = fetch(front.url, { signal: abort.signal })
  await arrived.promise
  abort.abort()
  await assert.rejects(response)
  await after.promise
  assert.equal((await front.nextRecord()).outcome, 'aborted')
})

test('Koa: a response is passed on as it arrives', async () => {
  const { backend: events, check } = await eventsInTurn()
  await using backend = events
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  await using front = await run(proxy)
  await check(front.url)
})

test('Koa: WebSocket through the application', async () => {
  await using backend = await echoBackend()
  const proxy = proxyMiddleware({ logger: 'silent', target: backend.url })
  const app = new Koa()
  app.use(mount('/api', proxy))
  await using front = await serve(app.callback(), proxy.proxy)
  handleUpgrades(front.server, app.callback())
  const refused = new WebSocket(`${front.wsUrl}/chat`)
  refused.on('error', () => {})
  const [, response] = (await once(refused, 'unexpected-response')) as [unknown, IncomingMessage]
  assert.equal(response.statusCode, 404)
  refused.terminate()
  const socket = new WebSocket(`${front.wsUrl}/api/chat`)
  const heard = queue<string>()
  socket.on('message', (message) => heard.push(String(message)))
  await once(socket, 'open')
  socket.send('hello')
  assert.equal(await heard.next(), '/chat: hello')
  socket.close()
  await once(socket, 'close')
})

test('Koa: an existing proxy can be used', async () => {
  await using backend = await mockBackend()
  const proxy = createProxy({ target: backend.url })
  const middleware = proxyMiddleware({ proxy })
  assert.equal(middleware.proxy, proxy)
  await using front = await run(middleware)
  assert.equal(await (await fetch(`${front.url}/x`)).text(), 'GET /x')
  assert.equal(proxy.stats().exchanges, 1)
})
