import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { createProxy, type Interceptor, type RouteOptions, type RoutingOptions } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { addPrefix, stripPrefix } from '../../src/transforms/index.ts'
import { converse } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2, listening, type RunningProxy, runInServer } from '../support/running-proxy.ts'
import { type RawBackend, rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

/** Sends a request line byte by byte. @returns the status. */
async function ask({ port }: { port: number }, target: string, more = ''): Promise<string> {
  const { text } = await converse(
    port,
    `${target.startsWith('/') ? `GET ${target}` : target} HTTP/1.1\r\nHost: x\r\n${more}Connection: close\r\n\r\n`,
  )
  return text.split(' ')[1] ?? text
}

/** Takes every upgrade and ends it. */
const upgradeBackend = (): Promise<RawBackend> =>
  rawBackend((upgrade) => {
    upgrade.accept()
    upgrade.socket.end()
  })

/** The group that gets it, or the status where none does. */
async function groupOf(front: RunningProxy, target: string): Promise<string> {
  const status = await ask(front, target)
  const { group } = await front.nextRecord()
  return status === '200' ? group : status
}

const WAYS_TO_ADMIN = [
  '/admin',
  '/admin?x=/..%2f',
  '/admin/x',
  '/%61dmin',
  '/%61%64%6D%69%6e/x',
  '//admin',
  '///admin//x',
  '/./admin',
  '/x/../admin',
  '/x/%2e%2E/admin',
  '/x/.%2e/%61dmin',
  '/%2e//admin',
  'GET http://x/%61dmin',
  'GET http://x//admin',
  'GET http://x/y/../admin',
]
const REFUSED = [
  '/admin%2fx',
  '/admin%2F',
  '/%2fadmin',
  '/%5cadmin',
  '/x/..%2fadmin',
  '/x%2f..%2fadmin',
  '/x/%2e%2e%2fadmin',
  '/x/..%5cadmin',
  '/x/..;/admin',
  '/admin%00',
  '/x/%c0%ae%c0%ae/admin',
  '/%u0061dmin',
  'GET http://x/admin%2fx',
]
const ELSEWHERE = [
  '/',
  '//x//..//..//admin',
  '/adminx',
  '/x/admin',
  '/ADMIN',
  '/%2561dmin',
  '/x?/../admin',
  '/?%2f',
  '/admin;a=1',
  '/a.dmin',
]

for (const { name, run } of ALL_FRONTS) {
  async function withAdmin(url: string, routing?: RoutingOptions): Promise<RunningProxy> {
    return run({
      groups: { admin: { target: url }, rest: { target: url } },
      routes: [
        { path: '/admin', group: 'admin' },
        { path: '/', group: 'rest' },
      ],
      ...(routing !== undefined && { routing }),
    })
  }

  test(`${name}: a path matches its route in any spelling`, {
    skip: inHttp2(name, 'its :path is never a URL with a host'),
  }, async () => {
    await using backend = await mockBackend()
    await using front = await withAdmin(backend.url)
    for (const target of WAYS_TO_ADMIN) assert.equal(await groupOf(front, target), 'admin', target)
    for (const target of ELSEWHERE) assert.equal(await groupOf(front, target), 'rest', target)
  })

  test(`${name}: an ambiguous path gets 400 and reaches no backend`, async () => {
    await using backend = await mockBackend()
    await using front = await withAdmin(backend.url)
    for (const target of REFUSED) assert.equal(await groupOf(front, target), '400', target)
    assert.equal(backend.connections, 0)
    assert.match(front.errors[0]?.message ?? '', /^the request has %2f in its path.*routing\.encodedSlashes/)
    assert.equal(front.errors[0]?.code, 'ERR_PROXY_BAD_REQUEST')
  })

  test(`${name}: a matched path keeps its bytes, without dot segments`, async () => {
    await using backend = await mockBackend()
    await using front = await withAdmin(backend.url)
    for (const [target, sent] of [
      ['/%61dmin/%7e//x?%2f%00', '/%61dmin/%7e//x?%2f%00'],
      ['//admin/../admin', '//admin'],
      ['/x/%2E./caf%c3%a9', '/caf%c3%a9'],
    ] as const) {
      assert.equal(await ask(front, target), '200')
      assert.equal((await backend.nextRequest()).path, sent)
    }
  })

  test(`${name}: 'decode' sends the decoded path`, async () => {
    await using backend = await mockBackend()
    await using front = await withAdmin(backend.url, { encodedSlashes: 'decode' })
    for (const [target, group, sent] of [
      ['/admin%2fx', 'admin', '/admin/x'],
      ['/x/..%5cadmin', 'admin', '/admin'],
      ['/%2Fadmin?%2F', 'admin', '//admin?%2F'],
      ['/admin/..%2fy', 'rest', '/y'],
    ] as const) {
      assert.equal(await groupOf(front, target), group, target)
      assert.equal((await backend.nextRequest()).path, sent)
    }
    assert.equal(await ask(front, '/admin%00'), '400')
  })

  test(`${name}: 'pass' keeps encoded slashes for routes and backends`, async () => {
    await using backend = await mockBackend()
    await using front = await withAdmin(backend.url, { encodedSlashes: 'pass' })
    for (const [target, group] of [
      ['/admin%2fx', 'rest'],
      ['/admin/a%2Fb%5c%00', 'admin'],
      ['/x/..%2fadmin', 'rest'],
    ] as const) {
      assert.equal(await groupOf(front, target), group, target)
      assert.equal((await backend.nextRequest()).path, target)
    }
  })

  test(`${name}: an upgrade is routed like any other request`, {
    skip: inHttp2(name, 'the raw backend does not know the key of the handshake'),
  }, async () => {
    await using guarded = await upgradeBackend()
    await using rest = await upgradeBackend()
    await using front = await run({
      groups: { admin: { target: guarded.url }, rest: { target: rest.url } },
      routes: [
        { path: '/admin', group: 'admin' },
        { path: '/', group: 'rest' },
      ],
    })
    for (const path of ['/%61dmin', '//admin', '/x/%2e%2e/admin']) {
      const { text } = await converse(front.port, upgradeRequest({ path }))
      assert.match(text, /^HTTP\/1\.1 101 /, path)
    }
    assert.equal(guarded.heads.length, 3)
    for (const path of ['/admin%2fx', '/x/..%2fadmin', '/x/..;/admin']) {
      assert.match((await converse(front.port, upgradeRequest({ path }))).text, /^HTTP\/1\.1 400 /, path)
    }
    assert.equal(rest.heads.length, 0)
  })

  test(`${name}: without path routes, paths pass byte by byte`, async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url, routes: [{ requestHeaders: { set: { 'x-a': '1' } } }] })
    await using bare = await run({ target: backend.url })
    for (const path of ['/a%2Fb', '//x', '/%61', '/100%', '/a%5c%zz']) {
      for (const one of [front, bare]) {
        assert.equal(await ask(one, path), '200', path)
        assert.equal((await backend.nextRequest()).path, path)
      }
    }
    assert.equal(await ask(bare, '/a/..%2f../%2e%2e/.'), '200')
    assert.equal((await backend.nextRequest()).path, '/a/..%2f../%2e%2e/.')
  })

  test(`${name}: no path leads out of that of a backend's URL`, async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: `${backend.url}/tenant-a` })
    for (const path of ['/..%2ftenant-b', '/x/..%2f..%2ftenant-b', '/..%5ctenant-b', '/..;/tenant-b', '/..%00/x']) {
      assert.equal(await ask(front, path), '400', path)
    }
    assert.equal(backend.connections, 0)
    for (const [path, sent] of [
      ['/../tenant-b', '/tenant-a/tenant-b'],
      ['/%2e%2e/tenant-b', '/tenant-a/tenant-b'],
      ['/x/.%2e/../../y', '/tenant-a/y'],
      ['/@scope%2fname', '/tenant-a/@scope%2fname'],
      ['//x', '/tenant-a//x'],
    ] as const) {
      assert.equal(await ask(front, path), '200', path)
      assert.equal((await backend.nextRequest()).path, sent)
    }
    // A backend that comes later has a path of its own.
    await front.proxy.setBackends([`${backend.url}/tenant-c`])
    assert.equal(await ask(front, '/..%2ftenant-b'), '400')
    await front.proxy.setBackends([backend.url])
    assert.equal(await ask(front, '/..%2ftenant-b'), '200')
  })

  test(`${name}: a transformed path stays below that of the backend's URL`, async () => {
    await using backend = await mockBackend()
    const decodes = {
      name: 'decodes',
      request(request: { path: string }) {
        request.path = decodeURIComponent(request.path)
      },
    }
    await using front = await run({ target: `${backend.url}/a`, routes: [{ transforms: [decodes] }] })
    assert.equal(await ask(front, '/%252e%252e%252fb'), '400')
    assert.equal(await ask(front, '/x%2525/../y'), '200')
    assert.equal((await backend.nextRequest()).path, '/a/y')
  })

  test(`${name}: a prefix is stripped in any spelling, in whole segments`, async () => {
    await using backend = await mockBackend()
    const prefixes: RouteOptions[] = [
      { path: '/api', stripPrefix: '/api', addPrefix: '/v2' },
      { path: '/own', transforms: [stripPrefix('/own/%6Fne'), addPrefix('/v3')] },
      { path: '/', stripPrefix: '/else' },
    ]
    await using front = await run({ target: backend.url, routes: prefixes })
    for (const [path, sent] of [
      ['/%61pi/%78?q', '/v2/%78?q'],
      ['//api//x', '/v2//x'],
      ['/x/../api/y', '/v2/y'],
      ['/api', '/v2'],
      ['/api?q', '/v2?q'],
      ['/api/', '/v2/'],
      ['/own/one/x', '/v3/x'],
      ['/own/%6fne', '/v3'],
      ['/own//one', '/v3'],
      ['/else', '/'],
      ['/%65lse?q', '/?q'],
      ['/elsewhere', '/elsewhere'],
    ] as const) {
      assert.equal(await ask(front, path), '200', path)
      assert.equal((await backend.nextRequest()).path, sent, path)
    }
    assert.equal(await ask(front, '/api%2fx'), '400')
    assert.equal(await ask(front, '/else%2fx'), '400')
  })

  test(`${name}: an emptied path adds no slash to that of a backend's URL`, async () => {
    await using backend = await mockBackend()
    for (const base of ['/v1', '/v1/', '/v1//']) {
      await using front = await run({ target: backend.url + base, routes: [{}, { path: '/api', stripPrefix: '/api' }] })
      for (const [path, sent] of [
        ['/api', '/v1'],
        ['/api?q', '/v1?q'],
        ['/api/', '/v1/'],
        ['/api/x', '/v1/x'],
        ['/', '/v1/'],
        ['/?q', '/v1/?q'],
        ['OPTIONS *', '*'],
      ] as const) {
        assert.equal(await ask(front, path), '200', path)
        assert.equal((await backend.nextRequest()).path, sent, path)
      }
    }
  })
}

