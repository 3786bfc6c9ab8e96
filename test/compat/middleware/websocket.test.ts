import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { createProxyMiddleware } from '../../../src/compat/middleware/index.ts'
import { deadPort } from '../../../src/testing/mock-backend.ts'
import { type RawClient, rawClient } from '../../support/raw-client.ts'
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

/** Without a listener for errors, which `once()` has. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.once('close', () => resolve()))
}

/** A client that asks for a WebSocket. */
function upgrading({ port }: Served, path = '/a'): RawClient {
  const client = rawClient(port)
  client.write(
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  )
  return client
}

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
  const client = upgrading(front)
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
  const client = upgrading(front)
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
  const gone = once(front.server, 'connection').then(([socket]) => closed(socket as Socket))
  const client = upgrading(front)
  await asked.promise
  client.socket.resetAndDestroy()
  await gone
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
  const refused = upgrading(front, '/else')
  await refused.ended
  assert.match(refused.text, /^HTTP\/1\.1 404 /)
  front.server.on('upgrade', (_req, socket) => socket.end('mine'))
  const other = upgrading(front, '/else')
  await other.ended
  assert.equal(other.text, 'mine')
})

test('ws: true serves the very first request, if it is a WebSocket', async () => {
  await using target = await echoBackend()
  const paths: unknown[] = []
  const proxy = createProxyMiddleware({
    target: target.url,
    ws: true,
    pathFilter: '/api',
    pathRewrite: { '^/api': '' },
    router: async (req, res) => void paths.push(req.url, res),
  })
  const application = app()
  // As listeners of upgrades do, it sees the whole path.
  application.use('/api', proxy)
  await using front = await served(application)
  const socket = new WebSocket(`${front.wsUrl}/api/a`)
  await once(socket, 'open')
  for (const text of ['one', 'x'.repeat(1_000_000)]) {
    socket.send(text)
    assert.equal(String((await once(socket, 'message'))[0]), `/a: ${text}`)
  }
  socket.close()
  await once(socket, 'close')
  assert.deepEqual(paths, ['/api/a', undefined])
  // The next one comes as an upgrade.
  assert.equal(await ask(`${front.wsUrl}/api/b`), '/b: hello')
})

test('a first WebSocket to a target that is not there is an error', async () => {
  const { url } = await deadPort()
  const seen: unknown[] = []
  const on = { error: (error: Error) => void seen.push((error as NodeJS.ErrnoException).code) }
  await using front = await served(app(createProxyMiddleware({ target: url, ws: true, on })))
  const client = upgrading(front)
  await client.ended
  assert.deepEqual(seen, ['ECONNREFUSED'])
})

test('a first WebSocket that the filter does not take goes to the next middleware', async () => {
  await using target = await echoBackend()
  const proxy = createProxyMiddleware({ target: target.url, ws: true, pathFilter: '/ws' })
  const application = app()
  application.use('/api', proxy, (req, res) => void res.set('connection', 'close').send(`next ${req.url}`))
  await using front = await served(application)
  const client = upgrading(front, '/api/a')
  await client.ended
  assert.match(client.text, /^HTTP\/1\.1 200 .*next \/a$/s)
})

test('a first WebSocket whose client leaves ends at the target, too', async () => {
  await using target = await echoBackend()
  await using front = await served(app(createProxyMiddleware({ target: target.url, ws: true })))
  const atTarget = once(target.server, 'connection').then(([socket]) => socket as Socket)
  const socket = new WebSocket(`${front.wsUrl}/a`)
  await once(socket, 'open')
  const backendSocket = await atTarget
  const closed = once(backendSocket, 'close')
  socket.terminate()
  await closed
})

test('closing the server leaves a first WebSocket open, as any other', async () => {
  await using target = await echoBackend()
  await using front = await served(app(createProxyMiddleware({ target: target.url, ws: true })))
  const socket = new WebSocket(`${front.wsUrl}/a`)
  await once(socket, 'open')
  front.server.close()
  front.server.closeAllConnections()
  socket.send('still here')
  assert.equal(String((await once(socket, 'message'))[0]), '/a: still here')
  socket.terminate()
})

test('a first WebSocket is for the second middleware, if its filter takes it', async () => {
  await using target = await echoBackend()
  const first = createProxyMiddleware({ target: target.url, ws: true, pathFilter: '/one' })
  const second = createProxyMiddleware({ target: target.url, ws: true, pathFilter: '/two' })
  await using front = await served(app(first, second))
  assert.equal(await ask(`${front.wsUrl}/two`), '/two: hello')
  assert.equal(await ask(`${front.wsUrl}/one`), '/one: hello')
})

test('a client that resets an upgrade that nobody takes does not end the process', async () => {
  await using target = await echoBackend()
  const proxy = createProxyMiddleware({ target: target.url, pathFilter: '/one' })
  await using front = await served(app(proxy))
  const left = gate<Socket>()
  front.server.on('upgrade', proxy.upgrade)
  front.server.on('upgrade', (_req, socket) => left.open(socket as Socket))
  const client = upgrading(front, '/two')
  const socket = await left.promise
  const gone = closed(socket)
  client.socket.resetAndDestroy()
  socket.resume()
  await gone
})
