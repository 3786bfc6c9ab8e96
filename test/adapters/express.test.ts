import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import express5, { type ErrorRequestHandler, type RequestHandler } from 'express'
import { WebSocket } from 'ws'
import { type ExpressProxy, handleUpgrades, proxyMiddleware } from '../../src/adapters/express.ts'
import { createProxy, ProxyError } from '../../src/index.ts'
import { neverAnswer } from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { converse } from '../support/raw-client.ts'
import { queue } from '../support/running-proxy.ts'
import { consume, echoBackend, eventsInTurn, leaveEarly, MULTIPART, refusalOf, type Serving, serve } from './serving.ts'

const express4: typeof express5 = createRequire(import.meta.url)('express4')

/** Reads the body and keeps nothing, as parsers of multipart forms do. */
const consumeFirst: RequestHandler = (req, _res, next) => void consume(req).then(() => next())

for (const [name, express] of [
  ['Express 5', express5],
  ['Express 4', express4],
] as const) {
  /** An application with these handlers, the last of them the proxy or one after it. */
  async function run(
    middleware: ExpressProxy,
    ...handlers: (RequestHandler | ErrorRequestHandler)[]
  ): Promise<Serving> {
    const app = express()
    // Unhandled errors would be printed.
    app.set('env', 'test')
    for (const handler of handlers) app.use(handler)
    return serve(app as RequestListener, middleware.proxy)
  }

  test(`${name}: the mount path is not sent to the backend, its own base path is`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({ logger: 'silent', target: `${backend.url}/base` })
    const router = express.Router()
    router.use('/v1', middleware)
    const app = express()
    app.use('/api', router)
    app.use('/plain', middleware)
    await using front = await serve(app as RequestListener, middleware.proxy)
    for (const [path, sent] of [
      ['/plain', '/base/'],
      ['/plain?a=1', '/base/?a=1'],
      ['/plain/users?a=1&a=2', '/base/users?a=1&a=2'],
      ['/api/v1/a%2Fb/', '/base/a%2Fb/'],
    ]) {
      assert.equal(await (await fetch(front.url + path)).text(), `GET ${sent}`, path)
    }
  })

  test(`${name}: the mount path is not sent with an absolute target either, nor where the application rewrites`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({
      logger: 'silent',
      target: backend.url,
      routes: [{ path: '/users' }, { path: '/new' }],
    })
    const app = express()
    app.use('/api', middleware)
    app.use('/old', (req, res, next) => {
      req.url = req.originalUrl.replace('/old', '/new')
      middleware(req, res, next)
    })
    await using front = await serve(app as RequestListener, middleware.proxy)
    for (const [target, sent, host] of [
      ['http://outer.example/api/users?a=1', '/users?a=1', 'outer.example'],
      ['/old/users?a=1', '/new/users?a=1', 'a'],
      ['http://outer.example/old', '/new', 'outer.example'],
    ]) {
      const head = `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`
      const { text } = await converse(Number(new URL(front.url).port), head)
      assert.match(text, /^HTTP\/1\.1 200 /, target)
      const request = await backend.nextRequest()
      assert.deepEqual([request.path, request.header('host')], [sent, host], target)
    }
  })

  test(`${name}: an unmatched request goes to the next middleware, unchanged`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({
      logger: 'silent',
      target: backend.url,
      routes: [{ path: '/api', method: 'POST' }],
    })
    const application: RequestHandler = (req, res) => {
      res.send(`application: ${req.url} ${String(req.body)}`)
    }
    await using front = await run(middleware, middleware, express.text(), application)
    const headers = { 'content-type': 'text/plain' }
    const api = await fetch(`${front.url}/api/x`, { method: 'POST', headers, body: 'hello' })
    assert.equal(await api.text(), 'POST /api/x')
    const other = await fetch(`${front.url}/apix`, { method: 'POST', headers, body: 'hello' })
    assert.equal(await other.text(), 'application: /apix hello')
  })

  test(`${name}: before body parsers a body passes through as it is`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    await using front = await run(middleware, middleware, express.json())
    const headers = { 'content-type': 'application/json' }
    await fetch(front.url, { method: 'POST', headers, body: '{ "a" : 1.0 }' })
    assert.equal((await backend.nextRequest()).bodyText, '{ "a" : 1.0 }')
  })

  for (const [parser, handler, type, sent, received] of [
    ['json', express.json(), 'application/json', '{"a":[1,"ä"]}', '{"a":[1,"ä"]}'],
    ['json, with spaces', express.json(), 'application/json; charset=utf-8', '{ "a": 1 }', '{"a":1}'],
    ['json, strict off', express.json({ strict: false }), 'application/json', 'null', 'null'],
    ['json of another type', express.json({ type: '*/*' }), 'application/vnd.api+json', '{"a":1}', '{"a":1}'],
    ['urlencoded', express.urlencoded({ extended: false }), 'application/x-www-form-urlencoded', 'b=%C3%A4+c&a=1&a=2'],
    ['urlencoded, extended', express.urlencoded({ extended: true }), 'application/x-www-form-urlencoded', 'a=1&b=x+y'],
    ['text', express.text(), 'text/plain', 'hällo'],
    ['raw', express.raw(), 'application/octet-stream', 'bytes'],
    ['of another type', express.json(), 'text/plain', 'not read by it'],
  ] as const) {
    test(`${name}: after a body parser the body is sent from memory (${parser})`, async () => {
      await using backend = await mockBackend()
      const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
      await using front = await run(middleware, handler, middleware)
      const response = await fetch(front.url, { method: 'POST', headers: { 'content-type': type }, body: sent })
      assert.equal(response.status, 200)
      const request = await backend.nextRequest()
      assert.equal(request.bodyText, received ?? sent)
      assert.equal(request.header('content-length'), String(Buffer.byteLength(received ?? sent)))
      assert.equal(request.header('content-type'), type)
    })
  }

  test(`${name}: bytes kept in rawBody by "verify" are sent exactly`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    const parser = express.json({ verify: (req, _res, bytes) => Object.assign(req, { rawBody: bytes }) })
    await using front = await run(middleware, parser, middleware)
    const headers = { 'content-type': 'application/json' }
    await fetch(front.url, { method: 'POST', headers, body: '{ "a" : 1.0 }' })
    assert.equal((await backend.nextRequest()).bodyText, '{ "a" : 1.0 }')
  })

  test(`${name}: a decompressed body loses its Content-Encoding`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    await using front = await run(middleware, express.json(), middleware)
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
    await fetch(front.url, { method: 'POST', headers, body: gzipSync('{"a":1}') })
    const request = await backend.nextRequest()
    assert.equal(request.bodyText, '{"a":1}')
    assert.equal(request.header('content-encoding'), undefined)
  })

  test(`${name}: requests without a body pass the parsers`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    await using front = await run(middleware, express.json(), express.urlencoded({ extended: true }), middleware)
    assert.equal(await (await fetch(`${front.url}/x`)).text(), 'GET /x')
    assert.equal(await (await fetch(`${front.url}/x`, { method: 'POST' })).text(), 'POST /x')
    for (const { bodyText } of backend.requests) assert.equal(bodyText, '')
  })

  test(`${name}: a consumed body is a clear error at once`, async () => {
    await using backend = await mockBackend()
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    await using front = await run(middleware, consumeFirst, middleware)
    const response = await fetch(front.url, MULTIPART)
    assert.equal(response.status, 500)
    assert.match(await response.text(), /ERR_PROXY_BODY_CONSUMED/)
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_BODY_CONSUMED')
    assert.equal(backend.connections, 0)
  })

  test(`${name}: without passErrors the proxy responds to failures`, async () => {
    const middleware = proxyMiddleware({ logger: 'silent', target: (await deadPort()).url, retry: false })
    const seen: unknown[] = []
    const onError: ErrorRequestHandler = (error, _req, res, _next) => {
      seen.push(error)
      res.end()
    }
    await using front = await run(middleware, middleware, onError)
    const response = await fetch(front.url)
    assert.equal(response.status, 502)
    assert.match(await response.text(), /ERR_PROXY_CONNECT/)
    assert.deepEqual(seen, [])
  })

  test(`${name}: with passErrors failures go to the error handler`, async () => {
    const middleware = proxyMiddleware({
      logger: 'silent',
      target: (await deadPort()).url,
      retry: false,
      passErrors: true,
    })
    const onError: ErrorRequestHandler = (error, _req, res, _next) => {
      assert.ok(error instanceof ProxyError)
      res.status(error.status).json({ code: error.code })
    }
    await using front = await run(middleware, consumeFirst, middleware, onError)
    const response = await fetch(front.url)
    assert.equal(response.status, 502)
    assert.deepEqual(await response.json(), { code: 'ERR_PROXY_CONNECT' })
    const consumed = await fetch(front.url, { method: 'POST', body: 'x' })
    assert.deepEqual([consumed.status, await consumed.json()], [500, { code: 'ERR_PROXY_BODY_CONSUMED' }])
    assert.deepEqual([(await front.nextRecord()).status, (await front.nextRecord()).status], [502, 500])
  })

  test(`${name}: with passErrors and no handler Express responds to failures`, async () => {
    const middleware = proxyMiddleware({
      logger: 'silent',
      target: (await deadPort()).url,
      retry: false,
      passErrors: true,
    })
    await using front = await run(middleware, middleware)
    assert.equal((await fetch(front.url)).status, 502)
  })

  test(`${name}: headers of earlier middleware survive unless overridden`, async () => {
    await using backend = await mockBackend({
      headers: ['X-Both', 'backend', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'],
      body: 'x',
    })
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    const earlier: RequestHandler = (_req, res, next) => {
      res.setHeader('X-Earlier', ['1', '2'])
      res.setHeader('x-both', 'application')
      res.setHeader('Content-Length', '77')
      res.type('html')
      next()
    }
    await using front = await run(middleware, earlier, middleware)
    const response = await fetch(front.url)
    assert.equal(await response.text(), 'x')
    assert.equal(response.headers.get('x-earlier'), '1, 2')
    assert.equal(response.headers.get('x-both'), 'backend')
    assert.equal(response.headers.get('x-powered-by'), 'Express')
    assert.equal(response.headers.get('content-length'), '1')
    assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
  })

  test(`${name}: a disconnected client closes the backend's connection`, async () => {
    await using backend = await mockBackend(neverAnswer)
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    await using front = await run(middleware, middleware)
    await leaveEarly(front.url, backend)
    assert.equal((await front.nextRecord()).outcome, 'aborted')
  })

  test(`${name}: a response is passed on as it arrives`, async () => {
    const { backend: events, check } = await eventsInTurn()
    await using backend = events
    const middleware = proxyMiddleware({ logger: 'silent', target: backend.url })
    await using front = await run(middleware, middleware)
    await check(front.url)
  })

  test(`${name}: WebSockets are mounted as requests are, behind the same guards`, async () => {
    await using one = await echoBackend()
    await using other = await echoBackend()
    const proxy = createProxy({
      groups: { one: { target: one.url }, other: { target: other.url } },
      routes: [{ group: 'one' }],
    })
    const app = express()
    app.set('env', 'test')
    app.use('/api', (req, res, next) => void (req.query.key === '1' ? next() : res.status(401).send('a key, please')))
    app.use('/api/one', (req, res) => proxy.web(req, res, { group: 'one' }))
    app.use('/api/other', (req, res) => proxy.web(req, res, { group: 'other' }))
    await using front = await serve(app as RequestListener, proxy)
    handleUpgrades(front.server, app as RequestListener)
    for (const path of ['one/chat', 'other/chat']) {
      const socket = new WebSocket(`${front.wsUrl}/api/${path}?key=1`)
      const heard = queue<string>()
      socket.on('message', (message) => heard.push(String(message)))
      await once(socket, 'open')
      socket.send(path)
      assert.equal(await heard.next(), `/chat?key=1: ${path}`)
      socket.close()
      await once(socket, 'close')
    }
    assert.deepEqual(await refusalOf(`${front.wsUrl}/api/one/chat`), [401, 'a key, please'])
    assert.equal((await refusalOf(`${front.wsUrl}/chat`))[0], 404)
    assert.equal(proxy.stats().exchanges, 2)
  })

  test(`${name}: an existing proxy can be used in several places`, async () => {
    await using backend = await mockBackend()
    const proxy = createProxy({ target: backend.url })
    const one = proxyMiddleware({ proxy })
    const other = proxyMiddleware({ proxy, passErrors: true })
    assert.equal(one.proxy, proxy)
    const app = express()
    app.use('/a', one)
    app.use('/b', other)
    await using front = await serve(app as RequestListener, proxy)
    assert.equal(await (await fetch(`${front.url}/a/x`)).text(), 'GET /x')
    assert.equal(await (await fetch(`${front.url}/b/x`)).text(), 'GET /x')
    assert.equal(proxy.stats().exchanges, 2)
  })
}

test('a proxy and options for one exclude each other', () => {
  const proxy = createProxy({ target: 'http://127.0.0.1:1' })
  // @ts-expect-error: as the types say.
  assert.throws(() => proxyMiddleware({ proxy, target: 'http://127.0.0.1:2', via: 'x' }), /not both: target, via/)
})
