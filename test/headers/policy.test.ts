import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProxyOptions } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockAnswer, MockRequest } from '../../src/testing/mock-script.ts'
import { converse } from '../support/raw-client.ts'
import { runProxy } from '../support/running-proxy.ts'

interface Passed {
  readonly request: MockRequest
  readonly response: string
  readonly clientAddress: string
  readonly frontPort: number
  readonly backendPort: number
}

/** Sends a request with `lines` through a proxy with `options`. */
async function pass(
  lines: string[],
  options: ProxyOptions = {},
  { path = '/p', base = '', answer = {} as MockAnswer } = {},
): Promise<Passed> {
  await using backend = await mockBackend(answer)
  await using front = await runProxy({ target: backend.url + base, ...options })
  const { text } = await converse(
    front.port,
    [
      `GET ${path} HTTP/1.1`,
      ...lines,
      ...(lines.some((line) => /^connection:/i.test(line)) ? [] : ['Connection: close']),
      '',
      '',
    ].join('\r\n'),
  )
  const { clientAddress } = await front.nextRecord()
  return {
    request: await backend.nextRequest(),
    response: text,
    clientAddress,
    frontPort: front.port,
    backendPort: backend.port,
  }
}

test('hop-by-hop headers of a request are not passed on', async () => {
  const { request } = await pass([
    'Host: a',
    'Keep-Alive: timeout=5',
    'Proxy-Connection: close',
    'Proxy-Authorization: Basic eDp5',
    'Proxy-Authenticate: Basic',
    'TE: deflate',
    'Upgrade: h2c',
    'X-Mine: 1',
  ])
  assert.deepEqual(
    request.headers.filter((_, i) => i % 2 === 0),
    ['Host', 'X-Mine', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Forwarded-Port'],
  )
})

test('headers that Connection nominates are not passed on', async () => {
  const { request } = await pass(['Host: a', 'Connection: close, X-One, x-two', 'X-One: 1', 'X-Two: 2', 'X-Three: 3'])
  assert.equal(request.header('x-one'), undefined)
  assert.equal(request.header('x-two'), undefined)
  assert.equal(request.header('x-three'), '3')
})

test('a client cannot nominate headers that the backend must get', async () => {
  const { request } = await pass(
    [
      'Host: a',
      'Connection: close, Host, Cookie, Authorization, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, Via, Content-Length',
      'Cookie: c=1',
      'Authorization: Basic eDp5',
    ],
    { via: 'me' },
  )
  for (const name of [
    'Host',
    'Cookie',
    'Authorization',
    'X-Forwarded-For',
    'X-Forwarded-Proto',
    'X-Forwarded-Host',
    'X-Forwarded-Port',
    'Via',
  ]) {
    assert.notEqual(request.header(name), undefined, name)
  }
})

test('hop-by-hop and nominated headers of a response are not passed on', async () => {
  const { response } = await pass(
    ['Host: a'],
    {},
    {
      answer: {
        headers: [
          'Connection',
          'keep-alive, X-Private',
          'Keep-Alive',
          'timeout=7',
          'Proxy-Connection',
          'x',
          'X-Private',
          '1',
          'X-Public',
          '2',
          'Upgrade',
          'h2c',
          'Set-Cookie',
          'a=1',
        ],
        body: 'x',
      },
    },
  )
  assert.doesNotMatch(response, /X-Private|timeout=7|Proxy-Connection|h2c/i)
  assert.match(response, /X-Public: 2\r\nSet-Cookie: a=1/)
})

test('a response cannot nominate Set-Cookie or Content-Length', async () => {
  const { response } = await pass(
    ['Host: a'],
    {},
    { answer: { headers: ['Connection', 'Set-Cookie, Content-Length', 'Set-Cookie', 'a=1'], body: 'x' } },
  )
  assert.match(response, /Set-Cookie: a=1\r\n/)
  assert.match(response, /Content-Length: 1\r\n/)
})

test('X-Forwarded-* are set, whatever the client sends', async () => {
  const { request, clientAddress, frontPort } = await pass([
    'Host: a.example:81',
    'X-Forwarded-For: 1.2.3.4',
    'X-Forwarded-Proto: https',
    'X-Forwarded-Host: evil.example',
    'X-Forwarded-Port: 1',
    'Forwarded: for=1.2.3.4',
  ])
  assert.equal(request.header('x-forwarded-for'), '127.0.0.1')
  assert.equal(request.header('x-forwarded-proto'), 'http')
  assert.equal(request.header('x-forwarded-host'), 'a.example:81')
  assert.equal(request.header('x-forwarded-port'), String(frontPort))
  assert.equal(request.header('forwarded'), undefined)
  assert.equal(clientAddress, '127.0.0.1')
  assert.equal(request.rawHead.match(/x-forwarded-for/gi)?.length, 1)
})

test('X-Forwarded-* of a trusted proxy are extended', async () => {
  const { request, clientAddress } = await pass(
    [
      'Host: inner',
      'X-Forwarded-For: 1.2.3.4, 198.51.100.7',
      'X-Forwarded-For: 10.0.0.9',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: outer.example',
      'X-Forwarded-Port: 443',
      'Forwarded: for=198.51.100.7',
    ],
    { trustedProxies: ['127.0.0.0/8', '10.0.0.0/8'] },
  )
  assert.equal(request.header('x-forwarded-for'), '1.2.3.4, 198.51.100.7, 10.0.0.9, 127.0.0.1')
  assert.equal(request.header('x-forwarded-proto'), 'https')
  assert.equal(request.header('x-forwarded-host'), 'outer.example')
  assert.equal(request.header('x-forwarded-port'), '443')
  assert.equal(request.header('forwarded'), 'for=198.51.100.7')
  // The last address that is no proxy of ours; what stands before it may be anybody's invention.
  assert.equal(clientAddress, '198.51.100.7')
})

test('a peer that is not among the trusted proxies is not believed', async () => {
  const { request, clientAddress } = await pass(['Host: a', 'X-Forwarded-For: 1.2.3.4'], {
    trustedProxies: ['10.0.0.0/8'],
  })
  assert.equal(request.header('x-forwarded-for'), '127.0.0.1')
  assert.equal(clientAddress, '127.0.0.1')
})

test('xfwd: false passes on no X-Forwarded-*', async () => {
  const { request } = await pass(['Host: a', 'X-Forwarded-For: 1.2.3.4', 'X-Forwarded-Proto: https'], { xfwd: false })
  assert.doesNotMatch(request.rawHead, /x-forwarded/i)
})

test('with a name Via is extended both ways', async () => {
  const { request, response } = await pass(
    ['Host: a', 'Via: 1.0 first'],
    { via: 'me' },
    { answer: { headers: ['Via', '1.1 theirs'], body: 'x' } },
  )
  assert.equal(request.header('via'), '1.0 first, 1.1 me')
  assert.deepEqual(response.match(/^Via: .*$/gm), ['Via: 1.1 theirs', 'Via: 1.1 me'])
})

test('without a name Via is only passed on', async () => {
  const { request, response } = await pass(['Host: a', 'Via: 1.0 first'])
  assert.equal(request.header('via'), '1.0 first')
  assert.doesNotMatch(response, /^Via/im)
})

test("the client's Host reaches the backend", async () => {
  const { request } = await pass(['Host: a.example'])
  assert.equal(request.header('host'), 'a.example')
})

test('hostHeader: backend sends the backend its own host', async () => {
  const { request, backendPort } = await pass(['Host: a.example'], { hostHeader: 'backend' })
  assert.equal(request.header('host'), `127.0.0.1:${backendPort}`)
  assert.equal(request.header('x-forwarded-host'), 'a.example')
  assert.equal(request.rawHead.match(/^host:/gim)?.length, 1)
})

test("an HTTP/1.0 request without Host gets the backend's", async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  await converse(front.port, 'GET / HTTP/1.0\r\n\r\n')
  const request = await backend.nextRequest()
  assert.equal(request.header('host'), `127.0.0.1:${backend.port}`)
  assert.equal(request.version, '1.1')
})

