import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { parseProxyHeader } from '../../src/fronts/proxy-header.ts'
import { createProxy, type ListenOptions, type ProxyOptions } from '../../src/index.ts'
import { headerV1, headerV2 } from '../../src/pools/proxy-header.ts'
import { certificate, key } from '../support/certificates.ts'
import { haproxy, withoutHaproxy } from '../support/haproxy.ts'

describe('headers', () => {
  for (const [client, backend, route] of [
    ['192.0.2.7', '198.51.100.1', { remoteAddress: '192.0.2.7', localAddress: '198.51.100.1' }],
    ['2001:db8::1', '::1', { remoteAddress: '2001:db8::1', localAddress: '::1' }],
    ['2001:db8::1', '198.51.100.1', { remoteAddress: '2001:db8::1', localAddress: '198.51.100.1' }],
    ['192.0.2.7', '2001:db8::ff', { remoteAddress: '192.0.2.7', localAddress: '2001:db8::ff' }],
    ['fe80::1%eth0', 'fe80::2%lo', { remoteAddress: 'fe80::1', localAddress: 'fe80::2' }],
    ['192.0.2.7', '', { remoteAddress: '192.0.2.7', localAddress: '0.0.0.0' }],
    ['::ffff:192.0.2.7', '::ffff:198.51.100.1', { remoteAddress: '192.0.2.7', localAddress: '198.51.100.1' }],
    ['', '198.51.100.1', null],
    ['unknown', '198.51.100.1', null],
  ] as const) {
    test(`from ${client || 'nobody'} to ${backend || 'a unix socket'}`, () => {
      for (const header of [headerV1(client, backend, 8080), headerV2(client, backend, 8080)]) {
        const expected = route === null ? null : { ...route, remotePort: 0, localPort: 8080 }
        assert.deepEqual(parseProxyHeader(header), { length: header.length, route: expected })
      }
    })
  }
})

/** A backend that requires the header: a proxy of ours, with an application that tells what it has seen. */
async function backendWith(
  listen: Partial<ListenOptions> = {},
): Promise<{ url: string; connections(): number; seen: string[] } & AsyncDisposable> {
  const seen: string[] = []
  let connections = 0
  const application = http.createServer((req, res) => {
    seen.push(`${req.method} ${req.url} ${req.socket.remoteAddress} ${req.socket.localAddress}`)
    req.resume().on('end', () => res.end(`${req.socket.remoteAddress}`))
  })
  new WebSocketServer({ server: application }).on('connection', (socket, { socket: { remoteAddress } }) => {
    socket.send(`${remoteAddress}`)
  })
  const proxy = createProxy({ routes: [{ host: 'nobody.test' }], logger: 'silent', drainTimeoutMs: 100 })
  const { port } = await proxy.listen({
    port: 0,
    host: '127.0.0.1',
    fallback: application,
    proxyProtocol: ['loopback'],
    ...listen,
  })
  // Counts connections in front of it.
  const counter = net.createServer((socket) => {
    connections++
    const upstream = net.connect(port, '127.0.0.1')
    for (const one of [socket, upstream]) one.on('error', () => {})
    socket.pipe(upstream).pipe(socket)
  })
  counter.listen(0, '127.0.0.1')
  await once(counter, 'listening')
  const scheme = listen.tls === undefined ? 'http' : 'https'
  return {
    url: `${scheme}://127.0.0.1:${(counter.address() as net.AddressInfo).port}`,
    connections: () => connections,
    seen,
    async [Symbol.asyncDispose]() {
      counter.close()
      await proxy.close()
    },
  }
}

async function frontOf(options: ProxyOptions): Promise<{ port: number } & AsyncDisposable> {
  const proxy = createProxy({ logger: 'silent', drainTimeoutMs: 100, trustedProxies: ['loopback'], ...options })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  return { port, [Symbol.asyncDispose]: () => proxy.close() }
}

