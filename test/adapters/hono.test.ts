import assert from 'node:assert/strict'
import { once } from 'node:events'
import type http from 'node:http'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import type { HttpBindings } from '@hono/node-server'
import * as nodeServer2 from '@hono/node-server'
import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { logger } from 'hono/logger'
import { poweredBy } from 'hono/powered-by'
import { io } from 'socket.io-client'
import { WebSocket, WebSocketServer } from 'ws'
import { type HonoProxy, handleUpgrades, proxyMiddleware } from '../../src/adapters/hono.ts'
import { ProxyError } from '../../src/index.ts'
import { neverAnswer } from '../../src/testing/misbehaviour.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { gate, listening } from '../support/running-proxy.ts'
import { echo, echoBackend, leaveEarly, MULTIPART, refusalOf, socketIoBackend } from './serving.ts'

const nodeServer1: typeof nodeServer2 = createRequire(import.meta.url)('hono-node-server1')

interface Running extends AsyncDisposable {
  readonly url: string
  readonly wsUrl: string
}

for (const [name, { createAdaptorServer, getRequestListener }] of [
  ['@hono/node-server 2', nodeServer2],
  ['@hono/node-server 1', nodeServer1],
] as const) {
  async function run(app: Hono, ...proxies: HonoProxy[]): Promise<Running> {
    const server = createAdaptorServer({ fetch: app.fetch }) as http.Server
    handleUpgrades(server, getRequestListener(app.fetch))
    const port = await listening(server)
    return {
      url: `http://127.0.0.1:${port}`,
      wsUrl: `ws://127.0.0.1:${port}`,
      async [Symbol.asyncDispose]() {
        server.close()
        for (const { proxy } of proxies) await proxy.close()
        server.closeAllConnections()
      },
    }
  }

  test(`${name}: requests go to the backend, others to the application`, async () => {
    await using backend = await mockBackend()
    const api = proxyMiddleware({ target: backend.url })
    const stripped = proxyMiddleware({ target: backend.url, routes: [{ path: '/v1/users', stripPrefix: '/v1' }] })
    const app = new Hono()
    app.all('/api/*', api)
    app.use('/v1/*', stripped)
    app.get('*', (c) => c.text(`application: ${c.req.path}`))
    await using front = await run(app, api, stripped)
    for (const [path, text] of [
      ['/api/users?a=1&a=2', 'GET /api/users?a=1&a=2'],
      ['/api/a%2Fb/', 'GET /api/a%2Fb/'],
      ['/v1/users', 'GET /users'],
      ['/v1/else', 'application: /v1/else'],
      ['/', 'application: /'],
    ]) {
      assert.equal(await (await fetch(front.url + path)).text(), text)
    }
    const head = await fetch(`${front.url}/api/users`, { method: 'HEAD' })
    assert.equal(head.status, 200)
  })

  test(`${name}: the backend gets the path that Hono has matched`, async () => {
    await using backend = await mockBackend()
    const api = proxyMiddleware({ target: backend.url })
    const app = new Hono().all('/api/*', api)
    await using front = await run(app, api)
    const port = Number(new URL(front.url).port)
    for (const [target, path] of [
      ['/secret/../api/x?a=/../b', '/api/x?a=/../b'],
      ['/secret/%2e%2E/api/x', '/api/x'],
      ['/secret/.%2e/api/./x/..', '/api/'],
      ['http://outer.example/secret/../api/x', '/api/x'],
      ['/api/..a/%62', '/api/..a/%62'],
    ]) {
      for (const upgrade of ['close', 'upgrade\r\nUpgrade: websocket']) {
        await converse(port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: ${upgrade}\r\n\r\n`)
        assert.equal(backend.requests.at(-1)?.path, path, target)
      }
    }
  })

  test(`${name}: headers of middleware are sent, the backend's own go first, and logs have the status`, async () => {
    await using backend = await mockBackend({
      status: 201,
      headers: ['X-Both', 'backend', 'Set-Cookie', 'a=1'],
      body: 'x',
    })
    const api = proxyMiddleware({ target: backend.url, routes: [{ path: '/api' }] })
    const lines: string[] = []
    const app = new Hono()
    app.use(
      logger((...line) => void lines.push(line.join(' '))),
      cors(),
      poweredBy(),
    )
    app.use(async (c, next) => {
      c.header('x-earlier', '1')
      c.header('x-both', 'application')
      c.header('set-cookie', 'b=2')
      await next()
    })
    app.use(api)
    app.get('/own', (c) => c.text('own'))
    await using front = await run(app, api)
    const response = await fetch(`${front.url}/api`)
    assert.deepEqual([response.status, await response.text()], [201, 'x'])
    assert.equal(response.headers.get('x-earlier'), '1')
    assert.equal(response.headers.get('x-both'), 'backend')
    assert.equal(response.headers.get('access-control-allow-origin'), '*')
    assert.equal(response.headers.get('x-hono-already-sent'), null)
    assert.deepEqual(response.headers.getSetCookie().sort(), ['a=1', 'b=2'])
    const own = await fetch(`${front.url}/own`)
    assert.deepEqual([await own.text(), own.headers.getSetCookie()], ['own', ['b=2']])
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours.
    const plain = lines.map((line) => line.replace(/\x1b\[\d+m/g, ''))
    assert.ok(
      plain.some((line) => line.startsWith('--> GET /api 201')),
      plain.join('\n'),
    )
  })

  test(`${name}: bodies stream through; those that Hono has read are sent from memory`, async () => {
    await using backend = await mockBackend()
    const api = proxyMiddleware({ target: backend.url, logger: 'silent' })
    const app = new Hono()
    app.use('/json', async (c, next) => {
      await c.req.json()
      await next()
    })
    app.use('/text', async (c, next) => {
      await c.req.text()
      await next()
    })
    app.use('/buffer', async (c, next) => {
      await c.req.arrayBuffer()
      await next()
    })
    app.use('/blob', async (c, next) => {
      await c.req.blob()
      await next()
    })
    app.use('/form', async (c, next) => {
      await c.req.parseBody()
      await next()
    })
    app.use('/form-data', async (c, next) => {
      await c.req.formData()
      await next()
    })
    app.use('/raw', async (c, next) => {
      await c.req.raw.text()
      await next()
    })
    app.all('*', api)
    await using front = await run(app, api)
    const json = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{ "a" : "ä" }' }
    const form = { method: 'POST', body: new URLSearchParams({ a: '1 ä', b: '' }) }
    for (const [path, init, body] of [
      ['/stream', json, json.body],
      ['/stream', MULTIPART, MULTIPART.body],
      ['/json', json, json.body],
      ['/text', json, json.body],
      ['/buffer', json, json.body],
      ['/blob', json, json.body],
      ['/form', form, 'a=1+%C3%A4&b='],
      ['/form', MULTIPART, MULTIPART.body],
      ['/form-data', form, 'a=1+%C3%A4&b='],
    ] as const) {
      const response = await fetch(front.url + path, init)
      assert.equal(response.status, 200, path)
      assert.equal(backend.requests.at(-1)?.bodyText, body, path)
    }
    for (const path of ['/form-data', '/raw']) {
      const lost = await fetch(front.url + path, MULTIPART)
      assert.equal(lost.status, 500)
      assert.match(await lost.text(), /ERR_PROXY_BODY_CONSUMED/)
    }
  })

  test(`${name}: failures: the proxy responds, or app.onError with passErrors`, async () => {
    const target = (await deadPort()).url
    const own = proxyMiddleware({ target, retry: false, logger: 'silent' })
    const passing = proxyMiddleware({ target, retry: false, passErrors: true, logger: 'silent' })
    const app = new Hono()
    app.all('/own', own)
    app.all('/passing', passing)
    app.onError((error, c) => {
      assert.ok(error instanceof ProxyError)
      return c.json({ code: error.code }, error.status as 502)
    })
    await using front = await run(app, own, passing)
    assert.match(await (await fetch(`${front.url}/own`)).text(), /ERR_PROXY_CONNECT/)
    const handled = await fetch(`${front.url}/passing`)
    assert.deepEqual([handled.status, await handled.json()], [502, { code: 'ERR_PROXY_CONNECT' }])
  })

  test(`${name}: a disconnected client closes the backend's connection`, async () => {
    await using backend = await mockBackend(neverAnswer)
    const api = proxyMiddleware({ target: backend.url })
    const app = new Hono()
    app.all('*', api)
    await using front = await run(app, api)
    await leaveEarly(front.url, backend)
  })

  test(`${name}: a client that has left before the proxy is asked ends the handler too`, async () => {
    await using backend = await mockBackend(neverAnswer)
    const api = proxyMiddleware({ target: backend.url })
    const [asked, ended] = [gate(), gate()]
    const app = new Hono<{ Bindings: HttpBindings }>()
    app.use('*', async (c, next) => {
      const closed = once(c.env.outgoing, 'close')
      asked.open()
      await closed
      await next()
      ended.open()
    })
    app.all('*', api)
    await using front = await run(app as unknown as Hono, api)
    const client = rawClient(Number(new URL(front.url).port))
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await asked.promise
    client.socket.destroy()
    await ended.promise
  })

  test(`${name}: a connection is kept, and what another handler responds has its headers alone`, async (t) => {
    // @hono/node-server prints its attempt to respond a second time.
    const printed = t.mock.method(console, 'error', () => {})
    await using backend = await mockBackend()
    const api = proxyMiddleware({ target: backend.url, routes: [{ path: '/api' }] })
    const app = new Hono()
    app.use('*', async (c, next) => {
      c.header('X-Early', '1')
      await next()
    })
    app.all('*', api, (c) => {
      c.header('X-Early', undefined)
      return c.text('application')
    })
    await using front = await run(app, api)
    const client = rawClient(Number(new URL(front.url).port))
    for (const [path, text] of [
      ['/api/1', 'GET /api/1'],
      ['/api/2', 'GET /api/2'],
      ['/else', 'application'],
    ] as const) {
      client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      await client.until(text)
    }
    assert.equal(client.text.match(/x-early/gi)?.length, 2)
    assert.equal(printed.mock.callCount(), 0)
    client.socket.destroy()
  })

  test(`${name}: WebSockets are mounted as requests are, behind the same guards`, async () => {
    await using one = await echoBackend()
    await using other = await echoBackend()
    const [first, second] = [proxyMiddleware({ target: one.url }), proxyMiddleware({ target: other.url })]
    const app = new Hono()
    app.use('/api/*', async (c, next) => (c.req.query('key') === '1' ? next() : c.text('a key, please', 401)))
    app.all('/api/one/*', first)
    app.all('/api/other/*', second)
    await using front = await run(app, first, second)
    assert.equal(await echo(`${front.wsUrl}/api/one/x?key=1`, 'hello'), '/api/one/x?key=1: hello')
    assert.equal(await echo(`${front.wsUrl}/api/other/x?key=1`, 'hello'), '/api/other/x?key=1: hello')
    assert.deepEqual(await refusalOf(`${front.wsUrl}/api/one/x`), [401, 'a key, please'])
    assert.equal((await refusalOf(`${front.wsUrl}/else`))[0], 404)
    assert.deepEqual([one.connections, other.connections], [1, 1])
  })

  test(`${name}: socket.io`, async () => {
    await using backend = await socketIoBackend('backend')
    const api = proxyMiddleware({ target: backend.url })
    const app = new Hono()
    app.all('/socket.io/*', api)
    await using front = await run(app, api)
    for (const transports of [['websocket'], ['polling', 'websocket']]) {
      const client = io(front.url, { transports, forceNew: true })
      assert.equal(await client.emitWithAck('say', 'hello'), 'backend hello')
      client.disconnect()
    }
  })
}

test('WebSockets of @hono/node-server live beside proxied ones', async () => {
  await using backend = await echoBackend()
  const api = proxyMiddleware({ target: backend.url })
  const app = new Hono()
  app.get(
    '/own',
    nodeServer2.upgradeWebSocket(() => ({ onMessage: (event, ws) => ws.send(`own ${event.data}`) })),
  )
  app.all('/api/*', api)
  const errors: string[] = []
  app.onError((error, c) => {
    errors.push(error.message)
    return c.text('', 500)
  })
  const sockets = new WebSocketServer({ noServer: true })
  const server = nodeServer2.createAdaptorServer({
    fetch: app.fetch,
    websocket: { server: sockets as never },
  }) as http.Server
  handleUpgrades(server, nodeServer2.getRequestListener(app.fetch))
  const url = `ws://127.0.0.1:${await listening(server)}`
  assert.equal(await echo(`${url}/own`, 'hello'), 'own hello')
  assert.equal(await echo(`${url}/api/x`, 'hello'), '/api/x: hello')
  const socket = new WebSocket(`${url}/own`)
  await once(socket, 'open')
  socket.terminate()
  assert.deepEqual(errors, [])
  await api.proxy.close()
  server.close()
  server.closeAllConnections()
})

test('on another runtime the error says what is missing', async () => {
  const api = proxyMiddleware({ target: 'http://127.0.0.1:1' })
  const app = new Hono()
  app.all('*', api)
  const errors: string[] = []
  app.onError((error, c) => {
    errors.push(error.message)
    return c.text('', 500)
  })
  assert.equal((await app.request('/')).status, 500)
  assert.match(String(errors), /^heddle\/hono needs @hono\/node-server/)
  await api.proxy.close()
})
