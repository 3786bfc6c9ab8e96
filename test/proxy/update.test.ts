import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { describe, test } from 'node:test'
import { Client } from 'undici'
import WebSocket, { WebSocketServer } from 'ws'
import {
  type Balancer,
  createProxy,
  type HealthCheck,
  type Interceptor,
  OptionsError,
  type ProxyError,
  type ProxyOptions,
} from '../../src/index.ts'
import { mockBackend, mockPool } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, listening, runProxy } from '../support/running-proxy.ts'

const NONE = { added: [], removed: [], changed: [], unchanged: [] }

async function text(url: string, init?: RequestInit): Promise<string> {
  const response = await fetch(url, init)
  return `${response.status} ${await response.text()}`
}

for (const { name, run } of ALL_FRONTS) {
  test(`groups and routes come and go, ${name}`, async () => {
    await using one = await mockBackend({ body: 'one' })
    await using two = await mockBackend({ body: 'two' })
    await using front = await run({ target: one.url })
    assert.equal(await text(front.url), '200 one')
    const { plan, version, applied, drained } = front.proxy.update({
      groups: { api: { target: two.url }, default: { target: one.url } },
      routes: [{ path: '/api', group: 'api' }, { path: '/' }],
    })
    assert.equal(version, 2)
    assert.deepEqual(plan, {
      groups: { ...NONE, added: ['api'], unchanged: ['default'] },
      backends: {
        ...NONE,
        added: [{ group: 'api', id: two.url }],
        unchanged: [{ group: 'default', id: one.url }],
      },
      routes: { ...NONE, added: ['/api'], unchanged: ['/'] },
      options: [],
      restart: [],
    })
    await applied
    await drained
    assert.equal(await text(`${front.url}/api/x`), '200 two')
    assert.equal(await text(`${front.url}/x`), '200 one')
    const back = front.proxy.update({ groups: { api: { target: two.url } }, routes: [{ path: '/api', group: 'api' }] })
    assert.deepEqual(back.plan.groups, { ...NONE, removed: ['default'], unchanged: ['api'] })
    assert.deepEqual(back.plan.routes, { ...NONE, removed: ['/'], unchanged: ['/api'] })
    assert.equal(await text(`${front.url}/api/x`), '200 two')
    assert.match(await text(`${front.url}/x`), /^404 /)
    assert.deepEqual(
      front.proxy.stats().groups.map((group) => group.name),
      ['api'],
    )
  })

  test(`headers, limits and timeouts are those of the newest options, also on a connection that is open, ${name}`, async () => {
    await using backend = await mockBackend((req, reply) => reply.send({ body: JSON.stringify(req.headers) }))
    await using front = await run({ target: backend.url })
    // One connection.
    const client = new Client(front.url)
    const ask = async (path: string, body?: string): Promise<{ status: number; text: string }> => {
      const method = body === undefined ? 'GET' : 'POST'
      const response = await client.request({ path, method, body: body ?? null, headers: { host: 'a.test' } })
      return { status: response.statusCode, text: await response.body.text() }
    }
    assert.match((await ask('/')).text, /"X-Forwarded-Host","a.test"/)
    const { plan } = front.proxy.update({
      target: backend.url,
      xfwd: false,
      via: 'heddle',
      hostHeader: 'backend',
      limits: { maxBodyBytes: 3, maxTargetBytes: 20, maxHeadBytes: 8192 },
      timeouts: { connect: 4000 },
      trustedProxies: [],
    })
    assert.deepEqual(plan.options, [
      'xfwd',
      'hostHeader',
      'via',
      'timeouts',
      'limits.maxTargetBytes',
      'limits.maxBodyBytes',
    ])
    assert.deepEqual(plan.restart, ['limits.maxHeadBytes'])
    const { text: headers } = await ask('/')
    assert.doesNotMatch(headers, /X-Forwarded-Host/)
    assert.match(headers, /"Via","(1.1|2) heddle"/)
    assert.match(headers, new RegExp(`"host","${new URL(backend.url).host}"`))
    assert.equal((await ask('/', 'abc')).status, 200)
    assert.equal((await ask(`/${'x'.repeat(20)}`)).status, 414)
    assert.equal((await ask('/', 'abcd')).status, 413)
    await client.close()
  })

  test(`an exchange that has begun goes on as it began, ${name}`, async () => {
    const begun = gate()
    const rest = gate()
    await using slow = await mockBackend(async (_req, reply) => {
      reply.head()
      reply.chunk('begun,')
      begun.open()
      await rest.promise
      reply.chunk('done')
      reply.end()
    })
    await using front = await run({ target: slow.url, via: 'first' })
    const answered = fetch(front.url)
    await begun.promise
    const { plan, drained } = front.proxy.update({ backends: [] })
    assert.deepEqual(plan.backends.removed, [{ group: 'default', id: slow.url }])
    assert.match(await text(front.url), /^503 .*ERR_PROXY_NO_BACKEND/s)
    let isDrained = false
    void drained.then(() => {
      isDrained = true
    })
    const response = await answered
    assert.equal(response.headers.get('via'), '1.1 first')
    assert.equal(isDrained, false)
    rest.open()
    assert.equal(await response.text(), 'begun,done')
    await drained
  })
}