async function ask(port: number, client: string, init: RequestInit = {}): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/`, { ...init, headers: { 'x-forwarded-for': client } })
  return await response.text()
}

const tls = { key, cert: certificate }
for (const [scheme, listen, settings] of [
  ['http', {}, {}],
  ['https', { tls }, { tls: { ca: certificate } }],
] as const) {
  for (const proxyProtocol of ['v1', 'v2'] as const) {
    test(`${scheme}, ${proxyProtocol}: each connection belongs to one client, and is kept for it`, async () => {
      await using backend = await backendWith(listen)
      await using front = await frontOf({ backends: [{ url: backend.url, proxyProtocol, ...settings }] })
      for (const client of ['192.0.2.1', '192.0.2.2', '192.0.2.1', '2001:db8::1', '192.0.2.2', '2001:db8::1'])
        assert.equal(await ask(front.port, client), client)
      assert.equal(await ask(front.port, '192.0.2.1', { method: 'POST', body: 'x'.repeat(200_000) }), '192.0.2.1')
      assert.equal(backend.connections(), 3)
      assert.equal(backend.seen[0], 'GET / 192.0.2.1 127.0.0.1')
    })

    test(`${scheme}, ${proxyProtocol}: WebSockets and probes`, async () => {
      await using backend = await backendWith(listen)
      const healthCheck = { probe: { path: '/health', intervalMs: 60_000, timeoutMs: 5_000 } }
      const backends = [{ url: backend.url, proxyProtocol, ...settings }]
      const proxy = createProxy({ backends, healthCheck, logger: 'silent', trustedProxies: ['loopback'] })
      await using _ = { [Symbol.asyncDispose]: () => proxy.close() }
      const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { 'x-forwarded-for': '192.0.2.9' } })
      const [message] = (await once(socket, 'message')) as [Buffer]
      assert.equal(String(message), '192.0.2.9')
      socket.terminate()
      while (backend.seen.length === 0) await new Promise((resolve) => setImmediate(resolve))
      // LOCAL and UNKNOWN keep the address of the connection.
      assert.match(backend.seen[0] as string, /^GET \/health 127\.0\.0\.1 /)
      assert.equal(proxy.stats().groups[0]?.backends[0]?.status, 'available')
    })
  }
}

test('with all connections in use, an idle one of another client makes room', async () => {
  await using backend = await backendWith()
  const backends = [{ url: backend.url, proxyProtocol: 'v2' as const }]
  await using front = await frontOf({ backends, pool: { maxConnections: 2 } })
  for (const client of ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'])
    assert.equal(await ask(front.port, client), client)
  const many = Array.from({ length: 40 }, (_, i) => `192.0.2.${i % 8}`)
  assert.deepEqual(await Promise.all(many.map((client) => ask(front.port, client))), many)
})

test('a client without an address does not get the connection of one that has one', async () => {
  await using backend = await backendWith()
  const backends = [{ url: backend.url, proxyProtocol: 'v2' as const }]
  const proxy = createProxy({ backends, logger: 'silent', drainTimeoutMs: 100, trustedProxies: ['unix'] })
  await using _ = { [Symbol.asyncDispose]: () => proxy.close() }
  const path = join(tmpdir(), `heddle-${process.pid}.sock`)
  await proxy.listen({ path })
  const askBy = async (headers: http.OutgoingHttpHeaders): Promise<string> => {
    const request = http.get({ socketPath: path, headers, agent: false })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    let body = ''
    for await (const chunk of response) body += String(chunk)
    return body
  }
  for (let i = 0; i < 2; i++) {
    assert.equal(await askBy({ 'x-forwarded-for': '192.0.2.1' }), '192.0.2.1')
    // LOCAL: the address of the connection holds.
    assert.equal(await askBy({}), '127.0.0.1')
  }
  assert.equal(backend.connections(), 2)
})

test('a large response over TLS, to a slow reader', async () => {
  const application = http.createServer((_req, res) => res.end(Buffer.alloc(8 << 20, 'a')))
  await using backend = await backendWith({ tls, fallback: application })
  await using front = await frontOf({
    backends: [{ url: backend.url, proxyProtocol: 'v2', tls: { ca: certificate } }],
  })
  const [response] = (await once(http.get({ port: front.port, host: '127.0.0.1' }), 'response')) as [
    http.IncomingMessage,
  ]
  let bytes = 0
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length
    if (bytes % 7 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(bytes, 8 << 20)
})

test('a backend that is not there is refused as ever, over TLS too', async () => {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  for (const scheme of ['http', 'https']) {
    await using front = await frontOf({ backends: [{ url: `${scheme}://127.0.0.1:${port}`, proxyProtocol: 'v1' }] })
    assert.match(await ask(front.port, '192.0.2.1'), /ERR_PROXY_CONNECT\b/)
  }
})

test('not with HTTP/2', () => {
  assert.throws(
    () => createProxy({ backends: [{ url: 'http://a', protocol: 'h2', proxyProtocol: 'v2' }] }),
    /backends\[0\]\.proxyProtocol cannot be used together with protocol 'h2': its connections carry requests of many clients/,
  )
  // A protocol that does not exist is one mistake.
  const unknown = { url: 'http://a', protocol: 'http2', proxyProtocol: 'v2' } as unknown as { url: string }
  assert.throws(
    () => createProxy({ backends: [unknown] }),
    /^\w*Error.*: One option is wrong:\n {2}backends\[0\]\.protocol is 'http2'/,
  )
})

for (const version of ['v1', 'v2'] as const) {
  test(`HAProxy with accept-proxy: ${version}`, { skip: withoutHaproxy }, async () => {
    const server = http.createServer((req, res) => res.end(String(req.headers['x-forwarded-for'])))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    await using balancer = await haproxy(`127.0.0.1:${port}\n  option forwardfor`, 'accept-proxy')
    await using front = await frontOf({
      backends: [{ url: `http://127.0.0.1:${balancer.port}`, proxyProtocol: version }],
      xfwd: false,
    })
    for (const client of ['192.0.2.1', '2001:db8::1']) {
      assert.match(await ask(front.port, client), new RegExp(`${client}$`))
    }
    server.close()
    server.closeAllConnections()
  })
}
