import assert from 'node:assert/strict'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { test } from 'node:test'
import express from 'express'
import { createProxy, type Proxy, type ProxyError, type ProxyOptions, type WebOverrides } from '../../src/index.ts'
import { deadPort, mockBackend, neverAnswer, recordingLogger } from '../../src/testing/index.ts'
import { type RunningProxy, runInServer } from '../support/running-proxy.ts'

function withOverrides(
  options: ProxyOptions,
  overrides: WebOverrides | ((res: ServerResponse) => WebOverrides),
): Promise<RunningProxy> {
  return runInServer(options, (proxy) =>
    http.createServer((req, res) => proxy.web(req, res, typeof overrides === 'function' ? overrides(res) : overrides)),
  )
}

test('overrides.target sends it there, and keeps the connection for the next one', async () => {
  await using usual = await mockBackend()
  await using other = await mockBackend()
  await using front = await withOverrides({ target: usual.url }, { target: other.url })
  for (let i = 0; i < 3; i++) assert.equal((await fetch(front.url)).status, 200)
  assert.equal(usual.requests.length, 0)
  assert.equal(other.requests.length, 3)
  assert.equal(other.connections, 1)
})

test('overrides.group sends it there', async () => {
  await using usual = await mockBackend()
  await using other = await mockBackend()
  await using front = await withOverrides(
    { target: usual.url, groups: { other: { target: other.url } } },
    { group: 'other' },
  )
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal(other.requests.length, 1)
  assert.equal((await front.nextRecord()).group, 'other')
})

for (const [what, overrides] of [
  ['an unknown group', { group: 'nowhere' }],
  ['a target that is no URL', { target: 'nonsense' }],
] as const) {
  test(`${what} is 500 ERR_PROXY_HOOK, not a crash`, async () => {
    await using usual = await mockBackend()
    await using front = await withOverrides({ target: usual.url }, overrides)
    const response = await fetch(front.url)
    assert.equal(response.status, 500)
    assert.equal(await response.text(), '500 Internal Server Error (ERR_PROXY_HOOK)\n')
    assert.match(front.errors[0]?.message ?? '', /nowhere|nonsense/)
    assert.equal(front.proxy.stats().active, 0)
  })
}

test('overrides.timeouts go over those of the route', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await withOverrides({ target: backend.url, retry: false }, { timeouts: { headers: 40 } })
  assert.equal((await fetch(front.url)).status, 504)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HEADERS_TIMEOUT')
})

test('overrides.body is sent in place of the stream', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer(async (req, res) => {
      const read: Buffer[] = []
      for await (const chunk of req) read.push(chunk)
      proxy.web(req, res, { body: Buffer.from(Buffer.concat(read).toString().toUpperCase()) })
    }),
  )
  assert.equal((await fetch(front.url, { method: 'POST', body: 'the body' })).status, 200)
  const request = await backend.nextRequest()
  assert.equal(request.bodyText, 'THE BODY')
  assert.equal(request.header('content-length'), '8')
})

test('overrides.onError answers a failure in our place, once', async () => {
  const { url } = await deadPort()
  const told: ProxyError[] = []
  await using front = await withOverrides({ target: url }, (res) => ({
    onError(error) {
      told.push(error)
      res.writeHead(418).end('mine')
    },
  }))
  const response = await fetch(front.url)
  assert.equal(response.status, 418)
  assert.equal(await response.text(), 'mine')
  assert.deepEqual(
    told.map(({ code }) => code),
    ['ERR_PROXY_CONNECT'],
  )
  assert.equal(front.proxy.stats().active, 0)
})

test('an onError that throws leaves the answer to us', async () => {
  const { url } = await deadPort()
  await using front = await withOverrides({ target: url }, () => ({
    onError() {
      throw new Error('oops')
    },
  }))
  assert.equal((await fetch(front.url)).status, 502)
})

test('onError is not called once something has been sent', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.head()
    reply.chunk('half')
    reply.abort()
  })
  let called = 0
  await using front = await withOverrides({ target: backend.url }, { onError: () => void called++ })
  await assert.rejects(async () => (await fetch(front.url)).text())
  assert.equal(called, 0)
})

test('a third argument that is not ours is not taken for overrides', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) =>
      (proxy.web as unknown as (req: IncomingMessage, res: ServerResponse, next: () => void) => void)(
        req,
        res,
        () => {},
      ),
    ),
  )
  assert.equal((await fetch(front.url)).status, 200)
})

test('web() and ws() do not throw for what is no request', async () => {
  const logger = recordingLogger()
  await using proxy = createProxy({ target: 'http://127.0.0.1:1', logger })
  proxy.web({} as never, {} as never)
  proxy.web(null as never, null as never)
  proxy.ws({} as never, {} as never, {} as never)
  proxy.ws(null as never, null as never, null as never)
  const messages = logger.messages('error')
  assert.equal(messages.length, 4)
  for (const message of messages) assert.match(message, /^a request could not be carried: /)
})

test('web() on a response that the application has ended does no harm', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      res.end('mine')
      proxy.web(req, res)
    }),
  )
  assert.equal(await (await fetch(front.url)).text(), 'mine')
  await front.nextRecord()
  assert.equal(front.proxy.stats().active, 0)
  assert.equal(front.pending(), 0)
})

function middleware(options: ProxyOptions, use: (app: express.Express, proxy: Proxy) => void): Promise<RunningProxy> {
  return runInServer(options, (proxy) => {
    const app = express()
    use(app, proxy)
    return http.createServer(app)
  })
}

test('middleware() leaves what no route matches to the next one', async () => {
  await using backend = await mockBackend()
  await using front = await middleware({ target: backend.url, routes: [{ path: '/api' }] }, (app, proxy) => {
    app.use(proxy.middleware())
    app.use((_req, res) => void res.status(200).send('next'))
  })
  assert.equal(await (await fetch(`${front.url}/api/x`)).text(), 'GET /api/x')
  assert.equal(await (await fetch(`${front.url}/other`)).text(), 'next')
  assert.equal(front.proxy.stats().exchanges, 1)
})

test('middleware() answers failures itself, or gives them to the framework with passErrors', async () => {
  const { url } = await deadPort()
  for (const passErrors of [false, true]) {
    await using front = await middleware({ target: url }, (app, proxy) => {
      app.use(proxy.middleware({ passErrors }))
      const answer: express.ErrorRequestHandler = (error, _req, res, _next) => void res.status(500).send(error.code)
      app.use(answer)
    })
    const response = await fetch(front.url)
    assert.equal(response.status, passErrors ? 500 : 502)
    assert.match(await response.text(), passErrors ? /^ERR_PROXY_CONNECT$/ : /^502 Bad Gateway/)
  }
})

test('headers that the application has set before are kept', async () => {
  await using backend = await mockBackend({ headers: ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'], body: 'x' })
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      res.setHeader('X-Before', '1')
      proxy.web(req, res)
    }),
  )
  const response = await fetch(front.url)
  assert.equal(response.headers.get('x-before'), '1')
  assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
})
