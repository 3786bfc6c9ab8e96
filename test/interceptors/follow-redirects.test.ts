import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { Agent, request } from 'undici'
import {
  type FollowRedirectsOptions,
  followRedirects,
  type ProxyOptions,
  respond,
  stripPrefix,
} from '../../src/index.ts'
import { type MockBackend, mockBackend } from '../../src/testing/index.ts'
import { randomBytes } from '../support/bytes.ts'
import { certificate, key } from '../support/certificates.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, FRONTS, gate, inHttp2, rounds, SECURE_FRONTS } from '../support/running-proxy.ts'
import { rawBackend, switching, upgradeRequest } from '../support/upgrade-backends.ts'

/** Redirects by the query, `/?302=/other`; else says what it has got. */
function redirecting(more: Readonly<Record<string, string>> = {}, options = {}): Promise<MockBackend> {
  return mockBackend(async (incoming, reply) => {
    const [, status, location] = /\?(\d+)=(.*)$/.exec(incoming.path) ?? []
    const body = (await incoming.body()).toString()
    if (status === undefined) return reply.send({ body: `${incoming.method} ${incoming.path} ${body}` })
    reply.send({
      status: Number(status),
      headers: { Location: decodeURIComponent(location ?? ''), ...more },
      body: 'go',
    })
  }, options)
}

