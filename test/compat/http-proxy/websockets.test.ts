import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type ClientRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { numOpenSockets } from '../../../src/compat/http-proxy/index.ts'
import { deadPort, mockBackend, neverAnswer } from '../../../src/testing/index.ts'
import { converse, rawClient } from '../../support/raw-client.ts'
import { rawBackend, webSocketBackend } from '../../support/upgrade-backends.ts'
import { codeOf, nextEvent, type SystemError, served } from './serving.ts'

/** Asks for an upgrade. Resolves with the error, the response or the connection. */
function upgrade(port: number, headers: Record<string, string> = {}, path = '/'): Promise<Error | IncomingMessage> {
  return new Promise((resolve) => {
    const all = { Connection: 'Upgrade', Upgrade: 'websocket', ...headers }
    const request = http.request({ port, host: '127.0.0.1', path, headers: all })
    request.on('error', resolve).on('response', resolve)
    request.on('upgrade', resolve).end()
  })
}

async function echoed(client: WebSocket, text: string): Promise<string> {
  client.send(text)
  return String((await once(client, 'message'))[0])
}

test('ws: messages go both ways, large ones, too', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url.replace('http', 'ws') })
  const client = new WebSocket(`${front.wsUrl}/x`)
  await once(client, 'open')
  assert.equal(await echoed(client, 'hello'), 'hello')
  const large = 'x'.repeat(3_000_000)
  assert.equal(await echoed(client, large), large)
  assert.equal(backend.requests[0]?.url, '/x')
  client.close()
  await once(client, 'close')
})

test('ws: httpxy has the options before the head', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({}, undefined, (proxy, req, socket, head) =>
    proxy.ws(req, socket, { target: backend.url }, head),
  )
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  assert.equal(await echoed(client, 'hello'), 'hello')
  client.terminate()
})

test('ws: what a client has sent with its handshake is not lost', async () => {
  await using backend = await rawBackend((asked) => asked.accept('websocket'))
  await using front = await served({ target: backend.url })
  const client = rawClient(front.port)
  const asked = backend.nextUpgrade()
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly')
  await (await asked).until('early')
  client.socket.destroy()
})

test('proxyReqWs: headers and path can be changed', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: `${backend.url}/base`, headers: { 'X-Option': 'o' }, changeOrigin: true })
  front.proxy.on('proxyReqWs', (proxyReq: ClientRequest, req, socket, options, head) => {
    proxyReq.setHeader('X-Set', '1')
    assert.deepEqual([proxyReq.path, proxyReq.getHeader('upgrade')], ['/base/x', 'websocket'])
    assert.deepEqual([req.url, socket === req.socket, head.length], ['/x', true, 0])
    assert.equal(String(options.target), `${backend.url}/base`)
    proxyReq.path = '/set'
  })
  const client = new WebSocket(`${front.wsUrl}/x`)
  await once(client, 'open')
  const [request] = backend.requests
  assert.deepEqual(
    [request?.url, request?.headers['x-set'], request?.headers['x-option'], request?.headers.host],
    ['/set', '1', 'o', new URL(backend.url).host],
  )
  client.terminate()
})

test('proxyReqWs: destroy() in the listener, and a listener that throws, end the connection', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  front.proxy.on('proxyReqWs', (proxyReq, req) => {
    if (req.url === '/throws') throw new Error('thrown')
    proxyReq.destroy()
  })
  assert.match(String(await upgrade(front.port, {}, '/throws')), /IncomingMessage|object Object/)
  const errors: unknown[] = []
  front.proxy.on('error', (error) => errors.push(codeOf(error)))
  assert.match(String(await upgrade(front.port)), /socket hang up/)
  assert.deepEqual(errors, ['ECONNRESET'])
  assert.equal(backend.requests.length, 0)
})

test('open and close: with the connection to the target', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  const opened = nextEvent(front.proxy, 'open')
  const before = numOpenSockets()
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  const [socket] = (await opened) as [Socket]
  assert.equal(numOpenSockets() - before, 2)
  const seen: Buffer[] = []
  socket.on('data', (chunk: Buffer) => seen.push(chunk))
  assert.equal(await echoed(client, 'hello'), 'hello')
  assert.match(Buffer.concat(seen).toString(), /hello$/)
  const closed = nextEvent(front.proxy, 'close')
  client.close()
  const [proxyRes, proxySocket, head] = (await closed) as [IncomingMessage, Socket, Buffer]
  assert.deepEqual([proxyRes.statusCode, proxyRes.headers.upgrade], [101, 'websocket'])
  assert.deepEqual([proxySocket === socket, Buffer.isBuffer(head)], [true, true])
  await once(client, 'close')
  await backend.untilOpen(0)
  while (numOpenSockets() !== before) await new Promise((resolve) => setImmediate(resolve))
})

test('close: comes once, for a client that vanishes, and for a target that does', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  let closes = 0
  front.proxy.on('close', () => closes++)
  front.proxy.on('error', () => {})
  for (const end of [
    (client: WebSocket) => client.terminate(),
    () => {
      for (const socket of backend.sockets.clients) socket.terminate()
    },
  ]) {
    const client = new WebSocket(front.wsUrl)
    client.on('error', () => {})
    await once(client, 'open')
    const closed = nextEvent(front.proxy, 'close')
    end(client)
    await closed
    await backend.untilOpen(0)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(closes, 2)
})

