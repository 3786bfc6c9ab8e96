import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { neverAnswer } from '../../src/testing/misbehaviour.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockReply } from '../../src/testing/mock-script.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, type RunningProxy, rounds, runInServer, runProxy } from '../support/running-proxy.ts'

async function assertAborted(front: RunningProxy, status = 499): Promise<void> {
  const record = await front.nextRecord()
  assert.equal(record.outcome, 'aborted')
  assert.equal(record.status, status)
  assert.equal(record.errorCode, 'ERR_PROXY_CLIENT_GONE')
  assert.equal(front.pending(), 0)
  assert.equal(front.proxy.stats().active, 0)
}

/** Without it a FIN alone is no sign that a client has gone, on a listener of our own; see half-closed.test.ts. */
const limits = { halfClose: 'abort' } as const

for (const [how, run] of [
  ['http.createServer(proxy.web)', runInServer],
  ['proxy.listen()', runProxy],
] as const) {
  for (const by of ['FIN', 'RST'] as const) {
    test(`${how}: a client that goes by ${by} while the head is awaited ends the backend's work`, async () => {
      const reply = gate<MockReply>()
      await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
      await using front = await run({ target: backend.url, limits })
      const client = rawClient(front.port)
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      const { closed } = await reply.promise
      if (by === 'FIN') client.socket.destroy()
      else client.socket.resetAndDestroy()
      await closed
      await assertAborted(front)
    })
  }
}

test("a client that goes in mid-body ends the backend's work; the record keeps the status it got", async () => {
  const reply = gate<MockReply>()
  await using backend = await mockBackend((_request, theirs) => {
    theirs.head()
    theirs.chunk('first')
    reply.open(theirs)
  })
  await using front = await runProxy({ target: backend.url, limits })
  const client = rawClient(front.port)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await client.until('first')
  client.socket.destroy()
  await (await reply.promise).closed
  await assertAborted(front, 200)
})

test("a client that goes while it is blocked by its own slowness ends the backend's work", async () => {
  const reply = gate<MockReply>()
  await using backend = await mockBackend(async (_request, theirs) => {
    theirs.head()
    for (let i = 0; i < 1000 && !theirs.isClosed; i++) {
      if (theirs.chunk(Buffer.alloc(65536))) continue
      reply.open(theirs)
      await theirs.drained()
    }
  })
  await using front = await runProxy({ target: backend.url })
  const client = rawClient(front.port)
  client.socket.pause()
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const { closed } = await reply.promise
  client.socket.destroy()
  await closed
  await assertAborted(front, 200)
})

for (const [doing, request] of [
  ['uploads', 'Content-Length: 1000\r\n\r\nsome of it'],
  ['waits for 100', 'Content-Length: 4\r\nExpect: 100-continue\r\n\r\n'],
]) {
  test(`a client that goes while it ${doing} ends the backend's work`, async () => {
    const reply = gate<MockReply>()
    await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
    await using front = await runProxy({ target: backend.url })
    const client = rawClient(front.port)
    client.write(`POST / HTTP/1.1\r\nHost: a\r\n${request}`)
    const { closed } = await reply.promise
    client.socket.destroy()
    await closed
    await assertAborted(front)
  })
}

test('a client that goes while it waits for a connection leaves the queue', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runProxy({ target: backend.url, limits, pool: { maxConnections: 1 } })
  const [first, second] = [rawClient(front.port), rawClient(front.port)]
  first.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
  await backend.nextRequest()
  const attempted = new Promise((resolve) => front.proxy.once('attempt', resolve))
  second.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
  await attempted
  assert.equal(front.proxy.stats().groups[0]?.pool.backends[0]?.waiting, 1)
  second.socket.destroy()
  const record = await front.nextRecord()
  assert.equal(record.target, '/2')
  assert.equal(record.outcome, 'aborted')
  assert.equal(front.proxy.stats().groups[0]?.pool.backends[0]?.waiting, 0)
  first.socket.destroy()
  await assertAborted(front)
})

test("a fetch that is aborted ends the backend's work", async () => {
  const reply = gate<MockReply>()
  await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
  await using front = await runProxy({ target: backend.url, limits })
  const controller = new AbortController()
  const failed = assert.rejects(fetch(front.url, { signal: controller.signal }), { name: 'AbortError' })
  const { closed } = await reply.promise
  controller.abort()
  await Promise.all([closed, failed])
  await assertAborted(front)
})

test('all of a pipeline ends when its client goes', async () => {
  await using backend = await mockBackend(neverAnswer)
  await using front = await runInServer({ target: backend.url })
  const client = rawClient(front.port)
  client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
  client.write('POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody')
  // The others wait for the answer to the first.
  await backend.nextRequest()
  await rounds()
  client.socket.destroy()
  await backend.untilOpenConnections(0)
  for (let i = 0; i < 3; i++) assert.equal((await front.nextRecord()).outcome, 'aborted')
  assert.equal(front.pending(), 0)
})

test("an application that answers by itself while the backend is awaited ends the backend's work", async () => {
  const asked = gate<http.ServerResponse>()
  const reply = gate<MockReply>()
  await using backend = await mockBackend((_request, theirs) => reply.open(theirs))
  await using front = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer((req, res) => {
      proxy.web(req, res)
      asked.open(res)
    }),
  )
  const response = fetch(front.url)
  const [res, { closed }] = await Promise.all([asked.promise, reply.promise])
  res.writeHead(503).end('too late')
  assert.equal(await (await response).text(), 'too late')
  await closed
  assert.equal((await front.nextRecord()).outcome, 'local')
  assert.equal(front.pending(), 0)
})
