import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import { describe, test } from 'node:test'
import tls from 'node:tls'
import { parseProxyHeader, readProxyHeaders } from '../../src/fronts/proxy-header.ts'
import { fieldValue } from '../../src/http1/fields.ts'
import {
  createProxy,
  type ExchangeRecord,
  type ListenOptions,
  type Proxy,
  type ProxyError,
  type ProxyOptions,
  workerThreads,
} from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { curl, withoutCurl } from '../support/curl.ts'
import { haproxy, withoutHaproxy } from '../support/haproxy.ts'
import { V2_IPV4, v1, v2 } from '../support/proxy-headers.ts'
import { rawClient } from '../support/raw-client.ts'
import { queue } from '../support/running-proxy.ts'
import { connected } from '../support/websocket-over-http2.ts'
import { without } from '../threads/threaded.ts'

const ROUTE = { remoteAddress: '192.0.2.7', remotePort: 4711, localAddress: '198.51.100.1', localPort: 443 }
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const IPV6 = hex('20010db8 00000000 00000000 00000001  20010db8 00000000 00000000 000000ff 1267 01bb')
const MAPPED = hex('00000000 00000000 0000ffff c0000207  00000000 00000000 0000ffff c6336401 1267 01bb')

describe('parseProxyHeader', () => {
  for (const [what, header, route] of [
    ['version 1, IPv4', v1(), ROUTE],
    [
      'version 1, IPv6, not in its shortest form',
      v1('2001:DB8:0:0::1', '::1'),
      { ...ROUTE, remoteAddress: '2001:db8::1', localAddress: '::1' },
    ],
    ['version 1, mapped IPv4', v1('::ffff:192.0.2.7', '::ffff:198.51.100.1'), ROUTE],
    ['version 1, UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), null],
    ['version 1, UNKNOWN with what no receiver reads', Buffer.from('PROXY UNKNOWN ffff:f 1 2\r\n'), null],
    ['version 2, IPv4', v2(), ROUTE],
    ['version 2, IPv6', v2(IPV6, 0x21, 0x21), { ...ROUTE, remoteAddress: '2001:db8::1', localAddress: '2001:db8::ff' }],
    ['version 2, mapped IPv4', v2(MAPPED, 0x21, 0x21), ROUTE],
    ['version 2, with TLVs', v2(Buffer.concat([V2_IPV4, hex('02 0005 612e746573 20 0001 00')])), ROUTE],
    ['version 2, LOCAL', v2(Buffer.alloc(0), 0x20, 0x00), null],
    ['version 2, LOCAL with addresses', v2(V2_IPV4, 0x20), null],
    ['version 2, not specified', v2(Buffer.alloc(0), 0x21, 0x00), null],
    ['version 2, a unix socket', v2(Buffer.alloc(216), 0x21, 0x31), null],
    ['version 2, of the largest size', v2(Buffer.concat([V2_IPV4, Buffer.alloc(4084)])), ROUTE],
  ] as const) {
    test(what, () => {
      for (let i = 0; i < header.length; i++) assert.equal(parseProxyHeader(header.subarray(0, i)), null, `${i} bytes`)
      assert.deepEqual(parseProxyHeader(header), { length: header.length, route })
      const more = Buffer.concat([header, Buffer.from('GET / HTTP/1.1\r\n')])
      assert.deepEqual(parseProxyHeader(more), { length: header.length, route })
    })
  }

  for (const [what, bytes, fault] of [
    ['a request', Buffer.from('GET / HTTP/1.1\r\n'), /something else/],
    ['a request, by its first byte', Buffer.from('G'), /something else/],
    ['the preface of HTTP/2', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), /something else/],
    ['a ClientHello', hex('16030100'), /something else/],
    ['small letters', Buffer.from('proxy TCP4'), /something else/],
    ['a line that is too long', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(200)}`), /more than 107 bytes/],
    ['a family that is not known', Buffer.from('PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n'), /malformed/],
    ['an address of the other family', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n'), /malformed/],
    ['an address that is none', Buffer.from('PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n'), /malformed/],
    ['a port that is none', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n'), /malformed/],
    ['a port with a sign', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n'), /malformed/],
    ['two spaces', Buffer.from('PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n'), /malformed/],
    ['no ports', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4\r\n'), /malformed/],
    ['version 3', v2(V2_IPV4, 0x31), /another version/],
    ['an unknown command', v2(V2_IPV4, 0x22), /unknown command/],
    ['UDP', v2(V2_IPV4, 0x21, 0x12), /something else than TCP/],
    ['too short for its addresses', v2(V2_IPV4.subarray(1)), /too short/],
    ['too short for IPv6', v2(V2_IPV4, 0x21, 0x21), /too short/],
    ['too large', v2(Buffer.alloc(0), 0x21, 0x11, 4097), /more than 16 \+ 4096 bytes/],
  ] as const) {
    test(`refuses ${what}`, () => {
      assert.match(String(parseProxyHeader(bytes)), fault)
    })
  }
})

async function run(
  options: ProxyOptions,
  listen: Partial<ListenOptions> = {},
): Promise<
  {
    readonly proxy: Proxy
    readonly port: number
    nextRecord(): Promise<ExchangeRecord>
    nextError(): Promise<ProxyError>
  } & AsyncDisposable
> {
  const proxy = createProxy({ drainTimeoutMs: 500, logger: 'silent', ...options })
  const records = queue<ExchangeRecord>()
  const errors = queue<ProxyError>()
  proxy.on('finish', (_exchange, record) => records.push(record)).on('error', (error) => errors.push(error))
  const { port } = await proxy.listen({ host: '127.0.0.1', port: 0, proxyProtocol: ['127.0.0.0/8'], ...listen })
  return {
    proxy,
    port,
    nextRecord: records.next,
    nextError: errors.next,
    [Symbol.asyncDispose]: () => proxy.close(),
  }
}

/** A backend that tells what it was told of the client. */
const telling = () =>
  mockBackend(({ headers, path }, reply) => {
    const names = ['x-forwarded-for', 'x-forwarded-port', 'x-forwarded-proto']
    reply.send({ body: `${path} ${names.map((name) => fieldValue(headers, name)).join(' ')}.` })
  })

const request = (path = '/'): Buffer => Buffer.from(`GET ${path} HTTP/1.1\r\nHost: a.test\r\n\r\n`)

for (const [name, header] of [
  ['1', v1()],
  ['2', v2()],
] as const) {
  test(`version ${name}: with the request in one piece, apart from it, and byte by byte`, async () => {
    await using backend = await telling()
    await using front = await run({ target: backend.url })
    const together = rawClient(front.port)
    together.write(Buffer.concat([header, request('/one')]))
    await together.until('/one 192.0.2.7 443 http.')
    together.write(request('/two'))
    await together.until('/two 192.0.2.7 443 http.')
    const apart = rawClient(front.port)
    apart.socket.setNoDelay()
    apart.write(header)
    await new Promise((resolve) => setTimeout(resolve, 20))
    apart.write(request())
    await apart.until('/ 192.0.2.7 443 http.')
    const slow = rawClient(front.port)
    slow.socket.setNoDelay()
    for (const byte of Buffer.concat([header, request()])) {
      slow.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await slow.until('/ 192.0.2.7 443 http.')
    for (const { socket } of [together, apart, slow]) socket.destroy()
    assert.equal((await front.nextRecord()).clientAddress, '192.0.2.7')
  })
}

test('without addresses in the header those of the connection hold', async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url })
  for (const header of [v2(V2_IPV4, 0x20), Buffer.from('PROXY UNKNOWN\r\n')]) {
    const client = rawClient(front.port)
    client.write(Buffer.concat([header, request()]))
    await client.until(`/ 127.0.0.1 ${front.port} http.`)
    client.socket.destroy()
  }
})

test('from a listed address the header is required: anything else ends the connection, and is told', async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url })
  for (const [bytes, fault] of [
    [
      request(),
      /^closed a connection from 127\.0\.0\.1: it began with something else than a PROXY header; proxyProtocol says/,
    ],
    [Buffer.from('PROXY TCP4 1 2 3 4\r\n'), /a malformed PROXY header/],
    [v2(V2_IPV4, 0x31), /another version/],
  ] as const) {
    const client = rawClient(front.port)
    client.write(bytes)
    const error = await front.nextError()
    assert.equal(error.code, 'ERR_PROXY_BAD_REQUEST')
    assert.match(error.message, fault)
    await client.ended
    assert.equal(client.text, '')
  }
  const cut = rawClient(front.port)
  cut.socket.end('PROXY TCP4 192')
  assert.match((await front.nextError()).message, /it ended within its PROXY header/)
  // A check whether somebody listens.
  const silent = rawClient(front.port)
  silent.socket.end()
  await silent.ended
  const last = rawClient(front.port)
  last.write(request())
  assert.match((await front.nextError()).message, /something else/)
  assert.equal(backend.requests.length, 0)
})

test('from another address no header is read: nobody can choose an address', async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url }, { proxyProtocol: ['192.0.2.0/24', 'unix'] })
  const client = rawClient(front.port)
  client.write(Buffer.concat([v1(), request()]))
  await client.until('400 Bad Request')
  const other = rawClient(front.port)
  other.write(request())
  await other.until(`/ 127.0.0.1 ${front.port} http.`)
  other.socket.destroy()
  assert.equal(backend.requests.length, 1)
})

test('a header that does not come is waited for 3 s', async () => {
  const clock = manualClock()
  const faults: string[] = []
  const accepted: Socket[] = []
  const server = net.createServer((socket) => accepted.push(socket))
  const pending = readProxyHeaders(server, {
    clock,
    isExpected: () => true,
    hasRoom: () => true,
    onFault: (_socket, fault) => faults.push(fault),
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = rawClient((server.address() as net.AddressInfo).port)
  client.write('PROXY ')
  await once(server, 'connection')
  assert.equal(pending.size, 1)
  clock.advance(2_999)
  assert.deepEqual(faults, [])
  clock.advance(1)
  assert.deepEqual(faults, ['its PROXY header did not come within 3000 ms'])
  await client.ended
  assert.equal(pending.size, 0)
  assert.equal(accepted.length, 0)
  server.close()
})

/** Relays to a port, the header first: with the first bytes of the client in one piece, or before them. */
async function relay(port: number, header: Buffer, isApart: boolean): Promise<{ port: number } & AsyncDisposable> {
  const server = net.createServer((client) => {
    const upstream = net.connect({ port, host: '127.0.0.1', noDelay: true })
    for (const one of [client, upstream]) one.on('error', () => {})
    if (isApart) upstream.write(header)
    client.once('data', (bytes) => {
      upstream.write(isApart ? bytes : Buffer.concat([header, bytes]))
      client.pipe(upstream)
    })
    upstream.pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as net.AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close()
    },
  }
}

for (const isApart of [true, false]) {
  test(`before TLS: header and ClientHello ${isApart ? 'apart' : 'in one piece'}`, async () => {
    await using backend = await telling()
    await using front = await run({ target: backend.url }, { tls: { key, cert: certificate } })
    await using way = await relay(front.port, v2(), isApart)
    const socket = tls.connect({ port: way.port, host: '127.0.0.1', rejectUnauthorized: false })
    socket.write(request())
    assert.match(String((await once(socket, 'data'))[0]), /192\.0\.2\.7 443 https\./)
    socket.destroy()
    assert.equal((await front.nextRecord()).clientAddress, '192.0.2.7')
  })
}

test('HTTP/2, in clear text and over TLS', async () => {
  await using backend = await telling()
  for (const secure of [undefined, { key, cert: certificate }]) {
    await using front = await run({ target: backend.url }, { tls: secure, protocols: ['h2', 'http/1.1'] })
    await using way = await relay(front.port, v1(), false)
    const scheme = secure === undefined ? 'http' : 'https'
    await using session = await connected(way.port, { rejectUnauthorized: false }, scheme)
    const stream = session.request({ ':path': '/', ':authority': 'a.test' })
    assert.match(String((await once(stream, 'data'))[0]), new RegExp(`/ 192.0.2.7 443 ${scheme}\\.`))
  }
})

test('requests that are left to node:http, and an application behind', async () => {
  const fallback = http.createServer((req, res) => {
    const { remoteAddress, remotePort, localAddress, localPort } = req.socket
    res.end(JSON.stringify({ remoteAddress, remotePort, localAddress, localPort }))
  })
  await using front = await run({ routes: [{ host: 'nobody.test' }] }, { fallback, protocols: ['h2', 'http/1.1'] })
  const client = rawClient(front.port)
  client.write(Buffer.concat([v2(), request()]))
  await client.until(JSON.stringify(ROUTE))
  client.socket.destroy()
  await using way = await relay(front.port, v1(), false)
  await using session = await connected(way.port)
  const stream = session.request({ ':path': '/', ':authority': 'a.test' })
  assert.deepEqual(JSON.parse(String((await once(stream, 'data'))[0])), ROUTE)
})

test('in threads', { skip: await without() }, async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url, executor: workerThreads({ threads: 2 }) })
  for (let i = 0; i < 6; i++) {
    const client = rawClient(front.port)
    client.write(v2())
    client.write(request())
    await client.until('/ 192.0.2.7 443 http.')
    client.socket.destroy()
  }
})

test('in threads to which the main thread hands connections, over TLS', {
  skip: await without('least-loaded'),
}, async () => {
  await using backend = await telling()
  const executor = workerThreads({ threads: 2, spread: 'least-loaded' })
  await using front = await run({ target: backend.url, executor }, { tls: { key, cert: certificate } })
  for (const isApart of [true, false, true, false]) {
    await using way = await relay(front.port, v1(), isApart)
    const socket = tls.connect({ port: way.port, host: '127.0.0.1', rejectUnauthorized: false })
    socket.write(request())
    assert.match(String((await once(socket, 'data'))[0]), /192\.0\.2\.7 443 https\./)
    socket.destroy()
  }
})

test('limits count the client, and not the balancer; connections without a header count as open', async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url, limits: { maxConnectionsPerAddress: 1, maxConnections: 3 } })
  const clients = ['192.0.2.1', '192.0.2.2'].map((address) => {
    const client = rawClient(front.port)
    client.write(Buffer.concat([v1(address), request()]))
    return client
  })
  await Promise.all(clients.map((client) => client.until('443 http.')))
  const again = rawClient(front.port)
  again.write(Buffer.concat([v1('192.0.2.1'), request()]))
  await again.ended
  assert.equal(again.text, '')
  const silent = rawClient(front.port)
  silent.write('PROXY ')
  const tooMany = rawClient(front.port)
  assert.equal((await front.nextError()).code, 'ERR_PROXY_CONNECTION_LIMIT')
  await tooMany.ended
  for (const { socket } of [...clients, silent]) socket.destroy()
})

test('trustedProxies are compared with the address of the header', async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url, trustedProxies: ['127.0.0.1', '192.0.2.9'] })
  const forwarded = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n')
  const stranger = rawClient(front.port)
  stranger.write(Buffer.concat([v1('192.0.2.7'), forwarded]))
  await stranger.until('/ 192.0.2.7 443')
  const trusted = rawClient(front.port)
  trusted.write(Buffer.concat([v1('192.0.2.9'), forwarded]))
  await trusted.until('/ 203.0.113.5, 192.0.2.9 443')
  for (const { socket } of [stranger, trusted]) socket.destroy()
})

test('close() does not wait for a header', async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url, drainTimeoutMs: 10_000 })
  const client = rawClient(front.port)
  client.write('PROXY TCP4')
  await once(client.socket, 'connect')
  const begin = performance.now()
  await front.proxy.close()
  await client.ended
  assert.ok(performance.now() - begin < 2_900, 'closed by the limit on headers')
})

for (const sends of ['send-proxy', 'send-proxy-v2', 'send-proxy-v2 proxy-v2-options unique-id,crc32c']) {
  test(`HAProxy: ${sends}`, { skip: withoutHaproxy }, async () => {
    await using backend = await telling()
    await using front = await run({ target: backend.url })
    await using balancer = await haproxy(`127.0.0.1:${front.port} ${sends}`, 'accept-proxy')
    const client = rawClient(balancer.port)
    client.write(Buffer.concat([v1(), request()]))
    await client.until('/ 192.0.2.7 443 http.')
    client.socket.destroy()
  })
}

test('HAProxy over TLS: send-proxy-v2', { skip: withoutHaproxy }, async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url }, { tls: { key, cert: certificate } })
  await using balancer = await haproxy(
    `127.0.0.1:${front.port} send-proxy-v2 ssl verify none alpn http/1.1`,
    'accept-proxy',
  )
  const client = rawClient(balancer.port)
  client.write(Buffer.concat([v2(), request()]))
  await client.until('/ 192.0.2.7 443 https.')
  client.socket.destroy()
})

test('curl --haproxy-protocol', { skip: withoutCurl }, async () => {
  await using backend = await telling()
  await using front = await run({ target: backend.url })
  const { code, stdout } = await curl(['--haproxy-protocol', `http://127.0.0.1:${front.port}/`])
  assert.deepEqual([code, String(stdout)], [0, `/ 127.0.0.1 ${front.port} http.`])
})
