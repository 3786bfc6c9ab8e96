import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import WebSocket from 'ws'
import type { ProxyOptions } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { MIB, randomBytes } from '../support/bytes.ts'
import { certificate, key } from '../support/certificates.ts'
import { rawClient } from '../support/raw-client.ts'
import { type RunningProxy, runInServer, runProxy } from '../support/running-proxy.ts'
import { rawBackend, switching, upgradeRequest, webSocketBackend } from '../support/upgrade-backends.ts'

async function open(proxy: { url: string }, where = '/', protocols: string[] = [], options = {}): Promise<WebSocket> {
  const socket = new WebSocket(proxy.url.replace('http', 'ws') + where, protocols, options)
  await once(socket, 'open')
  return socket
}

async function close(socket: WebSocket): Promise<void> {
  const closed = once(socket, 'close')
  socket.close()
  await closed
}

async function assertEchoes(socket: WebSocket): Promise<void> {
  socket.send('text, Grüße')
  assert.deepEqual(await once(socket, 'message'), [Buffer.from('text, Grüße'), false])
  socket.send(Buffer.from([0, 255, 128]))
  assert.deepEqual(await once(socket, 'message'), [Buffer.from([0, 255, 128]), true])
  const big = randomBytes(MIB)
  socket.send(big)
  const [data] = await once(socket, 'message')
  assert.ok(big.equals(data))
  const many = 500
  let echoed = 0
  const all = new Promise<void>((resolve) => {
    socket.on('message', (message) => {
      assert.equal(message.toString(), `message ${echoed++}`)
      if (echoed === many) resolve()
    })
  })
  for (let i = 0; i < many; i++) socket.send(`message ${i}`)
  await all
}

describe('echo', () => {
  const ways: Record<string, (options: ProxyOptions) => Promise<RunningProxy>> = {
    'proxy.listen()': runProxy,
    'proxy.attach(server)': (options) =>
      runInServer(options, (proxy) => {
        const server = http.createServer()
        proxy.attach(server)
        return server
      }),
    "createServer(proxy.web).on('upgrade', proxy.ws)": (options) =>
      runInServer(options, (proxy) => http.createServer(proxy.web).on('upgrade', proxy.ws)),
  }
  for (const [name, run] of Object.entries(ways)) {
    test(`through ${name}`, async () => {
      await using backend = await webSocketBackend()
      await using running = await run({ target: backend.url })
      const socket = await open(running)
      await assertEchoes(socket)
      await close(socket)
    })
  }

  test('to a backend with TLS, verified by its ca', async () => {
    await using backend = await webSocketBackend({ tls: true })
    await using running = await runProxy({ target: { url: backend.url, tls: { ca: certificate } } })
    const socket = await open(running)
    await assertEchoes(socket)
    await close(socket)
  })

  test('to a backend with TLS: the name that is verified is not the one that the client puts in Host', async () => {
    await using backend = await webSocketBackend({ tls: true })
    await using running = await runProxy({
      target: { url: backend.url.replace('127.0.0.1', 'localhost'), tls: { ca: certificate } },
    })
    const socket = await open(running, '/', [], { headers: { Host: 'elsewhere.test' } })
    await close(socket)
    await using stranger = await runProxy({
      target: { url: backend.url, tls: { ca: certificate, servername: 'stranger.test' } },
    })
    const refused = new WebSocket(stranger.url, { headers: { Host: 'localhost' } })
    const [error] = await once(refused, 'error')
    assert.match(error.message, /502/)
    assert.equal((await stranger.nextRecord()).errorCode, 'ERR_PROXY_TLS')
  })

  test('a TLS backend that is not trusted is not spoken to', async () => {
    await using backend = await webSocketBackend({ tls: true })
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ protocol: 'websocket' }))
    assert.match(await client.until('ERR_PROXY_TLS'), /^HTTP\/1\.1 502 /)
    assert.equal(backend.requests.length, 0)
  })

  test('to a backend on a unix socket', async () => {
    const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'heddle-'))
    await using backend = await webSocketBackend({ socketPath: path.join(folder, 'backend.sock') })
    await using running = await runProxy({ target: backend.url })
    const socket = await open(running)
    await assertEchoes(socket)
    await close(socket)
    await backend.stop()
    await fs.rm(folder, { recursive: true })
  })

  test('from a client with TLS', async () => {
    await using backend = await webSocketBackend()
    const { default: https } = await import('node:https')
    await using running = await runInServer({ target: backend.url }, (proxy) => {
      const server = https.createServer({ key, cert: certificate })
      proxy.attach(server)
      return server as unknown as http.Server
    })
    const socket = await open({ url: `https://localhost:${running.port}` }, '/', [], { ca: certificate })
    await assertEchoes(socket)
    assert.equal(backend.requests[0]?.headers['x-forwarded-proto'], 'https')
    await close(socket)
  })
})