function following(
  backend: { url: string },
  options: FollowRedirectsOptions = {},
  more: ProxyOptions = {},
): ProxyOptions {
  return through(backend, [followRedirects(options)], more)
}

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: connections are used again, and not opened for each redirect`, async () => {
    await using backend = await redirecting()
    await using front = await run(following(backend))
    for (let i = 0; i < 5; i++) assert.equal(await (await fetch(`${front.url}/a?302=/b`)).text(), 'GET /b ')
    // The second one was opened while the body of the first redirect was still on its way.
    assert.ok(backend.connections <= 2, `${backend.connections} connections`)
  })

  for (const [status, method, expected] of [
    [301, 'GET', 'GET /b '],
    [302, 'GET', 'GET /b '],
    [303, 'GET', 'GET /b '],
    [307, 'GET', 'GET /b '],
    [308, 'GET', 'GET /b '],
    [301, 'POST', 'GET /b '],
    [302, 'POST', 'GET /b '],
    [303, 'POST', 'GET /b '],
    [307, 'POST', 'POST /b body'],
    [308, 'POST', 'POST /b body'],
    [301, 'PUT', 'PUT /b body'],
    [302, 'DELETE', 'DELETE /b body'],
    [303, 'PUT', 'GET /b '],
    [303, 'DELETE', 'GET /b '],
  ] as const) {
    test(`${name}: ${status} after ${method} becomes ${expected.trim()}`, async () => {
      await using backend = await redirecting()
      await using front = await run(following(backend))
      const body = method === 'GET' ? {} : { body: 'body', headers: { 'content-type': 'text/x', 'x-other': '1' } }
      const response = await fetch(`${front.url}/a?${status}=/b`, { method, redirect: 'error', ...body })
      assert.deepEqual([response.status, await response.text()], [200, expected])
      const [, last] = backend.requests
      const isSame = last?.method === method
      assert.equal(last?.header('content-type'), isSame && method !== 'GET' ? 'text/x' : undefined)
      assert.equal(last?.header('content-length'), isSame && method !== 'GET' ? '4' : undefined)
      assert.equal(last?.header('x-other'), method === 'GET' ? undefined : '1')
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.status, record.attempts], ['answered', 200, 2])
      assert.equal(front.pending(), 0)
      assert.deepEqual(backend.faults, [])
    })
  }

  test(`${name}: HEAD stays HEAD`, async () => {
    await using backend = await redirecting()
    await using front = await run(following(backend))
    for (const status of [302, 303, 307]) {
      const response = await fetch(`${front.url}/a?${status}=/b`, { method: 'HEAD', redirect: 'error' })
      assert.deepEqual([response.status, response.headers.get('content-length')], [200, '8'])
      assert.equal(backend.requests.at(-1)?.method, 'HEAD')
    }
  })

  test(`${name}: relative and own URLs are followed`, async () => {
    await using backend = await redirecting()
    await using front = await run(following({ url: `${backend.url}/app` }))
    for (const [location, path] of [
      ['/app/b?c=1#d', '/app/b?c=1'],
      ['b', '/app/x/b'],
      ['../b', '/app/b'],
      ['?c', '/app/x/a?c'],
      [`${backend.url}/app/b`, '/app/b'],
      [`//127.0.0.1:${backend.port}/app/b`, '/app/b'],
      ['http://public.test/app/b', '/app/b'],
      ['http://public.test:80/app/b', '/app/b'],
      ['/app/%7euser/a b', '/app/%7euser/a%20b'],
      ['/app/\xc3\xa4', '/app/%C3%A4'],
      ['/app/x/../b', '/app/b'],
      ['', '/app/x/a'],
    ]) {
      backend.use([
        { status: 302, headers: { Location: location ?? '' } },
        (incoming, reply) => reply.send({ body: incoming.path }),
      ])
      const { text } = await converse(front.port, 'GET /x/a HTTP/1.1\r\nHost: public.test\r\nConnection: close\r\n\r\n')
      assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), path, location)
    }
  })

  test(`${name}: other redirects go to the client as they are`, {
    skip: inHttp2(name, 'names are in lower case'),
  }, async () => {
    await using backend = await redirecting()
    await using other = await mockBackend()
    await using front = await run(following({ url: `${backend.url}/app` }))
    for (const location of [
      other.url,
      `http://127.0.0.1:${other.port}/app/b`,
      'http://169.254.169.254/latest/meta-data/',
      `http://user@127.0.0.1:${backend.port}/app/b`,
      `http://:pw@127.0.0.1:${backend.port}/app/b`,
      `http://127.0.0.1:${backend.port}@evil.test/app/b`,
      `https://127.0.0.1:${backend.port}/app/b`,
      'https://public.test/app/b',
      '//other.test/app/b',
      '/\\other.test/app/b',
      '\\\\other.test/app/b',
      // Whether the backend's own path has a slash at its end is decided by the client's.
      '/app',
      '/app/',
      '/app?a',
      // Not below the path of the backend's URL.
      '/b',
      '../../b',
      '/app/../b',
      'http://[',
      'javascript:alert(1)',
      'file:///etc/passwd',
      `ftp://127.0.0.1:${backend.port}/app/b`,
    ]) {
      backend.use({ status: 302, headers: { Location: location }, body: 'go' })
      const { text } = await converse(front.port, 'GET /a HTTP/1.1\r\nHost: public.test\r\nConnection: close\r\n\r\n')
      assert.match(text, /^HTTP\/1\.1 302 /, location)
      assert.ok(text.includes(`\r\nLocation: ${location}\r\n`), location)
      assert.ok(text.endsWith('\r\n\r\ngo'))
      assert.equal((await front.nextRecord()).attempts, 1, location)
    }
    assert.equal(other.requests.length, 0)
    for (const headers of [
      [],
      ['Location', '/app/b', 'Location', '/app/c'],
      ['Location', '/app/b', 'Set-Cookie', 'a=b'],
    ]) {
      backend.use({ status: 302, headers })
      assert.equal((await fetch(front.url, { redirect: 'manual' })).status, 302)
      assert.equal((await front.nextRecord()).attempts, 1)
    }
    for (const status of [200, 201, 300, 304, 305, 404]) {
      backend.use({ status, headers: { Location: '/app/b' } })
      assert.equal((await fetch(front.url, { redirect: 'manual' })).status, status)
      assert.equal((await front.nextRecord()).attempts, 1)
    }
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: the client gets the redirect after the last one that is followed`, async () => {
    await using backend = await mockBackend((incoming, reply) =>
      reply.send({ status: 302, headers: { Location: `/${Number(incoming.path.slice(1)) + 1}` } }),
    )
    for (const [max, expected] of [
      [undefined, '/6'],
      [1, '/2'],
      [20, '/21'],
    ] as const) {
      await using front = await run(following(backend, max === undefined ? {} : { max }))
      const response = await fetch(`${front.url}/0`, { redirect: 'manual' })
      assert.deepEqual([response.status, response.headers.get('location')], [302, expected])
      assert.equal((await front.nextRecord()).attempts, (max ?? 5) + 1)
      assert.equal(front.pending(), 0)
    }
  })

  test(`${name}: a redirect does not lead to the path of another route`, async () => {
    await using backend = await redirecting()
    await using front = await run({
      groups: { app: { target: backend.url } },
      routes: [
        { path: '/', group: 'app', interceptors: [followRedirects()] },
        { path: '/get', group: 'app', method: 'GET' },
        { path: '/admin', group: 'app' },
        {
          path: '/api',
          group: 'app',
          transforms: [stripPrefix('/api')],
          interceptors: [followRedirects({ prefix: '/api' })],
        },
        { path: '/api/admin', group: 'app' },
        { path: '/bare', group: 'app', transforms: [stripPrefix('/bare')], interceptors: [followRedirects()] },
      ],
    })
    for (const [path, status] of [
      ['/a?302=/b', 200],
      ['/a?302=/admin', 302],
      ['/a?302=/admin/b', 302],
      ['/a?302=/x/../admin', 302],
      ['/a?302=/%2561dmin', 302],
      ['/a?302=/x%252f..%252fadmin', 302],
      ['/a?302=//admin', 302],
      ['/api/a?302=/b', 200],
      ['/api/a?302=/admin', 302],
      // The path of another route, as far as anybody knows.
      ['/bare/a?302=/b', 302],
    ] as const) {
      const response = await fetch(front.url + path, { redirect: 'manual' })
      assert.equal(response.status, status, path)
      await response.text()
    }
    // The method of the next request counts.
    for (const [path, status] of [
      ['/a?303=/get', 303],
      ['/a?307=/get', 200],
    ] as const) {
      const response = await fetch(front.url + path, { method: 'POST', body: 'a', redirect: 'manual' })
      assert.equal(response.status, status, path)
      await response.text()
    }
  })

  test(`${name}: a redirect to one of the origins goes to its group, without what is personal`, async () => {
    await using backend = await redirecting()
    await using files = await redirecting()
    await using front = await run({
      groups: { app: { target: backend.url }, files: { target: files.url } },
      routes: [
        {
          group: 'app',
          interceptors: [
            followRedirects({ origins: { 'https://files.test:8443': 'files', 'http://files.test': 'files' } }),
          ],
        },
        { path: '/admin', group: 'app' },
      ],
    })
    const headers = { authorization: 'secret', cookie: 'a=b', 'x-other': '1' }
    const send = (location: string, method = 'GET', status = 302) =>
      fetch(`${front.url}/a?${status}=${encodeURIComponent(location)}`, {
        ...{ method, headers, redirect: 'manual' },
        ...(method === 'POST' ? { body: 'body' } : {}),
      })
    const response = await send('https://files.test:8443/b?c#d')
    assert.deepEqual([response.status, await response.text()], [200, 'GET /b?c '])
    const [received] = files.requests
    const seen = ['host', 'authorization', 'cookie', 'x-other', 'x-forwarded-for'].map((one) => received?.header(one))
    assert.deepEqual(seen, ['files.test:8443', undefined, undefined, '1', '127.0.0.1'])
    const record = await front.nextRecord()
    assert.deepEqual([record.group, record.backend, record.attempts], ['files', files.url, 2])

    assert.equal(await (await send('http://files.test/b', 'POST', 307)).text(), 'POST /b body')
    // From there: to itself, by a path that other routes do not concern, and not back.
    assert.equal(await (await send('http://files.test/x?302=/admin')).text(), 'GET /admin ')
    assert.equal(files.requests.at(-1)?.header('host'), 'files.test')
    const back = `http://127.0.0.1:${front.port}/b`
    assert.equal((await send(`http://files.test/x?302=${back}`)).headers.get('location'), back)
    // The protocol and the port count.
    for (const other of ['https://files.test/b', 'http://files.test:8443/b', 'http://files.test.evil.test/b']) {
      assert.equal((await send(other)).headers.get('location'), other)
    }
    assert.equal(front.pending(), 0)
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: an origin whose group does not exist is an error that says so`, async () => {
    await using backend = await redirecting()
    await using front = await run(following(backend, { origins: { 'http://files.test': 'file' } }))
    const response = await fetch(`${front.url}/?302=http://files.test/`)
    assert.equal(await response.text(), '500 Internal Server Error (ERR_PROXY_HOOK)\n')
    assert.match(front.errors[0]?.message ?? '', /there is no group "file"; the groups are "default"/)
  })

  test(`${name}: what goes to the client after a redirect does not depend on the path that it has not seen`, async () => {
    await using backend = await redirecting()
    await using files = await redirecting()
    await using front = await run({
      groups: { app: { target: `${backend.url}/app` }, files: { target: files.url } },
      routes: [
        { group: 'app', interceptors: [followRedirects({ max: 1, origins: { 'http://files.test': 'files' } })] },
      ],
    })
    for (const [path, location] of [
      // Not followed: as it is.
      ['/a/b?302=//other.test/', '//other.test/'],
      // `c` was followed.
      ['/a/b?302=/app/x/y%3f302=z', '/app/x/z'],
      ['/a/b?302=/app/x/y%3f302=../z%2523top', '/app/z#top'],
      ['/a/b?302=/app/x/y%3f302=/app/z', '/app/z'],
      ['/a/b?302=/app/x/y%3f201=z', '/app/x/z'],
      ['/a/b?302=/app/x/y%3f302=//other.test/z', '//other.test/z'],
      ['/a/b?302=/app/x/y%3f302=http://other.test/z', 'http://other.test/z'],
      ['/a/b?302=http://files.test/x/y%3f302=z', 'http://files.test/x/z'],
    ]) {
      const response = await fetch(front.url + path, { redirect: 'manual' })
      assert.equal(response.headers.get('location'), location, path)
      await response.text()
    }
  })

  test(`${name}: a body that is not kept is not sent again`, async () => {
    await using backend = await redirecting()
    await using front = await run(following(backend, {}, { limits: { replayBytes: 1000 } }))
    const large = { method: 'POST', body: randomBytes(5000), redirect: 'manual' } as const
    const response = await fetch(`${front.url}/a?307=/b`, large)
    assert.deepEqual([response.status, response.headers.get('location')], [307, '/b'])
    assert.equal(await response.text(), 'go')
    assert.match(await (await fetch(`${front.url}/a?303=/b`, large)).text(), /^GET \/b /)
    const small = await fetch(`${front.url}/a?307=/b`, { ...large, body: 'x'.repeat(900) })
    assert.equal((await small.text()).length, 'POST /b '.length + 900)
    assert.deepEqual(front.errors, [])
    assert.equal(front.pending(), 0)
  })

  for (const status of [303, 307]) {
    test(`${name}: ${status} while the body is still being sent`, async () => {
      const redirected = gate()
      await using backend = await mockBackend([
        (_incoming, reply) => {
          reply.send({ status, headers: { Location: '/b' } })
          redirected.open()
        },
        async (incoming, reply) => {
          const body = await incoming.body()
          reply.send({ body: `${incoming.method} ${body}` })
        },
      ])
      await using front = await run(following(backend))
      const client = rawClient(front.port)
      client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst')
      await redirected.promise
      await rounds()
      client.write(' rest')
      await client.until(status === 303 ? 'GET ' : 'POST first rest')
      const record = await front.nextRecord()
      assert.deepEqual([record.status, record.outcome], [200, 'answered'])
      assert.equal(front.pending(), 0)
      client.socket.destroy()
    })
  }

  test(`${name}: a large upload that is redirected at once does not hang`, async () => {
    await using backend = await mockBackend([
      (_incoming, reply) => reply.send({ status: 303, headers: { Location: '/b' } }),
      (_incoming, reply) => reply.send({ body: randomBytes(2_000_000) }),
    ])
    await using front = await run(following(backend))
    const pieces = Array.from({ length: 100 }, () => randomBytes(50_000))
    const response = await request(front.url, { method: 'POST', body: Readable.from(pieces) })
    assert.equal((await response.body.bytes()).length, 2_000_000)
    await front.nextRecord()
    assert.equal(front.pending(), 0)
  })

  test(`${name}: short bodies of redirects are dropped, and keep their connection`, async () => {
    await using backend = await mockBackend((incoming, reply) => {
      if (incoming.path === '/end') return reply.send({ body: 'end' })
      reply.send({ status: 302, headers: { Location: '/end' }, chunks: ['some', 'thing'] })
    })
    await using front = await run(following(backend))
    for (let i = 0; i < 3; i++) {
      const response = await fetch(front.url)
      assert.equal(await response.text(), 'end')
      await front.nextRecord()
    }
    assert.equal(front.pending(), 0)
    assert.equal(backend.openConnections, backend.connections)
  })

  for (const [kind, chunked] of [
    ['announced', false],
    ['in chunks', true],
  ] as const) {
    test(`${name}: a long body of a redirect is cut off (${kind})`, async () => {
      const closed = gate()
      await using backend = await mockBackend((incoming, reply) => {
        if (incoming.path === '/end') return void closed.promise.then(() => reply.send({ body: 'end' }))
        reply.closed.then(() => closed.open())
        const framing = chunked ? {} : { 'Content-Length': '1000000' }
        reply.head({ status: 302, headers: { Location: '/end', ...framing } })
        reply.chunk(randomBytes(chunked ? 100_000 : 10))
      })
      await using front = await run(following(backend))
      assert.equal(await (await fetch(front.url)).text(), 'end')
      await front.nextRecord()
      assert.equal(front.pending(), 0)
      assert.deepEqual(front.errors, [])
    })
  }

  test(`${name}: a body of a redirect that never ends ends with its exchange`, async () => {
    const closed = gate()
    await using backend = await mockBackend((incoming, reply) => {
      if (incoming.path === '/end') return reply.send({ body: 'end' })
      reply.closed.then(() => closed.open())
      reply.head({ status: 302, headers: { Location: '/end' } })
      reply.chunk('never')
    })
    await using front = await run(following(backend))
    assert.equal(await (await fetch(front.url)).text(), 'end')
    await closed.promise
    await front.nextRecord()
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a truncated body of a redirect does not matter, and that of the response does`, async () => {
    await using backend = await mockBackend((incoming, reply) => {
      reply.head(incoming.path === '/end' ? { status: 200 } : { status: 302, headers: { Location: '/end' } })
      reply.chunk('some')
      if (incoming.path === '/end') setImmediate(() => reply.reset())
      else reply.reset()
    })
    await using front = await run(following(backend))
    await assert.rejects((await fetch(front.url)).text())
    assert.equal((await front.nextRecord()).outcome, 'truncated')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a redirect whose body breaks off after the response has begun is no failure`, async () => {
    const begun = gate()
    await using backend = await mockBackend(async (incoming, reply) => {
      if (incoming.path === '/end') {
        reply.head({ headers: { 'Content-Length': '8' } })
        reply.chunk('some')
        begun.open()
        await broken
        reply.chunk('more')
        reply.end()
      } else {
        reply.head({ status: 302, headers: { Location: '/end' } })
        reply.chunk('some')
        await begun.promise
        reply.reset()
      }
    })
    await using front = await run(following(backend))
    const broken = new Promise<void>((resolve) => {
      const check = (): void =>
        void (front.pending() === 1 && backend.requests.length === 2 ? resolve() : setImmediate(check))
      begun.promise.then(check)
    })
    assert.equal(await (await fetch(front.url)).text(), 'somemore')
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.errorCode], ['answered', null])
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: a redirect that leads to an error ends in that error`, async () => {
    await using backend = await mockBackend([
      { status: 302, headers: { Location: '/b' } },
      (_incoming, reply) => reply.reset(),
    ])
    await using front = await run(following(backend))
    assert.equal((await fetch(front.url, { method: 'POST' })).status, 502)
    const record = await front.nextRecord()
    // The connection of the redirect was used again; its end can be that of an idle connection, so there is a third attempt.
    assert.deepEqual([record.errorCode, record.outcome, record.attempts], ['ERR_PROXY_RESET', 'failed', 3])
  })

  test(`${name}: a client that leaves ends the redirected request`, async () => {
    const asked = gate()
    const closed = gate()
    await using backend = await mockBackend((incoming, reply) => {
      if (incoming.path !== '/end') return reply.send({ status: 302, headers: { Location: '/end' } })
      reply.closed.then(() => closed.open())
      asked.open()
    })
    await using front = await run(following(backend))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await asked.promise
    client.socket.resetAndDestroy()
    await closed.promise
    assert.equal((await front.nextRecord()).outcome, 'aborted')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: an interceptor outside ends the call that follows redirects`, async () => {
    const asked = gate()
    const closed = gate()
    await using backend = await mockBackend((incoming, reply) => {
      if (incoming.path === '/a') return reply.send({ status: 302, headers: { Location: '/b' } })
      reply.closed.then(() => closed.open())
      asked.open()
    })
    const impatient = interceptor((next, exchange, incoming, body, sink) => {
      const call = new AbortController()
      next(exchange, { ...incoming, signal: call.signal }, body, sink)
      asked.promise.then(() => {
        call.abort()
        closed.promise.then(() => respond(sink, { status: 200, body: 'enough' }))
      })
    })
    await using front = await run(through(backend, [impatient, followRedirects()]))
    assert.equal(await (await fetch(`${front.url}/a`)).text(), 'enough')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a WebSocket handshake is redirected`, {
    skip: inHttp2(name, 'there is no upgrade in HTTP/2'),
  }, async () => {
    await using backend = await rawBackend((upgrade) => {
      if (upgrade.head.startsWith('GET /b ')) return void upgrade.socket.write(switching('foo', 'hello'))
      upgrade.socket.write('HTTP/1.1 307 x\r\nLocation: /b\r\nContent-Length: 2\r\n\r\ngo')
    })
    await using front = await run(following(backend))
    const client = rawClient(front.port)
    client.write(upgradeRequest({ path: '/a' }))
    assert.match(await client.until('hello'), /^HTTP\/1\.1 101 /)
    client.socket.destroy()
    assert.equal((await front.nextRecord()).outcome, 'upgraded')
  })

  test(`${name}: a client that waits for 100 Continue is asked once`, async () => {
    await using backend = await mockBackend([
      { status: 307, headers: { Location: '/b' } },
      async (incoming, reply) => {
        reply.continue()
        reply.send({ body: (await incoming.body()).toString() })
      },
    ])
    await using front = await run(following(backend))
    const client = rawClient(front.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n')
    await client.until('HTTP/1.1 100 ')
    client.write('body')
    const text = await client.until('\r\n\r\nbody')
    assert.equal(text.match(/HTTP\/1\.1 100 /g)?.length, 1)
    client.socket.destroy()
  })
}

for (const { name, run } of SECURE_FRONTS) {
  test(`${name}: https to the client's host is the backend itself`, async () => {
    await using backend = await redirecting()
    await using front = await run(following(backend))
    const agent = new Agent({ connect: { ca: certificate } })
    const own = encodeURIComponent(`${front.url}/b`)
    const { statusCode, body } = await request(`${front.url}/?302=${own}`, { dispatcher: agent })
    assert.deepEqual([statusCode, await body.text()], [200, 'GET /b '])
    await agent.close()
  })
}

