import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, ServerResponse } from 'node:http'
import http2 from 'node:http2'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { Agent } from 'undici'
import { WebSocket } from 'ws'
import ours, { createProxyServer, createServer, ProxyServer } from '../../../src/compat/http-proxy/index.ts'
import { mockBackend } from '../../../src/testing/index.ts'
import { certificate, key } from '../../support/certificates.ts'
import { webSocketBackend } from '../../support/upgrade-backends.ts'
import { served } from './serving.ts'

test('the exports are those of the originals', async () => {
  assert.equal(ours, ProxyServer)
  for (const create of [
    createProxyServer,
    createServer,
    ProxyServer.createProxyServer,
    ProxyServer.createServer,
    ProxyServer.createProxy,
  ]) {
    assert.ok(create({ target: 'http://a' }) instanceof ProxyServer)
    assert.ok(create() instanceof ProxyServer)
  }
  const required = createRequire(import.meta.url)('heddle/http-proxy')
  assert.equal(typeof required.createProxyServer, 'function')
  assert.equal(typeof required.default.createProxyServer, 'function')
})

test('options are not written to, and may be frozen', () => {
  const options = Object.freeze({ target: 'http://a' })
  assert.deepEqual({ ...createProxyServer(options).options }, { target: 'http://a' })
})

test('before(): a pass runs before the one that is named, and may respond itself', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  const order: string[] = []
  front.proxy.before('web', 'stream', (req, res, options, head, server) => {
    order.push('first')
    assert.ok(res instanceof ServerResponse)
    assert.deepEqual([String(options.target), head, server === front.proxy], [`${backend.url}/`, undefined, true])
    if (req.url !== '/mine') return
    res.end('mine')
    return true
  })
  front.proxy.after('web', 'stream', () => void order.push('second'))
  front.proxy.before('web', 'deleteLength', (req) => {
    order.push('zeroth')
    req.headers['x-pass'] = '1'
  })
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
  assert.equal(backend.requests[0]?.header('x-pass'), '1')
  assert.deepEqual(order, ['zeroth', 'first', 'second'])
  assert.equal(await (await fetch(`${front.url}/mine`)).text(), 'mine')
  assert.equal(backend.requests.length, 1)
})

test('before(): passes of one server are not those of another', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  new ProxyServer().before('web', 'stream', () => true)
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
})

test('before(): a pass that throws fails its call', async () => {
  await using front = await served({ target: 'http://127.0.0.1:1' })
  front.proxy.before('web', 'stream', () => {
    throw new Error('thrown')
  })
  assert.equal((await fetch(front.url)).status, 500)
})

test('before(): unknown types and names throw', () => {
  const proxy = new ProxyServer()
  assert.throws(() => proxy.before('both' as 'web', 'stream', () => {}), /type must be `web` or `ws`/)
  assert.throws(() => proxy.before('web', 'XHeader', () => {}), /No such pass: XHeader; use deleteLength, timeout, XHe/)
  assert.throws(() => proxy.after('ws', 'timeout', () => {}), /No such pass/)
})

test('before(): passes of WebSockets', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  front.proxy.before('ws', 'stream', (req, socket, _options, head) => {
    assert.ok(Buffer.isBuffer(head))
    if (req.url !== '/no') return
    socket.destroy()
    return true
  })
  const refused = new WebSocket(`${front.wsUrl}/no`)
  assert.match(String((await once(refused, 'error'))[0]), /socket hang up/)
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  client.terminate()
})

test('listen(): serves requests and WebSockets; close() ends it', async () => {
  await using backend = await mockBackend()
  await using sockets = await webSocketBackend()
  const target = (req: IncomingMessage) => (req.headers.upgrade === undefined ? backend.url : sockets.url)
  const proxy = createProxyServer({ target, ws: true })
  assert.equal(proxy.address(), undefined)
  await new Promise<void>((resolve) => assert.equal(proxy.listen(0, '127.0.0.1', resolve), proxy))
  const { port } = proxy.address() as AddressInfo
  assert.equal(await (await fetch(`http://127.0.0.1:${port}`)).text(), 'GET /')
  const client = new WebSocket(`ws://127.0.0.1:${port}`)
  await once(client, 'open')
  client.send('hello')
  assert.equal(String((await once(client, 'message'))[0]), 'hello')
  client.close()
  await once(client, 'close')
  await new Promise((resolve) => proxy.close(resolve))
  assert.equal(proxy.address(), undefined)
  await assert.rejects(fetch(`http://127.0.0.1:${port}`))
})

test('close(): without listen() it calls back, and calls go on afterwards', async () => {
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url })
  await (await fetch(front.url)).text()
  await new Promise<void>((resolve) => front.proxy.close(() => resolve()))
  await backend.untilOpenConnections(0)
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
})

test('close(): running calls and WebSockets go on', async () => {
  await using backend = await webSocketBackend()
  await using front = await served({ target: backend.url })
  const client = new WebSocket(front.wsUrl)
  await once(client, 'open')
  front.proxy.close()
  client.send('hello')
  assert.equal(String((await once(client, 'message'))[0]), 'hello')
  client.terminate()
})

test('listen(): with ssl it serves HTTP/1.1 and HTTP/2, and WebSockets over TLS', async () => {
  await using backend = await mockBackend()
  await using sockets = await webSocketBackend()
  const target = (req: IncomingMessage) => (req.headers.upgrade === undefined ? backend.url : sockets.url)
  const proxy = createServer({ target, ws: true, ssl: { key, cert: certificate } })
  proxy.listen(0, '127.0.0.1')
  await once(proxy._server as never, 'listening')
  const { port } = proxy.address() as AddressInfo
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } })
  assert.equal((await fetch(`https://127.0.0.1:${port}`, { dispatcher } as never)).status, 200)
  const session = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  const stream = session.request({ ':path': '/' })
  const [head] = await once(stream, 'response')
  assert.deepEqual([head[':status'], await text(stream)], [200, 'GET /'])
  session.close()
  const client = new WebSocket(`wss://127.0.0.1:${port}`, { rejectUnauthorized: false })
  await once(client, 'open')
  client.terminate()
  await dispatcher.close()
  await new Promise((resolve) => proxy.close(resolve))
})

test('listen(): http2 without ssl is a mistake', () => {
  assert.throws(() => createServer({ http2: true }).listen(0), /HTTP\/2 requires ssl option/)
})

test('an application may use the server in place of a handler', async () => {
  await using backend = await mockBackend()
  const seen: IncomingMessage[] = []
  await using front = await served({}, (proxy, req, res) => {
    seen.push(req)
    return proxy.web.call(undefined as never, req, res, { target: backend.url })
  })
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
  assert.equal(seen.length, 1)
})