describe('the handshake', () => {
  test('subprotocol and extension pass both ways', async () => {
    await using backend = await webSocketBackend({ handleProtocols: () => 'second', perMessageDeflate: true })
    await using running = await runProxy({ target: backend.url })
    const socket = await open(running, '/', ['first', 'second'])
    assert.equal(socket.protocol, 'second')
    assert.match(socket.extensions, /permessage-deflate/)
    assert.equal(backend.requests[0]?.headers['sec-websocket-protocol'], 'first,second')
    await assertEchoes(socket)
    await close(socket)
  })

  test('bytes sent with the request reach the backend, bytes glued to its 101 reach the client', async () => {
    await using backend = await rawBackend((upgrade) => upgrade.accept('foo', 'from the backend'))
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(`${upgradeRequest()}from the client`)
    const text = await client.until('from the backend')
    assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), 'from the backend')
    const upgrade = await backend.nextUpgrade()
    await upgrade.until('from the client')
    assert.equal(upgrade.received, 'from the client')
    client.socket.destroy()
  })

  test('bytes sent with the request arrive once, also where a first backend failed', async () => {
    const dead = await deadPort()
    await using backend = await rawBackend((upgrade) => upgrade.accept())
    await using running = await runProxy({ backends: [dead.url, backend.url], balancer: 'first-available' })
    const client = rawClient(running.port)
    client.write(`${upgradeRequest()}early`)
    const upgrade = await backend.nextUpgrade()
    await upgrade.until('early')
    client.write(', late')
    await upgrade.until('late')
    assert.equal(upgrade.received, 'early, late')
    assert.equal(backend.heads.length, 1)
    client.socket.destroy()
  })

  test('request headers follow the same policy as web', async () => {
    await using backend = await rawBackend((upgrade) => upgrade.accept())
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(
      'GET /x HTTP/1.1\r\nHost: example.test:81\r\nX-Kept: 1\r\nConnection: upgrade, X-Private, keep-alive\r\n' +
        'Upgrade: foo\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\n' +
        'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Twice: 1\r\nx-twice: 2\r\nAuthorization: mine\r\n\r\n',
    )
    const { head } = await backend.nextUpgrade()
    const { port } = new URL(running.url)
    assert.deepEqual(head.split('\r\n').slice(0, -2), [
      'GET /x HTTP/1.1',
      'Host: example.test:81',
      'X-Kept: 1',
      'X-Twice: 1',
      'X-Twice: 2',
      'Authorization: mine',
      'X-Forwarded-For: 127.0.0.1',
      'X-Forwarded-Proto: http',
      'X-Forwarded-Host: example.test:81',
      `X-Forwarded-Port: ${port}`,
      'connection: Upgrade',
      'upgrade: foo',
    ])
    client.socket.destroy()
  })

  test('hostHeader, via, base path, transforms and a trusted peer', async () => {
    await using backend = await rawBackend(({ socket }) =>
      socket.write(
        'HTTP/1.1 101 Sure\r\nConnection: Upgrade, X-Hop\r\nUpgrade: foo\r\nX-Hop: 1\r\nX-Drop: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n',
      ),
    )
    await using running = await runProxy({
      target: `${backend.url}/base`,
      hostHeader: 'backend',
      via: 'us',
      trustedProxies: ['loopback'],
      routes: [
        {
          path: '/app',
          stripPrefix: '/app',
          requestHeaders: { set: { 'X-Set': 'yes' }, remove: ['X-Removed'] },
          responseHeaders: { remove: ['X-Drop'], set: { 'X-Added': 'us' } },
        },
      ],
    })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: '/app/chat?q', extra: 'X-Removed: 1\r\nX-Forwarded-For: 9.9.9.9\r\n' }))
    const text = await client.until('\r\n\r\n')
    const { head } = await backend.nextUpgrade()
    assert.match(head, /^GET \/base\/chat\?q HTTP/)
    assert.match(head, new RegExp(`\r\nHost: ${new URL(backend.url).host}\r\n`))
    assert.match(head, /\r\nVia: 1\.1 us\r\n/)
    assert.match(head, /\r\nX-Set: yes\r\n/)
    assert.match(head, /\r\nX-Forwarded-For: 9\.9\.9\.9, 127\.0\.0\.1\r\n/)
    assert.doesNotMatch(head, /removed/i)
    assert.deepEqual(text.split('\r\n').slice(1, -2), [
      'Set-Cookie: a=1',
      'Set-Cookie: b=2',
      'Via: 1.1 us',
      'X-Added: us',
      'Connection: Upgrade',
      'Upgrade: foo',
    ])
    client.socket.destroy()
    assert.equal((await running.nextRecord()).clientAddress, '9.9.9.9')
  })

  test("one client's Authorization does not reach another's request (http-proxy-3 keeps it in `ssl`)", async () => {
    await using backend = await webSocketBackend({ tls: true })
    await using running = await runProxy({
      target: { url: backend.url, tls: { ca: certificate, servername: 'localhost' } },
    })
    const first = await open(running, '/', [], { headers: { Authorization: 'Bearer secret' } })
    const second = await open(running)
    assert.equal(backend.requests[0]?.headers.authorization, 'Bearer secret')
    assert.equal(backend.requests[1]?.headers.authorization, undefined)
    await close(first)
    await close(second)
  })

  test('the target goes on byte by byte', async () => {
    await using backend = await rawBackend((upgrade) => upgrade.accept())
    await using running = await runProxy({ target: backend.url })
    for (const target of ['//double//slash/', '/a?', '/a?b?c=/d//e', '/%2e%2E/|^`{}\'"<>', '/x;y=%zz&z']) {
      const client = rawClient(running.port)
      client.write(upgradeRequest({ path: target }))
      const { head } = await backend.nextUpgrade()
      assert.equal(head.slice(0, head.indexOf('\r\n')), `GET ${target} HTTP/1.1`)
      client.socket.destroy()
    }
    const client = rawClient(running.port)
    client.write(upgradeRequest({ path: 'http://named.test/x' }))
    const { head } = await backend.nextUpgrade()
    assert.match(head, /^GET \/x HTTP\/1\.1\r\nHost: named\.test\r\n/)
    client.socket.destroy()
  })

  test('a method other than GET keeps its name', async () => {
    await using backend = await rawBackend((upgrade) => upgrade.accept())
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ method: 'OPTIONS', path: '*' }))
    assert.match((await backend.nextUpgrade()).head, /^OPTIONS \* HTTP\/1\.1\r\n/)
    client.socket.destroy()
  })

  test('overrides: target, group, timeouts, and a wrong one', async () => {
    await using unnamed = await webSocketBackend()
    await using named = await webSocketBackend()
    await using other = await webSocketBackend()
    await using silent = await rawBackend()
    await using running = await runInServer(
      { target: unnamed.url, groups: { named: { target: named.url } } },
      (proxy) =>
        http.createServer().on('upgrade', (req, socket, head) => {
          const overrides: Record<string, object> = {
            '/target': { target: other.url },
            '/group': { group: 'named' },
            '/timeouts': { target: silent.url, timeouts: { headers: 1 } },
            '/wrong': { group: 'nobody' },
          }
          proxy.ws(req, socket, head, overrides[req.url ?? ''])
        }),
    )
    for (const [where, backend] of [
      ['/', unnamed],
      ['/target', other],
      ['/group', named],
    ] as const) {
      await close(await open(running, where))
      assert.equal(backend.requests.length, 1)
      assert.equal((await running.nextRecord()).status, 101)
    }
    for (const [where, status] of [
      ['/timeouts', 504],
      ['/wrong', 500],
    ] as const) {
      const client = rawClient(running.port)
      client.write(upgradeRequest({ path: where }))
      assert.match(await client.until('\r\n\r\n'), new RegExp(`^HTTP/1\\.1 ${status} `))
      client.socket.destroy()
    }
  })
})

