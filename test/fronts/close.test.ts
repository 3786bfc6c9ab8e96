import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy } from '../../src/index.ts'
import { answerAfter, cutOnRequest, mockBackend, neverAnswer } from '../../src/testing/index.ts'
import { rawClient, untilRefused } from '../support/raw-client.ts'
import { gate, runInServer, runProxy } from '../support/running-proxy.ts'

test('close() lets an exchange finish, and its response says Connection: close', async () => {
  const goOn = gate()
  await using backend = await mockBackend(answerAfter(goOn.promise, { body: 'done' }))
  await using front = await runProxy({ target: backend.url, drainTimeoutMs: 10_000 })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequest()
  let isClosed = false
  const closed = front.proxy.close().then(() => {
    isClosed = true
  })
  // What comes in the first moment may still be accepted.
  await untilRefused(front.port)
  assert.equal(isClosed, false)
  goOn.open()
  assert.match(await client.until('done'), /^HTTP\/1\.1 200 [\s\S]*\r\nConnection: close\r\n/)
  assert.equal(await client.ended, 'end')
  await closed
  assert.equal((await front.nextRecord()).outcome, 'answered')
  assert.equal(backend.openConnections, 0)
})

test('a response that failed says Connection: close too while the proxy closes', async () => {
  const goOn = gate()
  await using backend = await mockBackend(async (request, reply) => {
    await goOn.promise
    await cutOnRequest(request, reply)
  })
  await using front = await runProxy({ target: backend.url, retry: false, drainTimeoutMs: 10_000 })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequest()
  const closed = front.proxy.close()
  await untilRefused(front.port)
  goOn.open()
  assert.match(await client.until('ERR_PROXY_RESET'), /\r\nConnection: close\r\n/)
  await client.ended
  await closed
})

test('close() closes idle connections on both sides', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('GET /')
  await front.nextRecord()
  await front.proxy.close()
  assert.equal(await client.ended, 'end')
  await backend.untilOpenConnections(0)
})

test('after the grace period close() ends what is left', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({ target: backend.url, drainTimeoutMs: 50 })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequest()
  await front.proxy.close()
  await client.ended
  await backend.untilOpenConnections(0)
  await front.nextRecord()
  assert.equal(front.pending(), 0)
  assert.equal(front.proxy.stats().active, 0)
})

test('a body that is cut by the end of the grace period is seen as cut', async () => {
  await using backend = await mockBackend((_request, reply) => {
    reply.head()
    reply.chunk('half')
  })
  await using front = await runProxy({ target: backend.url, drainTimeoutMs: 50 })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('half')
  await front.proxy.close()
  await client.ended
  assert.doesNotMatch(client.text, /\r\n0\r\n/)
})

test('a second close() is the same promise, and close is told once', async () => {
  const proxy = createProxy({ target: 'http://127.0.0.1:1' })
  let told = 0
  proxy.on('close', () => told++)
  const first = proxy.close()
  assert.equal(proxy.close(), first)
  await first
  await proxy[Symbol.asyncDispose]()
  assert.equal(told, 1)
})

test('await using closes', async () => {
  let told = 0
  {
    await using proxy = createProxy({ target: 'http://127.0.0.1:1' })
    proxy.on('close', () => told++)
    await proxy.listen({ port: 0, host: '127.0.0.1' })
  }
  assert.equal(told, 1)
})

test("a closed proxy answers an application's server 503 ERR_PROXY_CLOSED", async () => {
  await using backend = await mockBackend()
  await using front = await runInServer({ target: backend.url })
  await front.proxy.close()
  const response = await fetch(front.url)
  assert.equal(response.status, 503)
  assert.equal(await response.text(), '503 Service Unavailable (ERR_PROXY_CLOSED)\n')
  assert.equal(response.headers.get('retry-after'), '1')
})

test('a proxy that closes does not listen any more', async () => {
  const proxy = createProxy({ target: 'http://127.0.0.1:1' })
  await proxy.close()
  await assert.rejects(proxy.listen({ port: 0, host: '127.0.0.1' }), /closed/)
})

test('listen() rejects with a message that names the port that is taken', async () => {
  await using proxy = createProxy({ target: 'http://127.0.0.1:1' })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  await assert.rejects(proxy.listen({ port, host: '127.0.0.1' }), {
    code: 'EADDRINUSE',
    message: new RegExp(`:${port}`),
  })
})

test('listen() on two ports serves both', async () => {
  await using backend = await mockBackend()
  await using proxy = createProxy({ target: backend.url })
  for (let i = 0; i < 2; i++) {
    const { url } = await proxy.listen({ port: 0, host: '127.0.0.1' })
    assert.equal((await fetch(url)).status, 200)
  }
})
