import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { ClientHttp2Stream } from 'node:http2'
import { test } from 'node:test'
import type { WebSocket } from 'ws'
import { WebSocketServer } from 'ws'
import { FLAG, FRAME } from '../../../src/http2/protocol.ts'
import type { ListenOptions, ProxyOptions } from '../../../src/index.ts'
import { mockBackend } from '../../../src/testing/index.ts'
import { data, type Frame, headers } from '../../http2/wire.ts'
import { certificate, key } from '../../support/certificates.ts'
import { runBoth } from '../../support/running-proxy.ts'
import { rawBackend, webSocketBackend } from '../../support/upgrade-backends.ts'
import { connected, handshake, openWebSocket } from '../../support/websocket-over-http2.ts'
import { rawClient } from './raw-client.ts'

const run = (options: ProxyOptions, listen?: Partial<ListenOptions>) =>
  runBoth({ drainTimeoutMs: 2_000, ...options }, listen)

const CONNECT: readonly (readonly [string, string])[] = [
  [':method', 'CONNECT'],
  [':protocol', 'websocket'],
  [':scheme', 'http'],
  [':authority', 'a.test'],
  [':path', '/'],
  ['sec-websocket-version', '13'],
]
const connect = (id: number, extra: typeof CONNECT = []): Buffer =>
  headers(id, [...CONNECT, ...extra], FLAG.END_HEADERS)
const is =
  (type: number, id: number) =>
  (one: Frame): boolean =>
    one.type === type && one.id === id

async function echo(socket: WebSocket, message: Buffer | string): Promise<void> {
  socket.send(message)
  const [answer] = (await once(socket, 'message')) as [Buffer]
  assert.ok(answer.equals(Buffer.from(message as string)), 'the echo differs')
}

const responseOf = async (stream: ClientHttp2Stream): Promise<number> =>
  ((await once(stream, 'response')) as [{ ':status': number }])[0][':status']

for (const tls of [undefined, { key, cert: certificate }]) {
  const way = tls === undefined ? 'in clear text' : 'over TLS'
  const scheme = tls === undefined ? 'http' : 'https'
  test(`a WebSocket over HTTP/2 ${way}: 500 echoes, 10 of 1 MiB, and both streams at a time`, async () => {
    await using backend = await webSocketBackend()
    await using front = await run({ target: backend.url }, { tls })
    await using session = await connected(front.port, { rejectUnauthorized: false }, scheme)
    assert.equal(session.remoteSettings.enableConnectProtocol, true)
    const [one, other] = await Promise.all([openWebSocket(session, '/one'), openWebSocket(session, '/other')])
    for (let i = 0; i < 250; i++) await Promise.all([echo(one.socket, `one ${i}`), echo(other.socket, `other ${i}`)])
    for (let i = 0; i < 10; i++) await echo(one.socket, randomBytes(1 << 20))
    assert.deepEqual(backend.requests.map(({ url }) => url).sort(), ['/one', '/other'])
    assert.equal(backend.requests[0]?.headers['x-forwarded-proto'], scheme)
    one.socket.close(4321, 'done')
    const [code, reason] = (await once(one.socket, 'close')) as [number, Buffer]
    assert.deepEqual([code, String(reason)], [4321, 'done'])
    await echo(other.socket, 'still there')
    const record = await front.nextRecord()
    assert.equal(record.httpVersion, '2.0')
    assert.equal(record.outcome, 'upgraded')
    assert.equal(record.target, '/one')
    assert.equal(record.clientAddress, '127.0.0.1')
    assert.ok(record.requestBytes > 10 << 20 && record.responseBytes > 10 << 20)
  })
}

test("the handshake has the client's fields and a key of ours, and its response has no accept", async () => {
  await using backend = await webSocketBackend({ handleProtocols: () => 'second', perMessageDeflate: true })
  await using front = await run({ target: backend.url, via: 'edge' })
  await using session = await connected(front.port)
  const { headers: answer, socket } = await openWebSocket(session, '/chat?room=1', {
    'sec-websocket-protocol': 'first, second',
    'sec-websocket-key': 'of the client',
    origin: 'http://a.test',
    cookie: 'a=1',
  })
  assert.equal(answer['sec-websocket-protocol'], 'second')
  for (const name of ['sec-websocket-accept', 'upgrade', 'connection']) assert.equal(answer[name], undefined)
  const [request] = backend.requests
  assert.equal(request?.method, 'GET')
  assert.equal(request?.url, '/chat?room=1')
  assert.equal(Buffer.from(request?.headers['sec-websocket-key'] ?? '', 'base64').length, 16)
  assert.equal(request?.headers.origin, 'http://a.test')
  assert.equal(request?.headers.cookie, 'a=1')
  assert.equal(request?.headers.via, '2 edge')
  socket.terminate()
})