test('drained resolves when a backend that was gone has come back, though it is busy', async () => {
  const begun = gate()
  const rest = gate()
  await using slow = await mockBackend(async (_req, reply) => {
    begun.open()
    await rest.promise
    reply.send({ body: 'done' })
  })
  await using front = await runProxy({ target: slow.url })
  const answered = text(front.url)
  await begun.promise
  const { drained } = front.proxy.update({ backends: [] })
  front.proxy.update({ target: slow.url })
  await drained
  assert.equal(front.pending(), 1)
  rest.open()
  assert.equal(await answered, '200 done')
})

test('a health check that an update began is stopped if the update fails', async () => {
  let watched = 0
  const healthCheck: HealthCheck = {
    name: 'counting',
    observe() {},
    watch() {
      watched++
      return () => void watched--
    },
  }
  const broken: Interceptor = {
    name: 'broken',
    wrap() {
      throw new Error('wrap is broken')
    },
  }
  await using front = await runProxy({ target: 'http://127.0.0.1:1', healthCheck })
  assert.equal(watched, 1)
  const policies = { healthCheck, balancer: 'random' } as const
  assert.throws(() =>
    front.proxy.update({ target: 'http://127.0.0.1:1', ...policies, routes: [{ interceptors: [broken] }] }),
  )
  assert.equal(watched, 1)
  front.proxy.update({ target: 'http://127.0.0.1:1', ...policies })
  assert.equal(watched, 1)
})

test('the order of backends is a change; the limits of listeners are not', async () => {
  const [one, two] = ['http://127.0.0.1:1', 'http://127.0.0.1:2']
  await using backend = await mockBackend({ body: 'x' })
  await using front = await runProxy({ backends: [one, two] })
  assert.deepEqual(front.proxy.update({ backends: [two, one] }).plan.groups, { ...NONE, changed: ['default'] })
  // A client that ends its side would count as gone.
  front.proxy.update({ target: backend.url, limits: { halfClose: 'abort' } })
  const client = rawClient(front.port)
  client.socket.end('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n')
  assert.match(await client.until('x'), /^HTTP\/1\.1 200 /)
})

