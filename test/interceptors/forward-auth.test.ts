import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { type ForwardAuthOptions, forwardAuth } from '../../src/index.ts'
import {
  deadPort,
  type MockReply,
  type MockRequest,
  type MockScript,
  manualClock,
  mockBackend,
} from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { MIB, randomBytes } from '../support/bytes.ts'
import { certificate, key } from '../support/certificates.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, inHttp2, rounds, runInServer, runProxy } from '../support/running-proxy.ts'

/** A service, and the guard that asks it. */
async function serviceWith(script: MockScript, more: Partial<ForwardAuthOptions> = {}, path = '/verify') {
  const service = await mockBackend(script)
  return {
    service,
    guard: forwardAuth({ url: service.url + path, ...more }),
    [Symbol.asyncDispose]: () => service.close(),
  }
}

const valuesOf = ({ headers }: MockRequest, name: string): string[] =>
  headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name.toLowerCase())

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: the service is asked without the body, and told of the request as the proxy has read it`, {
    skip: inHttp2(name, 'cookies are joined'),
  }, async () => {
    await using backend = await mockBackend()
    await using auth = await serviceWith({ status: 204 }, {}, '/verify/?realm=a%20b')
    await using front = await run(through(backend, [auth.guard]))
    const { text } = await converse(
      front.port,
      [
        'POST /public/../admin?q=/../x HTTP/1.1',
        'Host: app.example',
        'Content-Length: 5',
        'Expect: 100-continue',
        'Cookie: a=1',
        'Cookie: b=2',
        'Authorization: Bearer x',
        'If-None-Match: "1"',
        'X-Other: secret',
        'X-Forwarded-For: 10.0.0.1',
        'X-Forwarded-Host: other.example',
        'X-Forwarded-Proto: https',
        'X-Forwarded-Method: GET',
        'X-Forwarded-Uri: /public',
        'X_Forwarded_Uri: /public',
        'X-Original-URL: /public',
        'Forwarded: for=10.0.0.1',
        'Connection: close',
        '',
        'hello',
      ].join('\r\n'),
    )
    assert.match(text, /POST \/(?:public\/\.\.\/)?admin/)
    const asked = await auth.service.nextRequest()
    assert.deepEqual([asked.method, asked.path, asked.bodyText], ['GET', '/verify/?realm=a%20b', ''])
    assert.deepEqual(asked.headers, [
      ...['Host', new URL(auth.service.url).host],
      ...['X-Forwarded-Method', 'POST', 'X-Forwarded-Uri', '/admin?q=/../x', 'X-Forwarded-Host', 'app.example'],
      ...['X-Forwarded-Proto', 'http', 'X-Forwarded-For', '127.0.0.1'],
      ...['Authorization', 'Bearer x', 'Cookie', 'a=1', 'Cookie', 'b=2'],
      ...['Connection', 'keep-alive'],
    ])
    assert.equal((await backend.nextRequest()).bodyText, 'hello')
    assert.deepEqual(auth.service.faults, [])
  })

  test(`${name}: the backend gets the listed headers of the service, and none of the client's by their names`, async () => {
    await using backend = await mockBackend()
    const answers = [
      { headers: ['remote-user', 'alice', 'Remote-Groups', 'a', 'Remote-Groups', 'b', 'X-Else', '1'], body: 'fine' },
      { status: 204 },
    ]
    await using auth = await serviceWith(answers, { requestHeaders: ['Remote-User', 'Remote-Groups'] })
    await using front = await run(through(backend, [auth.guard]))
    const headers = { 'Remote-User': 'eve', Remote_User: 'eve', 'remote-groups': 'admin', 'X-Client': '1' }
    for (const [user, groups] of [
      [['alice'], ['a', 'b']],
      [[], []],
    ] as const) {
      assert.equal(await (await fetch(front.url, { headers })).text(), 'GET /')
      const request = await backend.nextRequest()
      assert.deepEqual(valuesOf(request, 'Remote-User'), user)
      assert.deepEqual(valuesOf(request, 'Remote-Groups'), groups)
      assert.deepEqual(valuesOf(request, 'Remote_User'), [])
      assert.deepEqual(valuesOf(request, 'X-Else'), [])
      assert.deepEqual(valuesOf(request, 'X-Client'), ['1'])
    }
  })

  test(`${name}: a client cannot send the headers of the service as trailers`, async () => {
    await using backend = await mockBackend()
    await using auth = await serviceWith({ status: 204 }, { requestHeaders: ['Remote-User'] })
    await using front = await run(through(backend, [auth.guard]))
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n'
    await converse(front.port, `${head}5\r\nhello\r\n0\r\nRemote-User: eve\r\n\r\n`)
    const request = await backend.nextRequest()
    assert.deepEqual([request.bodyText, request.trailers], ['hello', null])
  })

  test(`${name}: the client gets the listed headers of the service, beside the backend's cookies`, async () => {
    await using backend = await mockBackend({
      headers: ['Set-Cookie', 'app=1', 'X-Quota', '9', 'X-Mine', '1'],
      body: 'x',
    })
    const headers = ['Set-Cookie', 'sid=2', 'Set-Cookie', 'seen=3', 'X-Quota', '5', 'X-Else', '1']
    await using auth = await serviceWith({ headers }, { responseHeaders: ['Set-Cookie', 'X-Quota'] })
    await using front = await run(through(backend, [auth.guard]))
    const response = await fetch(front.url)
    assert.deepEqual(response.headers.getSetCookie(), ['app=1', 'sid=2', 'seen=3'])
    assert.deepEqual(
      ['x-quota', 'x-mine', 'x-else'].map((one) => response.headers.get(one)),
      ['5', '1', null],
    )
  })

  test(`${name}: a refusal goes to the client as it is`, {
    skip: inHttp2(name, 'HTTP/2 has no reason phrase'),
  }, async () => {
    await using backend = await mockBackend()
    await using auth = await serviceWith([
      { status: 401, headers: ['WWW-Authenticate', 'Basic realm="x"', 'Keep-Alive', 'timeout=5'], body: 'who?' },
      { status: 302, headers: ['Location', 'https://login.example/?to=x', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'] },
      { status: 403, reason: 'Nope', chunks: ['not ', 'you'] },
      { status: 401, body: 'who?' },
    ])
    await using front = await run(through(backend, [auth.guard]))
    const refused = await fetch(front.url, { method: 'POST', body: 'x'.repeat(1000) })
    assert.deepEqual([refused.status, await refused.text()], [401, 'who?'])
    assert.equal(refused.headers.get('www-authenticate'), 'Basic realm="x"')
    assert.equal(refused.headers.get('content-length'), '4')
    const moved = await fetch(front.url, { redirect: 'manual' })
    assert.deepEqual([moved.status, moved.headers.get('location')], [302, 'https://login.example/?to=x'])
    assert.deepEqual(moved.headers.getSetCookie(), ['a=1', 'b=2'])
    const nope = await fetch(front.url)
    assert.deepEqual([nope.status, nope.statusText, await nope.text()], [403, 'Nope', 'not you'])
    const { text } = await converse(front.port, 'HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1\.1 401 Unauthorized\r\n(?:.+\r\n)*content-length: 4\r\n(?:.+\r\n)*\r\n$/i)
    for (const status of [401, 302, 403, 401]) {
      const record = await front.nextRecord()
      assert.deepEqual([record.status, record.outcome, record.attempts], [status, 'local', 0])
    }
    assert.equal(backend.requests.length, 0)
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: without a verdict a request is refused`, async () => {
    await using backend = await mockBackend()
    const { url } = await deadPort()
    const scripts: [MockScript | null, RegExp][] = [
      [null, /no verdict from http:\/\/127\.0\.0\.1:\d+\/verify: connect ECONNREFUSED/],
      [{ status: 500 }, /it responded with 500/],
      [{ status: 503, headers: ['Retry-After', '99'] }, /it responded with 503/],
      [(_request, reply) => reply.reset(), /ECONNRESET|socket hang up/],
      [(_request, reply) => reply.abort(), /socket hang up/],
      [(_request, reply) => void reply.raw('garbage\r\n\r\n'), /Parse Error/],
      [
        (_request, reply) =>
          void reply.raw('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'),
        /./,
      ],
      [{ status: 401, headers: ['WWW-Authenticate', 'Negotiate'] }, /it asks for NTLM or Negotiate authentication/],
      [{ status: 200, headers: ['X', 'y'.repeat(100_000)] }, /HPE_HEADER_OVERFLOW/],
    ]
    for (const [script, message] of scripts) {
      await using service = await mockBackend(script ?? {})
      const guard = forwardAuth({ url: `${script === null ? url : service.url}/verify?secret=1` })
      await using front = await run(through(backend, [guard]))
      const response = await fetch(front.url, { method: 'POST', body: 'hello' })
      assert.deepEqual([response.status, response.headers.get('retry-after')], [503, '1'])
      assert.equal(await response.text(), '503 Service Unavailable (ERR_PROXY_AUTH_UNAVAILABLE)\n')
      const record = await front.nextRecord()
      assert.deepEqual([record.errorCode, record.outcome, record.attempts], ['ERR_PROXY_AUTH_UNAVAILABLE', 'local', 0])
      const [error] = front.errors
      assert.match(error?.message ?? '', message)
      assert.deepEqual([error?.side, error?.phase], ['proxy', 'intercept'])
      assert.doesNotMatch(error?.message ?? '', /secret/)
    }
    assert.equal(backend.requests.length, 0)
  })

  test(`${name}: the body of a refusal is passed on at the client's pace, and a truncated one is truncated`, async () => {
    await using backend = await mockBackend()
    const piece = randomBytes(64 * 1024)
    let sent = 0
    const total = 64 * MIB
    await using auth = await serviceWith([
      async (_request, reply) => {
        reply.head({ status: 403 })
        while (sent < total && !reply.isClosed) {
          sent += piece.length
          if (!reply.chunk(piece)) await reply.drained()
        }
        reply.end()
      },
      (_request, reply) => {
        reply.head({ status: 403, headers: ['Content-Length', '100'] })
        reply.chunk('some')
        reply.abort()
      },
      (_request, reply) => {
        reply.head({ status: 403 })
        reply.chunk('some')
        reply.reset()
      },
    ])
    await using front = await run(through(backend, [auth.guard]))
    const client = rawClient(front.port)
    client.socket.removeAllListeners('data').pause()
    client.write('GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    for (let last = -1, same = 0; same < 20; last = sent) {
      await rounds(50)
      same = sent === last && sent > 0 ? same + 1 : 0
    }
    assert.ok(sent < 24 * MIB, `${sent} bytes were taken`)
    client.socket.resume()
    await client.ended
    assert.equal((await front.nextRecord()).responseBytes, total)
    for (let i = 0; i < 2; i++) {
      const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      assert.match(text, /^HTTP\/1\.1 403 /)
      assert.doesNotMatch(text, /\r\n0\r\n\r\n$/)
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_AUTH_UNAVAILABLE'])
    }
  })

  test(`${name}: if the client leaves, the service is not asked any more`, async () => {
    await using backend = await mockBackend()
    const closed = gate()
    const script = async (_request: unknown, reply: MockReply): Promise<void> => {
      await reply.closed
      closed.open()
    }
    await using auth = await serviceWith(script, { timeoutMs: 600_000 })
    await using front = await run(through(backend, [auth.guard]))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await auth.service.nextRequest()
    client.socket.resetAndDestroy()
    await closed.promise
    assert.equal((await front.nextRecord()).outcome, 'aborted')
    assert.deepEqual(
      front.errors.map(({ code }) => code),
      ['ERR_PROXY_CLIENT_GONE'],
    )
    assert.equal(backend.requests.length, 0)
  })

  test(`${name}: WebSocket handshakes are asked for, too`, {
    skip: inHttp2(name, 'there is no upgrade in HTTP/2'),
  }, async () => {
    await using backend = await echoBackend()
    await using auth = await serviceWith(
      [
        { status: 401, headers: ['WWW-Authenticate', 'Bearer'], body: 'who?' },
        { headers: ['Set-Cookie', 'sid=2', 'Remote-User', 'alice'] },
      ],
      { requestHeaders: ['Remote-User'], responseHeaders: ['Set-Cookie'] },
    )
    await using front = await run(through(backend, [auth.guard]))
    const refused = new WebSocket(`${front.url.replace('http', 'ws')}/socket`)
    const [, response] = (await once(refused, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.deepEqual([response.statusCode, response.headers['www-authenticate']], [401, 'Bearer'])
    const asked = await auth.service.nextRequest()
    assert.deepEqual([asked.header('x-forwarded-uri'), asked.header('upgrade')], ['/socket', undefined])
    const socket = new WebSocket(`${front.url.replace('http', 'ws')}/socket`)
    const [[accepted]] = await Promise.all([
      once(socket, 'upgrade') as Promise<[IncomingMessage]>,
      once(socket, 'open'),
    ])
    assert.deepEqual(accepted.headers['set-cookie'], ['sid=2'])
    socket.send('hello')
    assert.equal(String((await once(socket, 'message'))[0]), '/socket: hello')
    socket.terminate()
  })
}

test('a service that is late is not waited for', async () => {
  await using backend = await mockBackend()
  const clock = manualClock()
  await using service = await mockBackend((_request, reply) => void reply.isClosed)
  await using front = await runProxy(through(backend, [forwardAuth({ url: service.url, timeoutMs: 700 }, clock)]))
  const response = fetch(front.url)
  await service.nextRequest()
  clock.advance(699)
  await rounds()
  assert.equal(front.errors.length, 0)
  clock.advance(1)
  assert.equal((await response).status, 503)
  assert.match(front.errors[0]?.message ?? '', /no response within 700 ms/)
  await service.untilOpenConnections(0)
  assert.equal(clock.scheduled, 0)
})

test('the body of a refusal may take longer than the verdict', async () => {
  await using backend = await mockBackend()
  const clock = manualClock()
  const rest = gate()
  await using service = await mockBackend(async (_request, reply) => {
    reply.head({ status: 403 })
    reply.chunk('not ')
    await rest.promise
    reply.chunk('you')
    reply.end()
  })
  await using front = await runProxy(through(backend, [forwardAuth({ url: service.url }, clock)]))
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.until('not ')
  clock.advance(60_000)
  rest.open()
  await client.until('you\r\n0\r\n\r\n')
})

test('a refusal without an end is not read for HEAD', async () => {
  await using backend = await mockBackend()
  await using service = await mockBackend(async (_request, reply) => {
    reply.head({ status: 403 })
    while (!reply.isClosed) if (!reply.chunk('x'.repeat(1000))) await reply.drained()
  })
  await using front = await runProxy(through(backend, [forwardAuth({ url: service.url })]))
  assert.equal((await fetch(front.url, { method: 'HEAD' })).status, 403)
  await service.untilOpenConnections(0)
})

test('a verdict whose body never ends does not hold its connection forever, nor the request', async () => {
  await using backend = await mockBackend()
  const clock = manualClock()
  await using service = await mockBackend((_request, reply) => reply.head({ status: 200 }))
  await using front = await runProxy(through(backend, [forwardAuth({ url: service.url }, clock)]))
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
  assert.equal(service.openConnections, 1)
  clock.advance(1000)
  await service.untilOpenConnections(0)
  assert.equal(clock.scheduled, 0)
  assert.deepEqual(front.errors, [])
})

test('connections to the service are kept, and one that was closed meanwhile costs no request', async () => {
  await using backend = await mockBackend()
  const handled: number[] = []
  await using service = await mockBackend((request, reply) => {
    handled.push(request.connection)
    // It takes a request on a kept connection, and closes it without a response: as if the end had been on its way.
    if (handled.length === 3) reply.reset()
    else reply.send({ body: 'x'.repeat(100_000) })
  })
  await using front = await runProxy(through(backend, [forwardAuth({ url: service.url })]))
  for (let i = 0; i < 4; i++) assert.equal((await fetch(front.url)).status, 200)
  assert.deepEqual(handled.slice(0, 4), [1, 1, 1, 2])
  assert.deepEqual(front.errors, [])
  service.closeIdle()
  assert.equal((await fetch(front.url)).status, 200)
})

test('credentials that authenticate a connection are not sent on a kept one', async () => {
  await using backend = await mockBackend()
  await using auth = await serviceWith({ status: 204 })
  await using front = await runProxy(through(backend, [auth.guard]))
  const ask = async (authorization: string): Promise<number> => {
    const { text } = await converse(
      front.port,
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: ${authorization}\r\n\r\n`,
    )
    assert.match(text, /^HTTP\/1\.1 200 /)
    return (await auth.service.nextRequest()).connection
  }
  const connections: number[] = []
  for (const credentials of ['Basic x', 'Negotiate YII=', 'NTLM TlR=', 'Basic y'])
    connections.push(await ask(credentials))
  assert.deepEqual(connections, [1, 2, 3, 1])
})

test('the service over TLS with its own authority, and on a unix socket', async () => {
  await using backend = await mockBackend()
  await using secure = await mockBackend({ status: 204 }, { tls: { key, cert: certificate } })
  const socketPath = join(tmpdir(), `heddle-forward-auth-${process.pid}`)
  await using local = await mockBackend({ status: 204 }, { socketPath })
  for (const [options, status] of [
    [{ url: `${secure.url}/verify`, tls: { ca: certificate } }, 200],
    [{ url: `${secure.url}/verify` }, 503],
    [{ url: new URL(`${secure.url}/verify`), tls: { rejectUnauthorized: false } }, 200],
    [{ url: `${local.url}:/verify?a=1` }, 200],
  ] as [ForwardAuthOptions, number][]) {
    await using front = await runProxy(through(backend, [forwardAuth(options)]))
    assert.equal((await fetch(front.url)).status, status, String(options.url))
    if (status === 503) assert.match(front.errors[0]?.message ?? '', /certificate|SELF_SIGNED/i)
  }
  const asked = await local.nextRequest()
  assert.deepEqual([asked.path, asked.header('host')], ['/verify?a=1', 'localhost'])
})

test('what the proxy has not verified is not told', async () => {
  await using backend = await mockBackend()
  await using auth = await serviceWith({ status: 204 }, { clientHeaders: ['X-Real-Token'] })
  const options = { ...through(backend, [auth.guard]), trustedProxies: ['loopback'], xfwd: false }
  await using front = await runProxy(options)
  await fetch(front.url, {
    headers: { 'X-Forwarded-For': '192.0.2.1', 'X-Forwarded-Proto': 'https', 'X-Real-Token': 't', Cookie: 'a=1' },
  })
  const asked = await auth.service.nextRequest()
  const told = ['X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Real-Token', 'Cookie']
  assert.deepEqual(
    told.map((one) => valuesOf(asked, one)),
    [['192.0.2.1'], ['https'], [new URL(front.url).host], ['t'], []],
  )
  await using trusting = await runProxy({ ...through(backend, [auth.guard]), trustedProxies: ['loopback'] })
  await fetch(trusting.url, {
    headers: { 'X-Forwarded-For': '192.0.2.1', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'public.example' },
  })
  const told2 = await auth.service.nextRequest()
  assert.deepEqual(
    told.slice(0, 3).map((one) => valuesOf(told2, one)),
    [['192.0.2.1, 127.0.0.1'], ['https'], ['public.example']],
  )
})

test('the path is the one that the client has asked for, before transforms of the route', async () => {
  await using backend = await mockBackend()
  await using auth = await serviceWith({ status: 204 })
  await using front = await runProxy({
    ...through(backend, []),
    routing: { encodedSlashes: 'decode' },
    routes: [{ path: '/api', stripPrefix: '/api', interceptors: [auth.guard] }],
  })
  const { text } = await converse(
    front.port,
    'GET /x/%2e%2e/api%2Fusers?a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
  )
  assert.match(text, /GET \/users\?a$/)
  assert.equal((await auth.service.nextRequest()).header('x-forwarded-uri'), '/api/users?a')
})

/** A proxy whose guard remembers verdicts, and how often the service was asked. */
async function remembering(more: Partial<ForwardAuthOptions>, script: MockScript = { status: 204 }) {
  const clock = manualClock()
  const backend = await mockBackend()
  const service = await mockBackend(script)
  const guard = forwardAuth({ url: service.url, cacheMs: 5000, ...more }, clock)
  const front = await runProxy({ ...through(backend, [guard]), trustedProxies: ['loopback'] })
  return {
    clock,
    backend,
    service,
    front,
    /** Sends a request. @returns its status, and how often the service was asked for it. */
    async ask(path = '/', headers: Record<string, string> = {}, method = 'GET'): Promise<[number, number]> {
      const before = service.requests.length
      const { status } = await fetch(front.url + path, { method, headers })
      return [status, service.requests.length - before]
    },
    async [Symbol.asyncDispose]() {
      await front[Symbol.asyncDispose]()
      await Promise.all([backend.close(), service.close()])
    },
  }
}

test('a verdict is remembered for the same request, for a while', async () => {
  await using proxy = await remembering({})
  const { ask, clock } = proxy
  assert.deepEqual(await ask(), [200, 1])
  assert.deepEqual(await ask(), [200, 0])
  // All that the service is told must be the same.
  for (const [path, headers, method] of [
    ['/other', {}],
    ['/?a=1', {}],
    ['/', { cookie: 'a=1' }],
    ['/', { cookie: 'a=2' }],
    ['/', { authorization: 'a=1' }],
    ['/', { 'x-forwarded-for': '192.0.2.1' }],
    ['/', { 'x-forwarded-proto': 'https' }],
    ['/', { 'x-forwarded-host': 'other.example' }],
    ['/', {}, 'DELETE'],
  ] as [string, Record<string, string>, string?][]) {
    assert.deepEqual(await ask(path, headers, method), [200, 1], JSON.stringify([path, headers, method]))
    assert.deepEqual(await ask(path, headers, method), [200, 0])
  }
  clock.advance(4999)
  assert.deepEqual(await ask(), [200, 0])
  clock.advance(1)
  assert.deepEqual(await ask(), [200, 1])
})

test('a remembered verdict has its headers, and the client still cannot send them', async () => {
  const headers = ['Remote-User', 'alice', 'X-Quota', '5']
  await using proxy = await remembering({ requestHeaders: ['Remote-User'], responseHeaders: ['X-Quota'] }, { headers })
  for (let i = 0; i < 3; i++) {
    const response = await fetch(proxy.front.url, { headers: { 'Remote-User': 'eve' } })
    assert.equal(response.headers.get('x-quota'), '5')
    assert.deepEqual(valuesOf(await proxy.backend.nextRequest(), 'Remote-User'), ['alice'])
  }
  assert.equal(proxy.service.requests.length, 1)
})

test('refusals, and what the service does not want to be kept, are not remembered', async () => {
  for (const [script, status] of [
    [{ status: 401 }, 401],
    [{ status: 503 }, 503],
    [{ headers: ['Cache-Control', 'private, no-store'] }, 200],
    [{ headers: ['Set-Cookie', 'sid=1'] }, 200],
  ] as const) {
    await using proxy = await remembering({ responseHeaders: ['Set-Cookie'] }, script)
    for (let i = 0; i < 3; i++) assert.deepEqual(await proxy.ask(), [status, 1], JSON.stringify(script))
  }
  // The client does not get the cookie, so that nothing is lost.
  await using proxy = await remembering({}, { headers: ['Set-Cookie', 'sid=1'] })
  assert.deepEqual(
    [await proxy.ask(), await proxy.ask()],
    [
      [200, 1],
      [200, 0],
    ],
  )
})

test('verdicts by credentials alone, and a bounded number of them', async () => {
  await using proxy = await remembering({ cacheBy: 'credentials', clientHeaders: ['Cookie'], maxCached: 2 })
  const { ask } = proxy
  assert.deepEqual(await ask('/', { cookie: 'a=1' }), [200, 1])
  assert.deepEqual(await ask('/other', { cookie: 'a=1', 'x-forwarded-for': '192.0.2.1' }, 'DELETE'), [200, 0])
  assert.deepEqual(await ask('/', { cookie: 'a=2' }), [200, 1])
  assert.deepEqual(await ask('/', {}), [200, 1])
  // The first one had to go.
  assert.deepEqual(await ask('/', { cookie: 'a=1' }), [200, 1])
})

test('without cacheMs every request is asked for', async () => {
  await using proxy = await remembering({ cacheMs: 0 })
  for (let i = 0; i < 3; i++) assert.deepEqual(await proxy.ask(), [200, 1])
})

test('what comes after the verdict runs in the async context of the request', async () => {
  await using backend = await mockBackend()
  await using auth = await serviceWith({ status: 204 })
  const storage = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  const looks = interceptor((next, ...args) => {
    seen.push(storage.getStore())
    next(...args)
  })
  await using front = await runInServer(through(backend, [auth.guard, looks]), (proxy) =>
    http.createServer((req, res) => storage.run(req.url ?? '', () => proxy.web(req, res))),
  )
  for (const path of ['/a', '/b']) await (await fetch(front.url + path)).text()
  assert.deepEqual(seen, ['/a', '/b'])
})

test('wrong options are refused at once', () => {
  const url = 'http://127.0.0.1:1/verify'
  const wrong: [unknown, RegExp][] = [
    [undefined, /forward-auth: the options are missing; give an object/],
    [{}, /forward-auth: url: "undefined" is not a backend URL; use http:\/\/host:port/],
    [{ url: 'auth:9091' }, /forward-auth: url: "auth:9091" is not a backend URL/],
    [{ url: 'http://user:secret@auth/' }, /forward-auth: url: "http:\/\/auth": a backend URL has no user/],
    [{ url, requestHeaders: 'Remote-User' }, /forward-auth: requestHeaders is "Remote-User"; give a list of strings/],
    [
      { url, requestHeaders: ['Connection'] },
      /forward-auth: a member of requestHeaders is "Connection"; give another header: the proxy itself writes this one/,
    ],
    [
      { url, responseHeaders: ['a b'] },
      /forward-auth: a member of responseHeaders is "a b"; give the name of a header/,
    ],
    [
      { url, clientHeaders: ['Content-Length'] },
      /forward-auth: a member of clientHeaders is "Content-Length"; give another/,
    ],
    [
      { url, clientHeaders: ['x-forwarded-uri'] },
      /forward-auth: a member of clientHeaders is "x-forwarded-uri"; give another header: clients may forge this one/,
    ],
    [{ url, clientHeaders: ['Forwarded'] }, /give another header: clients may forge this one/],
    [{ url, clientHeaders: ['X-Real-IP'] }, /give another header: clients may forge this one/],
    [{ url, clientHeaders: ['X_Forwarded_User'] }, /give another header: clients may forge this one/],
    [{ url, clientHeaders: ['Host'] }, /give another header: clients may forge this one/],
    [
      { url, tls: { ca: certificate } },
      /forward-auth: url: http:\/\/127\.0\.0\.1:1 is not https:\/\/, so that tls means nothing/,
    ],
    [{ url, timeoutMs: 0 }, /forward-auth: timeoutMs is 0; give a whole number from 1 on, such as 1000/],
    [{ url, cacheMs: -1 }, /forward-auth: cacheMs is -1; give a whole number from 0 on/],
    [{ url, cacheBy: 'cookie' }, /forward-auth: cacheBy is "cookie"; give 'request' or 'credentials'/],
    [{ url, maxCached: 0 }, /^forward-auth: maxCached is 0; give a whole number from 1 on, such as 10000$/],
    [{ url, cacheTtl: 1 }, /forward-auth: there is no option cacheTtl; allowed: url/],
  ]
  for (const [options, message] of wrong) {
    assert.throws(
      () => forwardAuth(options as ForwardAuthOptions),
      (error: unknown) => error instanceof TypeError && message.test(error.message),
      String(message),
    )
  }
})