test('a backend closes, with its code', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  const accepted = backend.nextSocket()
  const { socket, stream } = await openWebSocket(session)
  const closed = once(socket, 'close')
  const ended = once(stream, 'close')
  ;(await accepted).close(1012, 'restart')
  assert.equal((await closed)[0], 1012)
  await ended
  assert.equal(stream.rstCode, 0)
})

test('a client that resets its stream ends the connection to the backend, and only that', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  const accepted = backend.nextSocket()
  const { stream } = await openWebSocket(session)
  const other = await openWebSocket(session)
  const closed = once(await accepted, 'close')
  stream.close(8)
  assert.equal((await closed)[0], 1006)
  assert.equal((await front.nextRecord()).outcome, 'upgraded')
  await echo(other.socket, 'alive')
})

test('a lost backend resets the stream (CANCEL), and a lost client ends all of its backends', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  const accepted = backend.nextSocket()
  const { stream } = await openWebSocket(session)
  const closed = once(stream, 'close')
  const socket = await accepted
  ;(socket as unknown as { _socket: { resetAndDestroy(): void } })._socket.resetAndDestroy()
  await closed
  assert.equal(stream.rstCode, 8)
  await openWebSocket(session)
  await openWebSocket(session)
  session.destroy()
  await backend.untilOpen(0)
})

test('each side ends on its own', async () => {
  await using backend = await rawBackend(() => {}, { keepsOpen: true })
  await using front = await run({ target: backend.url })
  await using client = rawClient(front.port)
  client.send(connect(1))
  const upgrade = await backend.nextUpgrade()
  const accept = await acceptOf(upgrade.head)
  upgrade.socket.write(accept)
  const head = await client.until(is(FRAME.HEADERS, 1))
  assert.equal(client.fields(head)[1], '200')
  client.send(data(1, 'last words', FLAG.END_STREAM))
  await once(upgrade.socket, 'end')
  assert.equal(upgrade.received, 'last words')
  upgrade.socket.end('answer')
  await client.until((one) => one.type === FRAME.DATA && (one.flags & FLAG.END_STREAM) !== 0)
  const text = client.frames.filter(({ type }) => type === FRAME.DATA).map(({ payload }) => String(payload))
  assert.equal(text.join(''), 'answer')
  assert.equal(
    client.frames.some(({ type }) => type === FRAME.RST_STREAM),
    false,
  )
})

