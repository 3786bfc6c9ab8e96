import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { createProxyMiddleware } from '../../../src/compat/middleware/index.ts'
import { deadPort } from '../../../src/testing/mock-backend.ts'
import { rawClient } from '../../support/raw-client.ts'
import { gate } from '../../support/running-proxy.ts'
import { app, backend, get, recordingLogger, type Served, same, served } from './both.ts'

/** Says to every WebSocket message which path it came on, and responds to requests. */
async function echoBackend(): Promise<Served> {
  const target = await backend()
  const sockets = new WebSocketServer({ server: target.server })
  sockets.on('connection', (socket, req) => socket.on('message', (text) => socket.send(`${req.url}: ${text}`)))
  return target
}

/** The first message that comes back. */
async function ask(url: string, text = 'hello'): Promise<string> {
  const socket = new WebSocket(url)
  await once(socket, 'open')
  socket.send(text)
  const [message] = await once(socket, 'message')
  socket.close()
  await once(socket, 'close')
  return String(message)
}

const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

same('ws: true serves WebSockets after a first request, once each', async (api) => {
  await using target = await echoBackend()
  let handshakes = 0
  const proxy = api.createProxyMiddleware({
    target: target.url,
    ws: true,
    pathRewrite: { '^/socket': '' },
    on: { proxyReqWs: () => void handshakes++ },
  })
  await using front = await served(app(proxy))
  await get(front.url)
  await get(front.url)
  assert.equal(await ask(`${front.wsUrl}/socket/a`), '/a: hello')
  assert.equal(handshakes, 1)
  // Subscribed by the application, too.
  front.server.on('upgrade', proxy.upgrade)
  assert.equal(await ask(`${front.wsUrl}/socket/b`), '/b: hello')
  assert.equal(handshakes, 2)
})

same('upgrade serves WebSockets without a first request, with router and pathRewrite', async (api) => {
  await using target = await echoBackend()
  const proxy = api.createProxyMiddleware({
    target: 'ws://notworking.invalid:6789',
    router: { '/socket': target.url.replace('http', 'ws') },
    pathRewrite: async (path) => path.replace('/socket', ''),
  })
  await using front = await served(app(proxy))
  front.server.on('upgrade', proxy.upgrade)
  assert.equal(await ask(`${front.wsUrl}/socket/a`), '/a: hello')
})

same('two middlewares on a server take the WebSockets of their filters', async (api) => {
  await using one = await echoBackend()
  await using two = await echoBackend()
  const first = api.createProxyMiddleware({ target: one.url, ws: true, pathFilter: '/one' })
  const second = api.createProxyMiddleware({ target: `${two.url}/base`, ws: true, pathFilter: '/two' })
  await using front = await served(app(first, second))
  await get(front.url)
  assert.equal(await ask(`${front.wsUrl}/one`), '/one: hello')
  assert.equal(await ask(`${front.wsUrl}/two`), '/base/two: hello')
})

same('the listeners of a WebSocket', async (api) => {
  await using target = await echoBackend()
  const events: string[] = []
  const closed = new Promise<void>((resolve) => {
    events.push = (...texts) => {
      if (texts[0]?.startsWith('close')) resolve()
      return Array.prototype.push.apply(events, texts)
    }
  })
  const logger = recordingLogger()
  const proxy = api.createProxyMiddleware({
    target: target.url,
    logger,
    on: {
      proxyReqWs(proxyReq, req, _socket, _options, head) {
        proxyReq.setHeader('x-added', 'yes')
        events.push(`proxyReqWs ${req.url} ${head.length}`)
      },
      open: (socket: Socket) => void events.push(`open ${typeof socket.write}`),
      close: (_res, socket) => void events.push(`close ${typeof socket.write}`),
    },
  })
  await using front = await served(app(proxy))
  front.server.on('upgrade', proxy.upgrade)
  await ask(`${front.wsUrl}/a`)
  await closed
  assert.deepEqual([...events], ['proxyReqWs /a 0', 'open function', 'close function'])
  assert.deepEqual(logger.lines.length, 2)
  assert.match(logger.lines[0] ?? '', /^info: \[HPM\] Client connected: %o/)
  assert.match(logger.lines[1] ?? '', /^info: \[HPM\] Client disconnected: %o/)
})

same('a WebSocket to a target that is not there is an error, and its connection ends', async (api) => {
  const { url: target } = await deadPort()
  const seen: unknown[] = []
  const proxy = api.createProxyMiddleware({
    target,
    on: {
      error: (error, req, res) => void seen.push((error as NodeJS.ErrnoException).code, req.url, 'writeHead' in res),
    },
  })
  await using front = await served(app(proxy))
  front.server.on('upgrade', proxy.upgrade)
  const client = rawClient(front.port)
  client.write(`GET /a HTTP/1.1\r\nHost: x\r\n${HANDSHAKE}\r\n`)
  await client.ended
  assert.equal(client.text, '')
  assert.deepEqual(seen, ['ECONNREFUSED', '/a', false])
})

same('errors of the router end the connection of a WebSocket', async (api) => {
  const seen: string[] = []
  const proxy = api.createProxyMiddleware({
    router: async () => {
      throw new Error('mine')
    },
    on: { error: (error) => void seen.push(error.message) },
  })
  await using front = await served(app(proxy))
  front.server.on('upgrade', proxy.upgrade)
  const client = rawClient(front.port)
  client.write(`GET /a HTTP/1.1\r\nHost: x\r\n${HANDSHAKE}\r\n`)
  await client.ended
  assert.deepEqual(seen, ['mine'])
})

test('a client that resets while the router decides does not end the process', async () => {
  await using target = await echoBackend()
  const asked = gate()
  const decided = gate<string>()
  const proxy = createProxyMiddleware({
    router: () => {
      asked.open()
      return decided.promise
    },
  })
  await using front = await served(app(proxy))
  front.server.on('upgrade', proxy.upgrade)
  const gone = once(front.server, 'connection').then(([socket]) => once(socket as Socket, 'close'))
  const client = rawClient(front.port)
  client.write(`GET /a HTTP/1.1\r\nHost: x\r\n${HANDSHAKE}\r\n`)
  await asked.promise
  client.socket.resetAndDestroy()
  await gone.catch(() => {})
  decided.open(target.url)
  assert.equal(await ask(`${front.wsUrl}/b`), '/b: hello')
})

test('a server that is closed has no listener of ours left', async () => {
  await using target = await echoBackend()
  const proxy = createProxyMiddleware({ target: target.url, ws: true })
  const front = await served(app(proxy))
  await get(front.url)
  assert.equal(front.server.listenerCount('upgrade'), 1)
  await front[Symbol.asyncDispose]()
  assert.equal(front.server.listenerCount('upgrade'), 0)
})

test('an upgrade that no middleware takes is refused, unless the application listens', async () => {
  await using target = await backend()
  const first = createProxyMiddleware({ target: target.url, ws: true, pathFilter: '/one' })
  const second = createProxyMiddleware({ target: target.url, ws: true, pathFilter: '/two' })
  await using front = await served(app(first, second))
  await get(front.url)
  const refused = rawClient(front.port)
  refused.write(`GET /else HTTP/1.1\r\nHost: x\r\n${HANDSHAKE}\r\n`)
  await refused.ended
  assert.match(refused.text, /^HTTP\/1\.1 404 /)
  front.server.on('upgrade', (_req, socket) => socket.end('mine'))
  const other = rawClient(front.port)
  other.write(`GET /else HTTP/1.1\r\nHost: x\r\n${HANDSHAKE}\r\n`)
  await other.ended
  assert.equal(other.text, 'mine')
})