describe('accounts', () => {
  test('pending counts while it is open, events come once, the record tells it all', async () => {
    await using backend = await webSocketBackend()
    await using running = await runProxy({ backends: [{ url: backend.url, id: 'one' }] })
    const seen: string[] = []
    for (const event of ['request', 'attempt', 'upgrade', 'response', 'retry', 'error', 'finish'] as const) {
      running.proxy.on(event, () => void seen.push(event))
    }
    const socket = await open(running, '/chat', [], { headers: { 'User-Agent': 'test' } })
    assert.equal(running.pending(), 1)
    assert.equal(running.proxy.stats().active, 1)
    socket.send('12345')
    await once(socket, 'message')
    assert.equal(running.pending(), 1)
    await close(socket)
    const record = await running.nextRecord()
    assert.equal(running.pending(), 0)
    assert.equal(running.proxy.stats().active, 0)
    assert.deepEqual(seen, ['request', 'attempt', 'upgrade', 'finish'])
    assert.equal(record.outcome, 'upgraded')
    assert.equal(record.status, 101)
    assert.equal(record.backend, 'one')
    assert.equal(record.attempts, 1)
    assert.equal(record.errorCode, null)
    assert.equal(record.target, '/chat')
    assert.equal(record.userAgent, 'test')
    // A masked frame of 5 bytes and a masked close frame without a status; the same, not masked, with its status.
    assert.equal(record.requestBytes, 6 + 5 + 6)
    assert.equal(record.responseBytes, 2 + 5 + 2)
    assert.ok(record.firstByteMs >= 0 && record.firstByteMs <= record.totalMs)
    assert.ok(record.backendMs > 0)
  })

  test('they are balanced by what is open', async () => {
    await using one = await webSocketBackend()
    await using two = await webSocketBackend()
    await using running = await runProxy({ backends: [one.url, two.url], balancer: 'least-connections' })
    const sockets = []
    for (let i = 0; i < 6; i++) sockets.push(await open(running))
    assert.equal(one.openConnections, 3)
    assert.equal(two.openConnections, 3)
    await Promise.all(sockets.map(close))
  })
})