async function acceptOf(head: string): Promise<string> {
  const { createHash } = await import('node:crypto')
  const [, sent = ''] = /sec-websocket-key: (\S+)/i.exec(head) ?? []
  const accept = createHash('sha1').update(`${sent}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
}

test('bytes that come before the response wait for it, and those behind the head are not lost', async () => {
  await using backend = await rawBackend()
  await using front = await run({ target: backend.url })
  await using client = rawClient(front.port)
  client.send(connect(1), data(1, 'early '), data(1, ''), data(1, 'bird'))
  const upgrade = await backend.nextUpgrade()
  assert.equal(upgrade.received, '')
  upgrade.socket.write(`${await acceptOf(upgrade.head)}glued`)
  await upgrade.until('early bird')
  const frame = await client.until(is(FRAME.DATA, 1))
  assert.equal(String(frame.payload), 'glued')
})

test('a 101 that does not prove that it is a WebSocket is a 502', async () => {
  await using backend = await rawBackend((upgrade) => upgrade.accept('websocket'))
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  assert.equal(await responseOf(handshake(session)), 502)
  await backend.untilOpen(0)
})

test('a client that does not read stops the backend, and others go on', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port, { settings: { initialWindowSize: 65_535 } })
  const accepted = backend.nextSocket()
  const { stream } = await openWebSocket(session)
  const socket = await accepted
  stream.pause()
  const tcp = (socket as unknown as { _socket: { writableLength: number } })._socket
  for (let i = 0; i < 64; i++) socket.send(Buffer.alloc(1 << 20))
  const other = await openWebSocket(session)
  for (let i = 0; i < 50; i++) await echo(other.socket, `${i}`)
  assert.ok(tcp.writableLength > 16 << 20, 'the proxy has taken more than it could pass on')
  stream.destroy()
})

test('a backend that does not read stops the client', async () => {
  await using backend = await rawBackend()
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  const stream = handshake(session)
  const upgrade = await backend.nextUpgrade()
  upgrade.socket.pause()
  upgrade.socket.write(await acceptOf(upgrade.head))
  await once(stream, 'response')
  const sent = Buffer.alloc(1 << 20)
  for (let i = 0; i < 64; i++) stream.write(sent)
  const { status } = await (async () => {
    const second = session.request({ ':path': '/', ':authority': 'a.test' })
    second.on('error', () => {}).end()
    await backend.nextUpgrade().then((one) => one.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
    return { status: await responseOf(second) }
  })()
  assert.equal(status, 200)
  assert.ok(stream.writableLength > 16 << 20, 'the proxy has taken more than it could pass on')
  stream.destroy()
})

test('an ordinary response is passed on as one', async () => {
  await using backend = await mockBackend((_request, reply) => reply.send({ status: 403, body: 'not you' }))
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  const stream = handshake(session)
  let body = ''
  stream.on('data', (chunk) => {
    body += chunk
  })
  assert.equal(await responseOf(stream), 403)
  await once(stream, 'close')
  assert.equal(body, 'not you')
  assert.equal(stream.rstCode, 0)
  const record = await front.nextRecord()
  assert.equal(record.status, 403)
  assert.equal(record.httpVersion, '2.0')
})

test('no route, no backend, no connection: 404, 503, 502', async () => {
  await using gone = await mockBackend()
  const { url } = gone
  await gone[Symbol.asyncDispose]()
  await using front = await run({
    groups: { gone: { backends: [url] }, empty: { backends: [] } },
    routes: [
      { path: '/gone', group: 'gone' },
      { path: '/empty', group: 'empty' },
    ],
  })
  await using session = await connected(front.port)
  for (const [path, status] of [
    ['/', 404],
    ['/empty', 503],
    ['/gone', 502],
  ] as const) {
    assert.equal(await responseOf(handshake(session, path)), status, path)
  }
})

test('another protocol is 501, CONNECT alone 400, a CONNECT with a length 400; each is recorded', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  const [refusal] = await once(handshake(session, '/', { ':protocol': 'connect-udp' }), 'response')
  assert.equal(refusal[':status'], 501)
  assert.ok(!Number.isNaN(Date.parse(refusal.date)))
  assert.match(front.errors.at(-1)?.message ?? '', /a protocol other than websocket: "connect-udp"/)
  const plain = session.request({ ':method': 'CONNECT', ':authority': 'a.test:443' })
  plain.on('error', () => {})
  assert.equal(await responseOf(plain), 400)
  assert.equal(await responseOf(handshake(session, '/', { 'content-length': '5' })), 400)
  await echo((await openWebSocket(session)).socket, 'the connection goes on')
  assert.equal(backend.requests.length, 1)
})

test('WebSockets are offered only where a route takes GET', async () => {
  await using backend = await webSocketBackend()
  const group = { backends: [backend.url] }
  await using front = await run({ ...group, routes: [{ path: '/', method: 'POST' }] })
  await using session = await connected(front.port)
  assert.equal(session.remoteSettings.enableConnectProtocol ?? false, false)
  await using both = await run({ ...group, routes: [{ path: '/a', method: 'POST' }, { path: '/b' }] })
  await using other = await connected(both.port)
  assert.equal(other.remoteSettings.enableConnectProtocol, true)
})

test('an idle WebSocket is reset after timeouts.upgradeIdle', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url, timeouts: { upgradeIdle: 50 } })
  await using session = await connected(front.port)
  const { stream } = await openWebSocket(session)
  await once(stream, 'close')
  assert.equal(stream.rstCode, 8)
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_UPGRADE_IDLE_TIMEOUT')
  await backend.untilOpen(0)
})

test('close() asks both ends to close, and the connection ends after its streams', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url })
  await using session = await connected(front.port)
  const goaway = once(session, 'goaway')
  const { socket } = await openWebSocket(session)
  const closed = once(socket, 'close')
  const done = front.proxy.close()
  assert.equal((await closed)[0], 1001)
  await goaway
  await done
})

test('streams do not count against limits.maxConnections', async () => {
  await using backend = await webSocketBackend()
  await using front = await run({ target: backend.url, limits: { maxConnections: 1 } })
  await using session = await connected(front.port)
  const sockets = await Promise.all([openWebSocket(session), openWebSocket(session), openWebSocket(session)])
  for (const { socket } of sockets) await echo(socket, 'hello')
})

test("an application's own WebSocket server, as fallback", async () => {
  const application = http.createServer()
  const sockets = new WebSocketServer({ server: application })
  sockets.on('connection', (socket, request) => {
    if (request.url === '/hmr') socket.send(`${request.url} from ${request.socket.remoteAddress}`)
    socket.on('message', (message) => socket.send(message))
  })
  await using front = await run({ routes: [{ host: 'nobody.test' }] }, { fallback: application })
  await using session = await connected(front.port)
  assert.equal(session.remoteSettings.enableConnectProtocol, true)
  const stream = handshake(session, '/hmr')
  assert.equal(await responseOf(stream), 200)
  let greeting = ''
  for await (const chunk of stream) {
    greeting += String(chunk)
    if (greeting.endsWith('127.0.0.1')) break
  }
  assert.match(greeting, /\/hmr from 127\.0\.0\.1$/)
  const { socket } = await openWebSocket(session, '/other')
  await echo(socket, randomBytes(300_000))
})