test("the path of a backend's URL is put before each request's", async () => {
  const { request } = await pass(['Host: a'], {}, { base: '/base/', path: '/p?q=1' })
  assert.equal(request.path, '/base/p?q=1')
})

test("dot segments do not lead out of the path of a backend's URL", async () => {
  const { request } = await pass(['Host: a'], {}, { base: '/base', path: '/x/../../admin?q=/../' })
  assert.equal(request.path, '/base/admin?q=/../')
})

test('an absolute-form target is sent in origin form, and its host counts', async () => {
  const { request } = await pass(['Host: evil.example'], {}, { path: 'http://real.example/p?q' })
  assert.equal(request.path, '/p?q')
  assert.equal(request.header('host'), 'real.example')
  assert.equal(request.header('x-forwarded-host'), 'real.example')
})

test('OPTIONS * is passed on as it is', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: `${backend.url}/base` })
  await converse(front.port, 'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.equal((await backend.nextRequest()).path, '*')
})

test('without path routes a path is passed on as received', async () => {
  const { request } = await pass(['Host: a'], {}, { path: '/a/./b/../%2e%2e/c//d?e=../f' })
  assert.equal(request.path, '/a/./b/../%2e%2e/c//d?e=../f')
})

for (const [path, expected] of [
  ['/public/../admin', '/admin'],
  ['/public/%2e%2E/admin?x', '/admin?x'],
  ['/public/./x', '/public/x'],
  ['/../../admin', '/admin'],
  ['/public/..', '/'],
] as const) {
  test(`with path routes ${path} is routed and sent as ${expected}`, async () => {
    await using backend = await mockBackend()
    await using front = await runProxy({
      groups: { public: { target: backend.url }, rest: { target: backend.url } },
      routes: [{ path: '/public', group: 'public' }, { group: 'rest' }],
    })
    await converse(front.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    assert.equal((await backend.nextRequest()).path, expected)
    assert.equal((await front.nextRecord()).group, expected.startsWith('/public') ? 'public' : 'rest')
  })
}

test('POST without a body has Content-Length: 0', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  await (await fetch(front.url, { method: 'POST' })).text()
  assert.equal((await backend.nextRequest()).header('content-length'), '0')
})