test('middleware refuses an ambiguous path only if a reading matches a route', async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url, routes: [{ path: '/api' }] }, (proxy) => {
    const ours = proxy.middleware()
    return http.createServer((req, res) => void ours(req, res, () => res.writeHead(418).end()))
  })
  for (const [path, status] of [
    ['/files/a%2fb', '418'],
    ['/100%', '418'],
    ['/apix%2fb', '418'],
    ['/%61pi/x', '200'],
    ['//api', '200'],
    ['/api%2fx', '400'],
    ['/x/..%2fapi', '400'],
    ['/api/%c0%af', '400'],
  ] as const) {
    assert.equal(await ask(front, path), status, path)
  }
})

test('with a fallback both fronts match the same paths', async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({ target: backend.url, routes: [{ path: '/api' }], drainTimeoutMs: 100 })
  const fallback = http.createServer((_req, res) => res.writeHead(418).end())
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1', fallback })
  for (const more of ['', 'Max-Forwards: 3\r\n']) {
    for (const [path, status] of [
      ['/files/a%2fb', '418'],
      ['/%61pi/x', '200'],
      ['//api', '200'],
      ['/x/%2e%2e/api', '200'],
      ['/api%2fx', '400'],
      ['/x/..%2fapi', '400'],
    ] as const) {
      assert.equal(await ask({ port }, path, more), status, `${path} ${more}`)
    }
  }
})

