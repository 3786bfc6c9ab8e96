import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RouteOptions } from '../../src/index.ts'
import { mockBackend, neverAnswer } from '../../src/testing/index.ts'
import { converse } from '../support/raw-client.ts'
import { type RunningProxy, runProxy } from '../support/running-proxy.ts'

const NAMES = ['a', 'b', 'c', 'd'] as const

/** A proxy with groups a to d on one backend. */
async function withRoutes(url: string, routes: RouteOptions[]): Promise<RunningProxy> {
  return runProxy({ groups: Object.fromEntries(NAMES.map((name) => [name, { target: url }])), routes })
}

/** The group that answers, or the status where none does. */
async function groupOf(front: RunningProxy, line: string, host = 'x'): Promise<string> {
  const { text } = await converse(front.port, `${line} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
  const { group } = await front.nextRecord()
  return text.startsWith('HTTP/1.1 200') ? group : (text.split(' ')[1] as string)
}

async function check(routes: RouteOptions[], expected: [line: string, host: string, group: string][]): Promise<void> {
  await using backend = await mockBackend()
  await using front = await withRoutes(backend.url, routes)
  for (const [line, host, group] of expected) assert.equal(await groupOf(front, line, host), group, `${line} ${host}`)
}

test('a host matches exactly, without regard to case, port and a trailing dot', () =>
  check(
    [{ host: 'One.example', group: 'a' }],
    [
      ['GET /', 'one.example', 'a'],
      ['GET /', 'ONE.example:8080', 'a'],
      ['GET /', 'one.example.', 'a'],
      ['GET /', 'two.example', '404'],
      ['GET /', 'x.one.example', '404'],
    ],
  ))

test('a wildcard host matches any name below it, not itself', () =>
  check(
    [{ host: '*.example.com', group: 'a' }],
    [
      ['GET /', 'x.example.com', 'a'],
      ['GET /', 'x.y.example.com', 'a'],
      ['GET /', 'example.com', '404'],
      ['GET /', 'badexample.com', '404'],
    ],
  ))

test('exact hosts win over wildcards, longer wildcards over shorter ones', () =>
  check(
    [
      { group: 'd' },
      { host: '*.example.com', group: 'c' },
      { host: '*.y.example.com', group: 'b' },
      { host: 'x.y.example.com', group: 'a' },
    ],
    [
      ['GET /', 'x.y.example.com', 'a'],
      ['GET /', 'z.y.example.com', 'b'],
      ['GET /', 'y.example.com', 'c'],
      ['GET /', 'elsewhere', 'd'],
    ],
  ))

test('a path prefix matches whole segments', () =>
  check(
    [{ path: '/api', group: 'a' }],
    [
      ['GET /api', 'x', 'a'],
      ['GET /api/', 'x', 'a'],
      ['GET /api/x', 'x', 'a'],
      ['GET /api?q', 'x', 'a'],
      ['GET /apix', 'x', '404'],
      ['GET /API', 'x', '404'],
      ['GET /', 'x', '404'],
    ],
  ))

test('an exact path matches the whole path, whatever the query', () =>
  check(
    [{ path: '/api', exact: true, group: 'a' }],
    [
      ['GET /api', 'x', 'a'],
      ['GET /api?q=/x', 'x', 'a'],
      ['GET /api/', 'x', '404'],
      ['GET /api/x', 'x', '404'],
    ],
  ))

test('the longest path wins in any order, an exact one before any prefix', () =>
  check(
    [
      { group: 'd' },
      { path: '/a', group: 'c' },
      { path: '/a/b/c', group: 'b' },
      { path: '/a/b/c', exact: true, group: 'a' },
    ],
    [
      ['GET /a/b/c', 'x', 'a'],
      ['GET /a/b/c/d', 'x', 'b'],
      ['GET /a/b', 'x', 'c'],
      ['GET /b', 'x', 'd'],
    ],
  ))

test('a route with methods matches those; others use the next best route', () =>
  check(
    [
      { path: '/x', group: 'b' },
      { path: '/x', method: ['post', 'PUT'], group: 'a' },
      { path: '/only', method: 'GET', group: 'c' },
    ],
    [
      ['PUT /x', 'x', 'a'],
      ['GET /x', 'x', 'b'],
      ['GET /only', 'x', 'c'],
      ['DELETE /only', 'x', '404'],
    ],
  ))

test('a host whose paths do not match falls back to the next best host', () =>
  check(
    [{ host: 'one.example', path: '/a', group: 'a' }, { group: 'b' }],
    [
      ['GET /a', 'one.example', 'a'],
      ['GET /b', 'one.example', 'b'],
    ],
  ))

test('an unmatched request gets 404 ERR_PROXY_NO_ROUTE', async () => {
  await using backend = await mockBackend()
  await using front = await withRoutes(backend.url, [{ path: '/api', group: 'a' }])
  const response = await fetch(`${front.url}/other`)
  assert.equal(response.status, 404)
  assert.equal(await response.text(), '404 Not Found (ERR_PROXY_NO_ROUTE)\n')
  const record = await front.nextRecord()
  assert.equal(record.outcome, 'local')
  assert.equal(record.attempts, 0)
  assert.equal(front.errors[0]?.phase, 'route')
  assert.equal(front.errors[0]?.side, 'proxy')
  assert.equal(backend.connections, 0)
})

test('prefixes are stripped and added', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({
    target: backend.url,
    routes: [
      { path: '/api', stripPrefix: '/api', addPrefix: '/v2' },
      { path: '/strip', stripPrefix: '/strip' },
      { addPrefix: '/added' },
    ],
  })
  for (const [path, expected] of [
    ['/api/x?q=1', '/v2/x?q=1'],
    ['/strip', '/'],
    ['/strip?q', '/?q'],
    ['/strip/x', '/x'],
    ['/else', '/added/else'],
  ]) {
    await (await fetch(front.url + path)).text()
    assert.equal((await backend.nextRequest()).path, expected)
  }
})

test('headers are set and removed both ways', async () => {
  await using backend = await mockBackend({ headers: ['Server', 'theirs', 'X-Keep', '1', 'X-Was', 'old'], body: 'x' })
  await using front = await runProxy({
    target: backend.url,
    routes: [
      {
        requestHeaders: { set: { 'X-Key': 'k', 'User-Agent': 'us' }, remove: ['Cookie'] },
        responseHeaders: { set: { 'X-Was': 'new' }, remove: ['server'] },
      },
    ],
  })
  const response = await fetch(front.url, { headers: { Cookie: 'a=1' } })
  const request = await backend.nextRequest()
  assert.equal(request.header('x-key'), 'k')
  assert.equal(request.header('user-agent'), 'us')
  assert.equal(request.header('cookie'), undefined)
  assert.equal(response.headers.get('server'), null)
  assert.equal(response.headers.get('x-keep'), '1')
  assert.equal(response.headers.get('x-was'), 'new')
})

test("a user's transform changes both heads, and gets the exchange", async () => {
  await using backend = await mockBackend({ status: 200, body: 'x' })
  await using front = await runProxy({
    target: backend.url,
    routes: [
      {
        path: '/t',
        stripPrefix: '/t',
        transforms: [
          {
            name: 'mine',
            request(request, exchange) {
              request.path = `/mine${request.path}`
              request.headers.append('X-Id', `${exchange.id}`)
              request.headers.set('Host', 'set.example')
            },
            response(response) {
              response.status = 202
              response.headers.append('X-Two', '1')
              response.headers.append('X-Two', '2')
            },
          },
        ],
      },
    ],
  })
  const response = await fetch(`${front.url}/t/x`)
  assert.equal(response.status, 202)
  assert.equal(response.headers.get('x-two'), '1, 2')
  const request = await backend.nextRequest()
  assert.equal(request.path, '/mine/x')
  assert.equal(request.header('x-id'), '1')
  assert.equal(request.header('host'), 'set.example')
  assert.equal((await front.nextRecord()).status, 202)
})

test('a route has limits of its own', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({
    target: backend.url,
    retry: false,
    routes: [{}, { path: '/quick', timeouts: { headers: 40 } }],
  })
  assert.equal((await fetch(`${front.url}/quick`)).status, 504)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HEADERS_TIMEOUT')
})

test('a group has limits of its own', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({
    groups: { quick: { target: backend.url, timeouts: { headers: 40 }, retry: false } },
    routes: [{ group: 'quick' }],
  })
  assert.equal((await fetch(front.url)).status, 504)
})