test('redirects of a backend over TLS are followed over TLS', async () => {
  await using backend = await redirecting({}, { tls: { key, cert: certificate } })
  const { run } = FRONTS[0] as (typeof ALL_FRONTS)[number]
  const { target: _, ...rest } = following({ url: '' })
  await using front = await run({ ...rest, backends: [{ url: backend.url, tls: { ca: certificate } }] })
  const own = `127.0.0.1:${backend.port}/b`
  for (const [location, status] of [
    [`https://${own}`, 200],
    ['/b', 200],
  ] as const) {
    const response = await fetch(`${front.url}/?302=${encodeURIComponent(location)}`, { redirect: 'manual' })
    assert.equal(response.status, status, location)
  }
})

test('wrong options name the option, the value and what is allowed', () => {
  for (const [options, message] of [
    [{ max: 0 }, /^follow-redirects: max is 0; give a whole number from 1 to 100, such as 5$/],
    [{ max: 101 }, /max is 101/],
    [{ max: 1.5 }, /max is 1\.5/],
    [{ max: '5' }, /max is "5"/],
    [{ prefix: 'api' }, /^follow-redirects: prefix\("api"\)/],
    [{ hosts: [] }, /^follow-redirects: there is no option hosts; allowed: prefix, origins, max$/],
    [{ origins: ['a'] }, /^follow-redirects: origins is \["a"\]; give a table of groups by origin$/],
    [{ origins: { 'a.test': 'a' } }, /^follow-redirects: a key of origins is "a.test"; give an origin, such as/],
    [{ origins: { 'http://a.test/': 'a' } }, /a key of origins is "http:\/\/a.test\/"/],
    [{ origins: { 'http://a.test:80': 'a' } }, /a key of origins is "http:\/\/a.test:80"/],
    [{ origins: { 'ftp://a.test': 'a' } }, /a key of origins is "ftp:\/\/a.test"/],
    [{ origins: { 'http://a.test': '' } }, /^follow-redirects: origins\["http:\/\/a.test"\] is ""; give the name of/],
  ] as const) {
    assert.throws(() => followRedirects(options as FollowRedirectsOptions), { name: 'TypeError', message })
  }
})