test('several proxies on one server each take the upgrades of their paths', async () => {
  await using one = await upgradeBackend()
  await using two = await upgradeBackend()
  const server = http.createServer()
  const proxies = [
    createProxy({ target: one.url, routes: [{ path: '/one' }], drainTimeoutMs: 100 }).attach(server),
    createProxy({ target: two.url, routes: [{ path: '/two' }], drainTimeoutMs: 100 }).attach(server),
  ]
  const port = await listening(server)
  try {
    for (const path of ['/%6fne', '//two', '/two/../one'])
      assert.match((await converse(port, upgradeRequest({ path }))).text, /^HTTP\/1\.1 101 /, path)
    assert.deepEqual([one.heads.length, two.heads.length], [2, 1])
    assert.match((await converse(port, upgradeRequest({ path: '/x/..%2ftwo' }))).text, /^HTTP\/1\.1 400 /)
  } finally {
    server.close()
    await Promise.all(proxies.map((proxy) => proxy.close()))
    server.closeAllConnections()
  }
})

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: an exchange has the path as routes have read it, before their transforms`, {
    skip: inHttp2(name, 'its :path is never a URL with a host'),
  }, async () => {
    await using backend = await mockBackend()
    const seen: string[] = []
    const looks: Interceptor = {
      name: 'looks',
      wrap: (next) => (exchange, request, body, sink) => {
        seen.push(exchange.path)
        next(exchange, request, body, sink)
      },
    }
    const routes: RouteOptions[] = [{ path: '/api', transforms: [stripPrefix('/api')], interceptors: [looks] }]
    await using front = await run({ target: backend.url, routing: { encodedSlashes: 'decode' }, routes })
    const targets = ['/api/a?b=/../c', '/api/x/../y', '/api%2Fz', 'GET http://other/api/%2e/q']
    for (const target of targets) assert.equal(await ask(front, target), '200', target)
    assert.deepEqual(seen, ['/api/a?b=/../c', '/api/y', '/api/z', '/api/q'])
    assert.deepEqual(
      backend.requests.map(({ path }) => path),
      ['/a?b=/../c', '/y', '/z', '/q'],
    )
  })
}