test('ws: a failure is told with the socket, which ends', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url })
  const failed = nextEvent(front.proxy, 'error')
  assert.match(String(await upgrade(front.port)), /socket hang up/)
  const [error, req, socket] = (await failed) as [SystemError, IncomingMessage, Socket]
  assert.deepEqual([error.code, error.cause?.code], ['ECONNREFUSED', 'ERR_PROXY_CONNECT'])
  assert.equal(socket, req.socket)
})

test('ws: a callback hears of a failure, and may respond on the socket', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url }, undefined, (proxy, req, socket, head) =>
    proxy.ws(req, socket, head, {}, (error, _req, client) => {
      const text = `${codeOf(error)}`
      ;(client as Socket).write(`HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: ${text.length}\r\n\r\n${text}`)
    }),
  )
  front.proxy.on('error', () => assert.fail('a listener was told'))
  const response = (await upgrade(front.port)) as IncomingMessage
  assert.deepEqual([response.statusCode, Buffer.concat(await response.toArray()).toString()], [503, 'ECONNREFUSED'])
})

test('ws: without anybody who listens the client gets our response; a listener that throws crashes nothing', async () => {
  const { url } = await deadPort()
  await using front = await served({ target: url })
  const response = (await upgrade(front.port)) as IncomingMessage
  assert.equal(response.statusCode, 502)
  assert.equal(Buffer.concat(await response.toArray()).toString(), '502 Bad Gateway (ECONNREFUSED)\n')
  assert.match(front.logger.messages('error')[0] ?? '', /nobody listens to 'error'/)
  // As written for requests: a socket has no writeHead().
  front.proxy.on('error', (_error, _req, res) => void (res as http.ServerResponse).writeHead(500))
  assert.equal(((await upgrade(front.port)) as IncomingMessage).statusCode, 502)
})

test('ws: returns a promise', async () => {
  const { url } = await deadPort()
  await using backend = await webSocketBackend()
  const results: string[] = []
  await using front = await served({}, undefined, (proxy, req, socket, head) =>
    proxy.ws(req, socket, head, { target: req.url === '/dead' ? url : backend.url }).then(
      () => results.push('resolved'),
      (error) => results.push(String(codeOf(error))),
    ),
  )
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  assert.deepEqual(results, [])
  client.close()
  await once(client, 'close')
  await upgrade(front.port, {}, '/dead')
  assert.deepEqual(results, ['resolved', 'ECONNREFUSED'])
})

test('ws: a refusal of the target reaches the client, with cookies rewritten', async () => {
  await using backend = await mockBackend((_request, reply) =>
    reply.send({ status: 401, headers: ['Set-Cookie', 'a=1; Domain=old.com', 'X-A', '1'], body: 'who?' }),
  )
  await using front = await served({ target: backend.url, cookieDomainRewrite: 'new.com' })
  const response = (await upgrade(front.port)) as IncomingMessage
  assert.deepEqual([response.statusCode, response.headers['x-a']], [401, '1'])
  assert.deepEqual(response.headers['set-cookie'], ['a=1; Domain=new.com'])
  assert.equal(Buffer.concat(await response.toArray()).toString(), 'who?')
})

test('ws: cookies of the handshake reach the client as they are', async () => {
  await using backend = await rawBackend((asked) =>
    asked.socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSet-Cookie: a=1; Domain=old.com\r\nSet-Cookie: b=2\r\n\r\n',
    ),
  )
  await using front = await served({ target: backend.url, cookieDomainRewrite: 'new.com' })
  const response = (await upgrade(front.port)) as IncomingMessage
  assert.deepEqual(response.headers['set-cookie'], ['a=1; Domain=old.com', 'b=2'])
  response.socket.destroy()
})

test('ws: what is no WebSocket is dropped', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  assert.match(String(await upgrade(front.port, { Upgrade: 'h2c' })), /socket hang up/)
  const { text } = await converse(
    front.port,
    'POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n',
  )
  assert.equal(text, '')
  assert.equal(backend.connections, 0)
})

test('ws: an upgrade with a body is refused', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  const head =
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello'
  assert.match((await converse(front.port, head)).text, /^HTTP\/1.1 400 /)
  assert.equal(backend.connections, 0)
})

test('ws: xfwd tells of ws, or of http', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url, xfwd: true })
  for (const [isHttp, proto] of [
    [false, 'https,ws'],
    [true, 'https,http'],
  ] as const) {
    front.proxy.options.xfwdWsProtoAsHttp = isHttp
    const client = new WebSocket(front.wsUrl, { headers: { 'x-forwarded-proto': 'https' } })
    await once(client, 'open')
    assert.equal(backend.requests.at(-1)?.headers['x-forwarded-proto'], proto)
    assert.equal(backend.requests.at(-1)?.headers['x-forwarded-for'], '127.0.0.1')
    client.terminate()
  }
})

test('ws: a client that leaves before the target has responded', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await served({ target: backend.url })
  front.proxy.on('error', () => {})
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await backend.nextRequestHead()
  client.socket.destroy()
  await backend.untilOpenConnections(0)
})

test('ws: listeners to open and close may throw', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  for (const event of ['open', 'close'] as const) {
    front.proxy.on(event, () => {
      throw new Error(`thrown by ${event}`)
    })
  }
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  assert.equal(await echoed(client, 'hello'), 'hello')
  client.close()
  await once(client, 'close')
  while (front.logger.messages('error').length < 2) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(front.logger.messages('error'), ["a listener of 'open' threw", "a listener of 'close' threw"])
})