test('what cannot be changes nothing and says why', async () => {
  await using one = await mockBackend({ body: 'one' })
  await using two = await mockBackend({ body: 'two' })
  await using front = await runProxy({ target: one.url })
  const throws: Interceptor = {
    name: 'broken',
    wrap() {
      throw new Error('wrap is broken')
    },
  }
  const badBalancer: Balancer = {
    name: 'broken',
    pick: ([only]) => only,
    onChange() {
      throw new Error('onChange is broken')
    },
  }
  const wrong: [ProxyOptions, RegExp | typeof OptionsError][] = [
    [{ target: 'nowhere' }, OptionsError],
    [{}, OptionsError],
    [{ target: two.url, routes: [{ path: '/', group: 'none' }] }, OptionsError],
    [
      { target: two.url, groups: { more: { target: two.url } }, routes: [{ interceptors: [throws] }] },
      /wrap is broken/,
    ],
    [
      { groups: { more: { target: two.url }, default: { target: two.url, balancer: badBalancer } } },
      /onChange is broken/,
    ],
  ]
  for (const [options, problem] of wrong) {
    assert.throws(() => front.proxy.update(options), problem)
    assert.equal(await text(front.url), '200 one')
  }
  assert.equal(front.proxy.update({ target: two.url }).version, 2)
  assert.equal(await text(front.url), '200 two')
  assert.deepEqual(
    front.proxy.stats().groups.map(({ name, backends }) => [name, backends.length]),
    [['default', 1]],
  )
})

test('a proxy that is closed cannot be updated', async () => {
  const proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1' })
  const closed = proxy.close()
  assert.throws(
    () => proxy.update({ target: 'http://127.0.0.1:2' }),
    (error: ProxyError) => error.code === 'ERR_PROXY_CLOSED',
  )
  await closed
})

test('a WebSocket, the state and the connections of a backend that stays outlive every change around it', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  server.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const stays = `http://127.0.0.1:${port}`
  await using front = await runProxy({ backends: [stays, { url: 'http://127.0.0.1:1', weight: 0 }] })
  const client = new WebSocket(front.url.replace('http', 'ws'))
  await once(client, 'open')
  front.proxy.disable('http://127.0.0.1:1')
  const options: ProxyOptions[] = [
    { backends: [stays, { url: 'http://127.0.0.1:1', weight: 2 }] },
    { backends: [stays, 'http://127.0.0.1:1'], balancer: 'round-robin' },
    { backends: [stays, 'http://127.0.0.1:1'], balancer: 'round-robin', retry: false, slowStartMs: 100 },
    { backends: [{ url: stays, weight: 3 }, 'http://127.0.0.1:1'], healthCheck: { consecutiveFailures: 9 } },
    { backends: [{ url: stays, metadata: { zone: 'a' } }, 'http://127.0.0.1:1'], pool: { maxConnections: 7 } },
  ]
  for (const each of options) {
    front.proxy.update(each)
    const [one, other] = front.proxy.stats().groups[0]?.backends ?? []
    assert.equal(one?.pending, 1)
    assert.equal(other?.status, 'disabled')
    client.send('still there')
    const [data] = (await once(client, 'message')) as [Buffer]
    assert.equal(String(data), 'still there')
  }
  client.close()
  await once(client, 'close')
  server.close()
})