describe('which requests are switched', () => {
  test('other protocols than WebSocket are', async () => {
    await using backend = await rawBackend((upgrade) => upgrade.accept('Foo/2'))
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ protocol: 'bar, foo/2' }))
    assert.match(await client.until('\r\n\r\n'), /\r\nUpgrade: Foo\/2\r\n/)
    const upgrade = await backend.nextUpgrade()
    assert.match(upgrade.head, /\r\nupgrade: bar, foo\/2\r\n/)
    client.write('ping')
    await upgrade.until('ping')
    upgrade.socket.write('pong')
    await client.until('pong')
    client.socket.destroy()
  })

  const h2c = { protocol: 'h2c', extra: 'Connection: HTTP2-Settings, X-Hop\r\nHTTP2-Settings: AAMA\r\nX-Hop: 1\r\n' }
  for (const [name, run] of Object.entries({
    'where the server knows': runProxy,
    'where proxy.ws finds out': (options: ProxyOptions) =>
      runInServer(options, (proxy) =>
        http
          .createServer((_req, res) => res.end('not this one'))
          .on('upgrade', (req, socket, head) => proxy.ws(req, socket, head, {})),
      ),
  })) {
    test(`h2c is an ordinary request, ${name}`, async () => {
      await using backend = await mockBackend()
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest({ ...h2c, path: '/plain' }))
      assert.match(await client.until('GET /plain'), /^HTTP\/1\.1 200 OK\r\n/)
      const { rawHead } = await backend.nextRequest()
      assert.doesNotMatch(rawHead, /upgrade|x-hop/i)
      assert.match(rawHead, /\r\nX-Forwarded-For: 127\.0\.0\.1\r\n/)
      const record = await running.nextRecord()
      assert.equal(record.outcome, 'answered')
      assert.equal(record.status, 200)
      client.socket.destroy()
    })
  }

  test('h2c through proxy.ws: the connection ends after the answer, the whole of a long one comes', async () => {
    const long = randomBytes(4 * MIB)
    await using backend = await mockBackend({ body: long })
    await using running = await runInServer({ target: backend.url }, (proxy) =>
      http.createServer().on('upgrade', proxy.ws),
    )
    const client = rawClient(running.port)
    client.write(upgradeRequest(h2c))
    assert.equal(await client.ended, 'end')
    assert.match(client.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\nConnection: close\r\n/)
    assert.equal(client.text.length - client.text.indexOf('\r\n\r\n') - 4, long.length)
  })

  test('h2c on an attached server: its own handler answers', async () => {
    await using backend = await mockBackend()
    await using running = await runInServer({ target: backend.url }, (proxy) => {
      const server = http.createServer((req, res) => res.end(`the application's ${req.url}`))
      proxy.attach(server)
      // As where node does not ask (before 22.21).
      Reflect.deleteProperty(server, 'shouldUpgradeCallback')
      Object.assign(server, { shouldUpgradeCallback: () => true })
      return server
    })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ ...h2c, path: '/own' }))
    await client.until("the application's /own")
    assert.equal(backend.requests.length, 0)
    client.socket.destroy()
  })

  test('h2c with a body is served with its body, where node asks', {
    skip: !('shouldUpgradeCallback' in http.createServer()),
  }, async () => {
    await using backend = await mockBackend()
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ ...h2c, method: 'POST', extra: `${h2c.extra}Content-Length: 5\r\n`, body: 'hello' }))
    await client.until('POST /')
    assert.equal((await backend.nextRequest()).bodyText, 'hello')
    client.socket.destroy()
  })

  test('h2c hidden in a list is not asked for, and not accepted', async () => {
    await using backend = await rawBackend((upgrade) => upgrade.accept('h2c'))
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ protocol: 'foo, H2C', extra: 'Upgrade: h2\r\n' }))
    assert.match(await client.until('ERR_PROXY_UPGRADE'), /^HTTP\/1\.1 502 /)
    assert.match(backend.heads[0] ?? '', /\r\nupgrade: foo\r\n/)
    assert.equal((await running.nextRecord()).errorCode, 'ERR_PROXY_UPGRADE')
    await backend.untilOpen(0)
    client.socket.destroy()
  })

  test('HTTP/1.0 cannot switch', async () => {
    await using backend = await mockBackend()
    await using running = await runProxy({ target: backend.url })
    const client = rawClient(running.port)
    client.write(upgradeRequest({ version: '1.0', protocol: 'websocket' }))
    await client.until('GET /')
    assert.doesNotMatch((await backend.nextRequest()).rawHead, /upgrade/i)
    assert.equal(await client.ended, 'end')
  })

  for (const [what, answer] of Object.entries({
    'another protocol': switching('bar'),
    'another one besides': switching('foo, bar'),
    'no protocol': 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n',
  })) {
    test(`a 101 that names ${what} is a 502`, async () => {
      await using backend = await rawBackend(({ socket }) => socket.write(answer))
      await using running = await runProxy({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      assert.match(await client.until('ERR_PROXY_UPGRADE'), /^HTTP\/1\.1 502 [\s\S]*\r\nConnection: close\r\n/)
      await backend.untilOpen(0)
      assert.equal(running.pending(), 0)
      client.socket.destroy()
    })
  }
})
