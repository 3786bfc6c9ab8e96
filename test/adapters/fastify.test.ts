import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createRequire } from 'node:module'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import cors from '@fastify/cors'
import websocket from '@fastify/websocket'
import fastify5, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { proxyPlugin } from '../../src/adapters/fastify.ts'
import { createProxy, ProxyError } from '../../src/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { neverAnswer } from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { converse } from '../support/raw-client.ts'
import { consume, echo, echoBackend, MULTIPART, refusalOf, socketIoBackend } from './serving.ts'

const fastify4: typeof fastify5 = createRequire(import.meta.url)('fastify4')

interface Running extends AsyncDisposable {
  readonly url: string
  readonly port: number
}

async function run(app: FastifyInstance): Promise<Running> {
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { url, port: Number(new URL(url).port), [Symbol.asyncDispose]: async () => app.close() }
}

/** Lines that Fastify logs. */
function logOf(): {
  readonly options: FastifyServerOptions
  readonly lines: { msg: string; code?: string; url?: string }[]
} {
  const lines: { msg: string }[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)))
      done()
    },
  })
  return { options: { logger: { level: 'info', stream } }, lines }
}

const JSON_BODY = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{ "a" : 1.0 }' }

for (const [name, fastify] of [
  ['Fastify 5', fastify5],
  ['Fastify 4', fastify4],
] as const) {
  test(`${name}: the prefix is not sent to the backend, nor what the client has made of it`, async () => {
    await using backend = await mockBackend()
    const app = fastify()
    app.register(
      async (scope) => {
        scope.register(proxyPlugin, { target: `${backend.url}/base`, prefix: '/v1' })
        scope.register(proxyPlugin, { target: backend.url, prefix: '/old', rewritePrefix: '/new/' })
        scope.register(proxyPlugin, { target: backend.url, prefix: '/of/:user' })
      },
      { prefix: '/api' },
    )
    await using front = await run(app)
    for (const [path, sent] of [
      ['/api/v1', '/base/'],
      ['/api/v1?a=1', '/base/?a=1'],
      ['/api/v1/', '/base/'],
      ['/api/v1/a%2Fb/?a=1&a=2', '/base/a%2Fb/?a=1&a=2'],
      ['/%61pi/v1/users', '/base/users'],
      ['/api/old/users', '/new/users'],
      ['/api/old', '/new'],
      ['/api/of/ada/books', '/books'],
    ]) {
      assert.equal(await (await fetch(front.url + path)).text(), `GET ${sent}`, path)
    }
    const { text } = await converse(
      front.port,
      'GET http://outer.example/api/v1/users HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    )
    assert.match(text, /^HTTP\/1\.1 200 /)
    assert.equal(backend.requests.at(-1)?.path, '/base/users')
    assert.equal(backend.requests.at(-1)?.header('host'), 'outer.example')
  })

  test(`${name}: no target leads out of the prefix, or around a route of the application`, async () => {
    await using backend = await mockBackend()
    const app = fastify()
    app.get('/api/admin', async (_request, reply) => reply.code(403).send())
    app.register(proxyPlugin, { target: backend.url, prefix: '/api', rewritePrefix: '/v1' })
    await using front = await run(app)
    for (const target of [
      '/api/../admin',
      '/api/%2e%2E/admin',
      '/api/x/..',
      '/api/..%2fadmin',
      '/api/x%5c..%5c../admin',
      '/api/..;a/admin',
      'http://outer.example?/api/secret',
      'http://outer.example?a/api/../../secret',
      '/api;/admin',
      '/api/admin;a',
    ]) {
      const { text } = await converse(front.port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
      assert.match(text, /^HTTP\/1\.1 (?:200|400|403|404) /, target)
      if (!text.startsWith('HTTP/1.1 200 ')) continue
      const path = backend.requests.at(-1)?.path ?? ''
      assert.match(path, /^\/v1(?:[/;]|$)/, target)
      assert.doesNotMatch(path, /\.\.|%2e|^\/v1\/admin$/i, target)
    }
    assert.equal(await (await fetch(`${front.url}/api/..a/b;c?d=/../e`)).text(), 'GET /v1/..a/b;c?d=/../e')
  })

  test(`${name}: two proxies on one server, and the application's own routes`, async () => {
    await using one = await mockBackend({ body: 'one' })
    await using other = await mockBackend({ body: 'other' })
    const app = fastify()
    app.get('/api/own', async () => 'own')
    app.register(proxyPlugin, { target: one.url, prefix: '/api' })
    app.register(proxyPlugin, { target: other.url, prefix: '/other' })
    app.post('/json', async ({ body }) => body)
    await using front = await run(app)
    const text = async (path: string): Promise<string> => (await fetch(front.url + path)).text()
    assert.deepEqual([await text('/api/x'), await text('/other/x'), await text('/api/own')], ['one', 'other', 'own'])
    assert.equal((await fetch(`${front.url}/else`)).status, 404)
    // The parsers of the plugin are its own.
    assert.equal(await (await fetch(`${front.url}/json`, JSON_BODY)).text(), '{"a":1}')
  })

  test(`${name}: the same prefix twice is an error of Fastify's`, async () => {
    const app = fastify()
    app.register(proxyPlugin, { target: 'http://127.0.0.1:1', prefix: '/api' })
    app.register(proxyPlugin, { target: 'http://127.0.0.1:1', prefix: '/api' })
    await assert.rejects(async () => app.ready(), /already declared/)
    await app.close()
  })

  test(`${name}: a mistake in the options stops the start`, async () => {
    const app = fastify()
    // @ts-expect-error: as the types say.
    app.register(proxyPlugin, { target: 'http://127.0.0.1:1', prefix: '/api', retri: 1 })
    await assert.rejects(async () => void (await app.ready()), /retri/)
  })

  test(`${name}: bodies stream through as they are, in any content type`, async () => {
    await using backend = await mockBackend()
    const app = fastify({ bodyLimit: 10 })
    app.register(proxyPlugin, { target: backend.url })
    await using front = await run(app)
    for (const init of [JSON_BODY, MULTIPART, { method: 'PUT', body: 'plain' }, { method: 'DELETE' }]) {
      assert.equal((await fetch(`${front.url}/x`, init)).status, 200)
      assert.equal(backend.requests.at(-1)?.bodyText, 'body' in init ? init.body : '')
    }
  })

  test(`${name}: bodies that Fastify has parsed are sent from memory`, async () => {
    await using backend = await mockBackend()
    const app = fastify()
    const seen: unknown[] = []
    app.register(proxyPlugin, {
      target: backend.url,
      proxyPayloads: false,
      preHandler: async ({ body }) => void seen.push(body),
    })
    await using front = await run(app)
    await fetch(front.url, JSON_BODY)
    assert.deepEqual(seen, [{ a: 1 }])
    assert.equal(backend.requests.at(-1)?.bodyText, '{"a":1}')
    await fetch(front.url, { method: 'POST', body: 'plain' })
    assert.equal(backend.requests.at(-1)?.bodyText, 'plain')
  })

  test(`${name}: hooks apply: they may respond, and their headers are sent`, async () => {
    await using backend = await mockBackend({ headers: ['X-Both', 'backend'], body: 'x' })
    const app = fastify()
    app.addHook('onRequest', async ({ headers }, reply) => {
      reply.header('x-hook', 'set').header('x-both', 'application')
      if (headers.authorization === undefined) return reply.code(401).send('a key, please')
    })
    const order: string[] = []
    const preHandler = [async () => void order.push('first'), async () => void order.push('second')]
    app.register(proxyPlugin, { target: backend.url, preHandler })
    await using front = await run(app)
    const refused = await fetch(front.url)
    assert.deepEqual([refused.status, await refused.text()], [401, 'a key, please'])
    const response = await fetch(front.url, { headers: { authorization: 'key' } })
    assert.equal(await response.text(), 'x')
    assert.equal(response.headers.get('x-hook'), 'set')
    assert.equal(response.headers.get('x-both'), 'backend')
    assert.deepEqual(order, ['first', 'second'])
    assert.equal(backend.requests.length, 1)
  })

  test(`${name}: what no route of the proxy matches gets Fastify's 404, with the path as it was`, async () => {
    await using backend = await mockBackend()
    const app = fastify()
    app.setNotFoundHandler((request, reply) => reply.code(404).send(`nothing at ${request.url}`))
    app.register(proxyPlugin, { target: backend.url, prefix: '/api', routes: [{ path: '/users' }] })
    await using front = await run(app)
    assert.equal(await (await fetch(`${front.url}/api/users/1`)).text(), 'GET /users/1')
    const missing = await fetch(`${front.url}/api/else`)
    assert.deepEqual([missing.status, await missing.text()], [404, 'nothing at /api/else'])
  })

  test(`${name}: OPTIONS * is of the server, and no path`, async () => {
    await using backend = await mockBackend()
    const app = fastify()
    app.register(proxyPlugin, { target: backend.url, rewritePrefix: '/v1' })
    await using front = await run(app)
    const request = 'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
    assert.match((await converse(front.port, request)).text, /\r\n\r\nOPTIONS \*$/)
  })

  test(`${name}: with passErrors failures go to Fastify's error handler`, async () => {
    const app = fastify()
    const target = (await deadPort()).url
    app.register(proxyPlugin, { target, retry: false, prefix: '/own' })
    app.register(async (scope) => {
      scope.setErrorHandler((error, _request, reply) => {
        assert.ok(error instanceof ProxyError)
        return reply.code(error.status).send({ code: error.code })
      })
      scope.register(proxyPlugin, { target, retry: false, passErrors: true, prefix: '/handled' })
    })
    app.register(proxyPlugin, { target, retry: false, passErrors: true, prefix: '/default' })
    await using front = await run(app)
    assert.match(await (await fetch(`${front.url}/own`)).text(), /^502 .*ERR_PROXY_CONNECT/)
    const handled = await fetch(`${front.url}/handled`)
    assert.deepEqual([handled.status, await handled.json()], [502, { code: 'ERR_PROXY_CONNECT' }])
    assert.equal((await fetch(`${front.url}/default`)).status, 502)
  })

  test(`${name}: the proxy logs to Fastify's logger, and each request is logged once`, async () => {
    const log = logOf()
    const app = fastify(log.options)
    app.register(proxyPlugin, { target: (await deadPort()).url, retry: false })
    const front = await run(app)
    assert.equal((await fetch(`${front.url}/x`)).status, 502)
    await app.close()
    const messages = log.lines.map(({ msg, code }) => code ?? msg)
    assert.equal(messages.filter((message) => message === 'ERR_PROXY_CONNECT').length, 1)
    assert.equal(messages.filter((message) => message === 'request completed').length, 1)
  })

  test(`${name}: WebSockets are mounted as requests are, behind the same hooks`, async () => {
    await using one = await echoBackend()
    await using other = await echoBackend()
    const app = fastify()
    app.register(async (scope) => {
      scope.addHook('onRequest', async ({ query }, reply) => {
        if ((query as { key?: string }).key !== '1') return reply.code(401).send('a key, please')
      })
      scope.register(proxyPlugin, { target: one.url, prefix: '/api/one', websocket: true })
      scope.register(proxyPlugin, { target: other.url, prefix: '/api/other', websocket: true })
    })
    await using front = await run(app)
    const ws = `ws://127.0.0.1:${front.port}`
    assert.equal(await echo(`${ws}/api/one/chat?key=1`, 'hello'), '/chat?key=1: hello')
    assert.equal(await echo(`${ws}/api/other/chat?key=1`, 'hello'), '/chat?key=1: hello')
    assert.deepEqual(await refusalOf(`${ws}/api/one/chat`), [401, 'a key, please'])
    assert.equal((await refusalOf(`${ws}/chat?key=1`))[0], 404)
    assert.deepEqual([one.connections, other.connections], [1, 1])
  })

  test(`${name}: without websocket an upgrade is not one`, async () => {
    await using backend = await mockBackend()
    const app = fastify()
    app.register(proxyPlugin, { target: backend.url })
    await using front = await run(app)
    const socket = new WebSocket(`ws://127.0.0.1:${front.port}`)
    socket.on('error', () => {})
    const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(response.statusCode, 200)
    await consume(response)
  })

  test(`${name}: closing Fastify closes the proxy and its WebSockets; one that was given stays open`, async () => {
    await using backend = await echoBackend()
    const given = createProxy({ target: backend.url })
    const app = fastify()
    app.register(proxyPlugin, { target: backend.url, prefix: '/own', websocket: true, drainTimeoutMs: 5000 })
    app.register(proxyPlugin, { proxy: given, prefix: '/given' })
    const front = await run(app)
    const socket = new WebSocket(`ws://127.0.0.1:${front.port}/own`)
    await once(socket, 'open')
    const closed = once(socket, 'close')
    await app.close()
    assert.equal((await closed)[0], 1001)
    const other = createProxy({ target: backend.url })
    await other.close()
    assert.throws(() => other.update({ target: backend.url }), /closed/)
    given.update({ target: backend.url })
    await given.close()
  })

  test(`${name}: closing gives up on a backend that never responds before Fastify gives up on the proxy`, async () => {
    await using backend = await mockBackend(neverAnswer)
    const clock = manualClock()
    const app = fastify()
    app.register(proxyPlugin, { target: backend.url, clock })
    const front = await run(app)
    const response = fetch(front.url)
    await backend.nextRequestHead()
    const closed = app.close()
    await new Promise(setImmediate)
    clock.advance(8_000)
    await closed
    await response.catch(() => {})
  })

  test(`${name}: socket.io under a prefix, and one of the application's own`, async () => {
    await using backend = await socketIoBackend('backend')
    const app = fastify()
    app.register(proxyPlugin, { target: backend.url, prefix: '/api', websocket: true })
    const own = new Server(app.server)
    own.on('connection', (socket) => socket.on('say', (text, reply) => reply(`own ${text}`)))
    await using front = await run(app)
    for (const [path, answer] of [
      ['/api/socket.io', 'backend hello'],
      ['/socket.io', 'own hello'],
    ]) {
      for (const transports of [['websocket'], ['polling', 'websocket']]) {
        const client = io(front.url, { path: path as string, transports, forceNew: true })
        assert.equal(await client.emitWithAck('say', 'hello'), answer)
        client.disconnect()
      }
    }
    await own.close()
  })
}

test('a route of @fastify/cors for preflights stays its own', async () => {
  await using backend = await mockBackend()
  const app = fastify5()
  await app.register(cors)
  app.register(proxyPlugin, { target: backend.url })
  await using front = await run(app)
  const headers = { origin: 'http://a.test', 'access-control-request-method': 'GET' }
  assert.equal((await fetch(`${front.url}/x`, { method: 'OPTIONS', headers })).status, 204)
  const response = await fetch(`${front.url}/x`, { headers })
  assert.equal(response.headers.get('access-control-allow-origin'), '*')
})

test('@fastify/websocket on the same server is warned of', async () => {
  const log = logOf()
  const app = fastify5(log.options)
  app.register(proxyPlugin, { target: 'http://127.0.0.1:1', prefix: '/api', websocket: true })
  await app.register(websocket)
  await app.ready()
  await app.close()
  assert.match(String(log.lines[0]?.msg), /^@fastify\/websocket responds to every upgrade/)
})
