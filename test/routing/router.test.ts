import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createRouter, type RouteRule } from '../../src/routing/router.ts'
import { parseTarget } from '../../src/routing/target.ts'

interface TestRoute extends RouteRule {
  readonly group: string
}

function route(group: string, match: Partial<RouteRule>): TestRoute {
  return { host: '', path: '/', exact: false, methods: [], ...match, group }
}

function matcher(...routes: TestRoute[]): (method: string, host: string, path: string) => string | undefined {
  const router = createRouter(routes)
  return (method, host, path) => router.match(method, host, path)?.group
}

test('an exact host wins over the longest wildcard, and that over any host', () => {
  const match = matcher(
    route('any', {}),
    route('wild', { host: '*.example.com' }),
    route('longer', { host: '*.eu.example.com' }),
    route('exact', { host: 'a.eu.example.com' }),
  )
  assert.equal(match('GET', 'a.eu.example.com', '/'), 'exact')
  assert.equal(match('GET', 'b.eu.example.com', '/'), 'longer')
  assert.equal(match('GET', 'x.y.eu.example.com', '/'), 'longer')
  assert.equal(match('GET', 'a.example.com', '/'), 'wild')
  assert.equal(match('GET', 'example.com', '/'), 'any')
  assert.equal(match('GET', '', '/'), 'any')
})

test('a host is compared without regard to case, port and trailing dot', () => {
  const match = matcher(route('it', { host: 'example.com' }), route('six', { host: '[::1]' }))
  for (const host of ['example.com', 'EXAMPLE.com:8080', 'example.com.', 'example.com.:80']) {
    assert.equal(match('GET', host, '/'), 'it', host)
  }
  assert.equal(match('GET', '[::1]:8080', '/'), 'six')
  assert.equal(match('GET', 'example.org', '/'), undefined)
})

test('a host is found in any spelling', () => {
  const match = matcher(
    route('admin', { host: 'admin.example' }),
    route('below', { host: '*.example.com' }),
    route('four', { host: '127.0.0.1' }),
    route('six', { host: '[::1]' }),
    route('any', {}),
  )
  for (const [host, group] of [
    ['adm%69n.example', 'admin'],
    ['%41dmin.example:80', 'admin'],
    ['admin.example%2e', 'admin'],
    ['ad%C2%ADmin.example', 'admin'],
    ['%78.example.com', 'below'],
    ['x%2eexample.com', 'below'],
    ['[0:0::0001]:8080', 'six'],
    ['[0:0:0:0:0:0:0:1]', 'six'],
    ['127.1', 'four'],
    ['0x7F.0.0.1:80', 'four'],
    ['2130706433', 'four'],
    ['127.0.0.1.', 'four'],
    ['1.2.3.4.5', 'any'],
    ['a%2fadmin.example', 'any'],
    ['%zz', 'any'],
    ['%', 'any'],
  ] as const) {
    assert.equal(match('GET', host, '/'), group, host)
  }
})

test('a whole path wins over the longest prefix; prefixes are whole segments', () => {
  const match = matcher(
    route('root', { path: '/' }),
    route('api', { path: '/api' }),
    route('v1', { path: '/api/v1/' }),
    route('exact', { path: '/api/v1', exact: true }),
  )
  assert.equal(match('GET', '', '/api/v1'), 'exact')
  assert.equal(match('GET', '', '/api/v1/x'), 'v1')
  assert.equal(match('GET', '', '/api/v1x'), 'api')
  assert.equal(match('GET', '', '/api'), 'api')
  assert.equal(match('GET', '', '/api/'), 'api')
  assert.equal(match('GET', '', '/apix'), 'root')
  assert.equal(match('GET', '', '/'), 'root')
})

test('a route with methods wins over one without; else the next best path', () => {
  const match = matcher(
    route('any', { path: '/a' }),
    route('post', { path: '/a', methods: ['POST'] }),
    route('only-get', { path: '/a/b', methods: ['GET'] }),
  )
  assert.equal(match('POST', '', '/a'), 'post')
  assert.equal(match('GET', '', '/a'), 'any')
  assert.equal(match('GET', '', '/a/b'), 'only-get')
  assert.equal(match('POST', '', '/a/b'), 'post')
})

test('a host whose paths do not match falls back to the next best host', () => {
  const match = matcher(route('host', { host: 'example.com', path: '/only' }), route('any', { path: '/' }))
  assert.equal(match('GET', 'example.com', '/only'), 'host')
  assert.equal(match('GET', 'example.com', '/else'), 'any')
})

test('of two equal routes the first one wins', () => {
  assert.equal(matcher(route('first', {}), route('second', {}))('GET', '', '/'), 'first')
})

test('any of ten thousand routes is found by few look-ups', () => {
  const routes = Array.from({ length: 10_000 }, (_, i) =>
    route(`g${i}`, { host: `h${i % 100}.example`, path: `/p${i}` }),
  )
  const match = matcher(...routes)
  for (const i of [0, 4321, 9999]) assert.equal(match('GET', `h${i % 100}.example`, `/p${i}/deep/er`), `g${i}`)
  assert.equal(match('GET', 'h1.example', '/p2'), undefined)
})

test('a request target: origin form, absolute form, and * for OPTIONS alone', () => {
  assert.deepEqual(parseTarget('GET', '/a?b'), { path: '/a?b', host: null })
  assert.deepEqual(parseTarget('GET', 'http://example.com:80/a?b'), { path: '/a?b', host: 'example.com:80' })
  assert.deepEqual(parseTarget('GET', 'HTTP://example.com?b'), { path: '/?b', host: 'example.com' })
  assert.deepEqual(parseTarget('OPTIONS', '*'), { path: '*', host: null })
  for (const target of ['*', 'a', 'ftp://x/', 'http://user@x/', 'http:///x', '\\x']) {
    assert.equal(parseTarget('GET', target), null, target)
  }
})

test('look-ups for a long path are bounded by the lengths of prefixes', (t) => {
  const match = matcher(route('root', {}), route('b', { path: '/a/b' }), route('c', { path: '/a/b/c/d' }))
  const get = t.mock.method(Map.prototype, 'get')
  assert.equal(match('GET', '', '/a'.repeat(4000)), 'root')
  assert.ok(get.mock.callCount() <= 5, `${get.mock.callCount()} look-ups`)
  get.mock.restore()
  assert.equal(match('GET', '', `/a/b${'/x'.repeat(4000)}`), 'b')
  assert.equal(match('GET', '', `/a/b/c/d${'/x'.repeat(4000)}`), 'c')
  assert.equal(match('GET', '', `/a/b/c/dx${'/x'.repeat(4000)}`), 'b')
  assert.equal(match('GET', '', `/${'x'.repeat(8000)}`), 'root')
})