describe('policies', () => {
  test('those that are given again, as data or the same object, stay; others are made anew', async () => {
    await using backend = await mockBackend({ body: 'x' })
    let changes = 0
    const own: Balancer = { name: 'own', pick: ([only]) => only, onChange: () => void changes++ }
    const base: ProxyOptions = {
      target: backend.url,
      balancer: own,
      pool: { maxConnections: 5 },
      retry: { maxRetries: 1 },
    }
    await using front = await runProxy(base)
    assert.equal(changes, 1)
    const same = front.proxy.update({ ...base, pool: { maxConnections: 5 }, retry: { maxRetries: 1 } })
    assert.deepEqual(same.plan.groups, { ...NONE, unchanged: ['default'] })
    assert.equal(changes, 1)
    const other = front.proxy.update({ ...base, balancer: { ...own, pick: ([only]) => only } })
    assert.deepEqual(other.plan.groups, { ...NONE, changed: ['default'] })
    assert.equal(changes, 2)
    // The application's object was changed by hand.
    base.retry = { maxRetries: 2 }
    assert.deepEqual(front.proxy.update(base).plan.groups, { ...NONE, changed: ['default'] })
  })

  test('a pool whose settings stay keeps its connections; another one is drained', async () => {
    await using backend = await mockBackend({ body: 'x' })
    await using front = await runProxy({ target: backend.url })
    const open = (): number => front.proxy.stats().groups[0]?.pool.backends[0]?.connections ?? 0
    await text(front.url)
    front.proxy.update({ target: backend.url, balancer: 'random' })
    assert.equal(open(), 1)
    front.proxy.update({ target: backend.url, balancer: 'random', pool: { maxConnections: 3 } })
    assert.equal(open(), 0)
    assert.equal(await text(front.url), '200 x')
    assert.equal(open(), 1)
  })

  test("a pool of the application's that is given to two groups is not drained while one has it", async () => {
    await using backend = await mockBackend({ body: 'x' })
    const drained: string[] = []
    const pool = { ...mockPool({}), drain: async ({ id }: { id: string }) => void drained.push(id) }
    const group = { target: backend.url, pool }
    await using front = await runProxy({ groups: { default: group, more: group } })
    front.proxy.update({ groups: { default: group } })
    assert.deepEqual(drained, [])
    front.proxy.update({ target: backend.url })
    assert.deepEqual(drained, [backend.url])
  })

  test('a target override is carried by the newest limits', async () => {
    await using silent = await mockBackend(() => {})
    const proxy = createProxy({
      logger: 'silent',
      target: silent.url,
      retry: false,
      timeouts: { headers: 60_000, total: 300 },
    })
    const server = http.createServer((req, res) => proxy.web(req, res, { target: silent.url }))
    const url = `http://127.0.0.1:${await listening(server)}`
    assert.match(await text(url), /ERR_PROXY_TOTAL_TIMEOUT/)
    proxy.update({ target: silent.url, retry: false, timeouts: { headers: 50 } })
    assert.match(await text(url), /ERR_PROXY_HEADERS_TIMEOUT/)
    server.closeAllConnections()
    server.close()
    await proxy.close()
  })

  test('an ejected backend comes back though the group was made anew meanwhile', async () => {
    let isBroken = true
    await using flaky = await mockBackend((_req, reply) => {
      if (isBroken) reply.reset()
      else reply.send({ body: 'well' })
    })
    await using fine = await mockBackend({ body: 'fine' })
    const options: ProxyOptions = {
      backends: [flaky.url, fine.url],
      balancer: 'first-available',
      healthCheck: { consecutiveFailures: 1, baseMs: 300 },
    }
    await using front = await runProxy(options)
    const returned = gate()
    front.proxy.on('uneject', () => returned.open())
    assert.equal(await text(front.url), '200 fine')
    assert.equal(front.proxy.stats().groups[0]?.backends[0]?.status, 'ejected')
    front.proxy.update({ ...options, slowStartMs: 0, retry: { maxRetries: 2 } })
    assert.equal(await text(front.url), '200 fine')
    isBroken = false
    await returned.promise
    assert.equal(await text(front.url), '200 well')
  })
})

test('what holds as long as the proxy lives is named where it differs, and stays', async () => {
  await using backend = await mockBackend({ body: 'x' })
  await using front = await runProxy({ target: backend.url, name: 'edge', limits: { halfClose: 'abort' } })
  const same = front.proxy.update({ target: backend.url, name: 'edge', limits: { halfClose: 'abort' } })
  assert.deepEqual(same.plan.restart, [])
  const left = front.proxy.update({ target: backend.url })
  assert.deepEqual(left.plan.restart, [])
  const other = front.proxy.update({
    target: backend.url,
    name: 'core',
    logger: 'console',
    accessLog: 'json',
    drainTimeoutMs: 5,
    limits: { headTimeoutMs: 1, requestTimeoutMs: 2 },
  })
  assert.deepEqual(other.plan.restart, [
    'name',
    'logger',
    'accessLog',
    'drainTimeoutMs',
    'limits.headTimeoutMs',
    'limits.requestTimeoutMs',
  ])
  assert.equal(front.proxy.stats().name, 'edge')
})