test('the body of a DELETE or GET is framed, so no request can hide in it', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  for (const method of ['DELETE', 'GET', 'OPTIONS']) {
    const { text } = await converse(
      front.port,
      `${method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nGET /\r\n0\r\n\r\n`,
    )
    assert.match(text, /^HTTP\/1\.1 200 /)
    const request = await backend.nextRequest()
    assert.equal(request.method, method)
    assert.equal(request.bodyText, 'GET /')
    assert.equal(request.header('content-length'), undefined)
  }
  assert.deepEqual(backend.faults, [])
  assert.equal(backend.requests.length, 3)
})

test('trailers cannot add framing, routing or forwarding headers', async () => {
  await using backend = await mockBackend({
    chunks: ['x'],
    trailers: [
      'X-Sum',
      '1',
      'Content-Length',
      '5',
      'Transfer-Encoding',
      'chunked',
      'Set-Cookie',
      'a=1',
      'Connection',
      'x',
    ],
  })
  await using front = await runProxy({ target: backend.url })
  const { text } = await converse(
    front.port,
    'POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\nTransfer-Encoding: chunked\r\n\r\n' +
      '1\r\nx\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 1.2.3.4\r\nHost: b\r\nConnection: close\r\nAuthorization: x\r\nCookie: a\r\n\r\n',
  )
  assert.deepEqual((await backend.nextRequest()).trailers, ['X-Sum', '1'])
  assert.match(text, /\r\n0\r\nX-Sum: 1\r\n\r\n$/)
})

test('trailers that Connection nominates are not passed on', async () => {
  await using backend = await mockBackend({
    headers: ['Connection', 'X-Hop'],
    chunks: ['x'],
    trailers: ['X-Hop', '1', 'X-Sum', '2'],
  })
  await using front = await runProxy({ target: backend.url })
  const { text } = await converse(
    front.port,
    'POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE, X-Mine\r\nTransfer-Encoding: chunked\r\n\r\n' +
      '1\r\nx\r\n0\r\nX-Mine: 1\r\nX-Sum: 1\r\n\r\n',
  )
  assert.deepEqual((await backend.nextRequest()).trailers, ['X-Sum', '1'])
  assert.match(text, /\r\n0\r\nX-Sum: 2\r\n\r\n$/)
})

test('dot segments do not lead out of an added prefix', async () => {
  const { request } = await pass(['Host: a'], { routes: [{ addPrefix: '/tenant' }] }, { path: '/x/../../admin' })
  assert.equal(request.path, '/tenant/admin')
})
