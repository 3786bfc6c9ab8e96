import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { deadPort, type MockHandler, mockBackend, neverAnswer } from '../../../src/testing/index.ts'
import { converse, rawClient } from '../../support/raw-client.ts'
import { codeOf, nextEvent, served } from './serving.ts'

/** Responds once it has read the body. */
const readFirst: MockHandler = async (request, reply) => {
  await request.body()
  reply.send({ status: 500, body: 'of the copy' })
}

test('forward: alone, the client gets an empty 200 at once, and the copy goes its way', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await served({ forward: `${backend.url}/base`, headers: { 'X-Set': '1' } })
  const started = nextEvent(front.proxy, 'start')
  const response = await fetch(`${front.url}/x?y=1`, { method: 'POST', body: 'hello' })
  assert.deepEqual([response.status, await response.text()], [200, ''])
  const request = await backend.nextRequest()
  assert.deepEqual([request.method, request.path, request.bodyText], ['POST', '/base/x?y=1', 'hello'])
  assert.deepEqual([request.header('content-length'), request.header('x-set')], ['5', '1'])
  assert.equal(request.header('host'), `127.0.0.1:${front.port}`)
  assert.equal(String((await started)[2]), `${backend.url}/base`)
})

test('forward: a large body arrives whole, and the connection of the client goes on', async () => {
  await using backend = await mockBackend(readFirst)
  await using front = await served({ forward: backend.url })
  const client = rawClient(front.port)
  for (const path of ['/a', '/b']) {
    client.write(`PUT ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n`)
    client.write(Buffer.alloc(5_000_000, 'x'))
    const request = await backend.nextRequest()
    assert.deepEqual([request.path, request.bodyBytes.length], [path, 5_000_000])
  }
  assert.equal(client.text.match(/^HTTP\/1.1 200 OK\r$/gm)?.length, 2)
  client.socket.destroy()
})

test('forward: a body that ends before its end ends the copy', async () => {
  await using copies = await mockBackend(readFirst)
  const buffer = new PassThrough()
  await using front = await served({ forward: copies.url }, (proxy, req, res) =>
    proxy.web(req, res, req.url === '/buffer' ? { buffer } : {}),
  )
  const client = rawClient(front.port)
  client.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345')
  await copies.nextRequestHead()
  client.socket.destroy()
  await copies.untilOpenConnections(0)
  await fetch(`${front.url}/buffer`, { method: 'POST', body: 'x' })
  buffer.write('1')
  await copies.nextRequestHead()
  buffer.destroy(new Error('no more'))
  await copies.untilOpenConnections(0)
})

test('forward: a copy that ends before the body does not hold up the client', async () => {
  await using copies = await mockBackend((_request, reply) => reply.send({ status: 413 }))
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  const { url } = await deadPort()
  const body = 'x'.repeat(2_000_000)
  for (const forward of [copies.url, url]) {
    await using alone = await served({ forward })
    alone.proxy.on('error', () => {})
    for (let i = 0; i < 2; i++) assert.equal((await fetch(alone.url, { method: 'POST', body })).status, 200)
    await using both = await served({ forward, target: backend.url })
    both.proxy.on('error', () => {})
    assert.equal((await (await fetch(both.url, { method: 'POST', body })).text()).length, body.length)
  }
})

test('forward: a request without a Host has that of the copy', async () => {
  await using backend = await mockBackend()
  await using front = await served({ forward: backend.url, xfwd: true })
  await converse(front.port, 'GET / HTTP/1.0\r\n\r\n')
  assert.equal((await backend.nextRequest()).header('host'), `127.0.0.1:${backend.port}`)
})

test('forward: with a target, both get the request, and the client gets the response of the target', async () => {
  await using copies = await mockBackend(readFirst)
  await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
  await using front = await served({ target: backend.url, forward: copies.url })
  const body = 'x'.repeat(2_000_000)
  const response = await fetch(`${front.url}/x`, { method: 'POST', body })
  assert.deepEqual([response.status, await response.text()], [200, body])
  const copy = await copies.nextRequest()
  assert.deepEqual([copy.path, copy.bodyText.length, copy.header('content-length')], ['/x', body.length, '2000000'])
  assert.equal(backend.requests[0]?.header('content-length'), '2000000')
  assert.equal(await (await fetch(`${front.url}/get`)).text(), '')
  assert.equal((await copies.nextRequest()).path, '/get')
})

test('forward: the slower of the two sets the pace', async () => {
  let pieces = 0
  let goOn: () => void = () => {}
  await using copies = await mockBackend((request) => {
    request.pause()
    goOn = () => request.resume()
  })
  await using backend = await mockBackend(neverAnswer)
  await using front = await served({ target: backend.url, forward: copies.url })
  const client = rawClient(front.port)
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  const piece = `10000\r\n${'x'.repeat(65_536)}\r\n`
  const isStuck = await new Promise<boolean>((resolve) => {
    const send = (): void => {
      const timer = setTimeout(() => resolve(true), 300)
      if (++pieces > 1000) return resolve(false)
      client.socket.write(piece, () => {
        clearTimeout(timer)
        send()
      })
    }
    send()
  })
  assert.ok(isStuck, 'the client could send 64 MB')
  client.socket.destroy()
  goOn()
  await backend.untilOpenConnections(0)
  await copies.untilOpenConnections(0)
})

test('forward: a failure is told with its own target, and is none of the client', async () => {
  const { url } = await deadPort()
  await using backend = await mockBackend()
  await using front = await served({ target: backend.url, forward: url })
  const failed = nextEvent(front.proxy, 'error')
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
  const [error, req, , target] = (await failed) as [Error, IncomingMessage, unknown, URL]
  assert.deepEqual([codeOf(error), req.url, target.href], ['ECONNREFUSED', '/', `${url}/`])
  // And where nobody listens, only the log knows.
  assert.equal(await (await fetch(front.url)).text(), 'GET /')
  while (front.logger.messages('error').length === 0) await new Promise((resolve) => setImmediate(resolve))
  assert.match(front.logger.messages('error')[0] ?? '', /a copy could not be sent to 'forward'/)
})

test('forward: a failure of the copy alone reaches the listeners as well', async () => {
  const { url } = await deadPort()
  await using front = await served({ forward: url })
  const failed = nextEvent(front.proxy, 'error')
  assert.equal((await fetch(front.url)).status, 200)
  assert.equal(codeOf((await failed)[0] as Error), 'ECONNREFUSED')
})

test('forward: if the target fails before it has read the body, the copy ends, too', async () => {
  const { url } = await deadPort()
  await using copies = await mockBackend(neverAnswer)
  await using front = await served({ target: url, forward: copies.url }, (proxy, req, res) =>
    proxy.web(req, res, {}, () => res.writeHead(502).end()),
  )
  assert.equal((await fetch(front.url, { method: 'POST', body: 'x'.repeat(100_000) })).status, 502)
  await copies.untilOpenConnections(0)
})

test('forward: sends what a parser has left, and a buffer', async () => {
  await using copies = await mockBackend()
  await using front = await served({ forward: copies.url }, async (proxy, req, res) => {
    if (req.url === '/buffer') return proxy.web(req, res, { buffer: Readable.from(['other']) })
    const text = Buffer.concat(await req.toArray()).toString()
    proxy.web(Object.assign(req, { body: text }), res)
  })
  await fetch(front.url, { method: 'POST', body: 'hello' })
  assert.equal((await copies.nextRequest()).bodyText, 'hello')
  await fetch(`${front.url}/buffer`, { method: 'POST', body: 'hello' })
  assert.equal((await copies.nextRequest()).bodyText, 'other')
})
