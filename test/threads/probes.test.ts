import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, serveModule, silentLogger, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { queue } from '../support/running-proxy.ts'
import { ask, clientsOfEntries, clientsOfThreads, entryOf, LOOPBACK, openSockets, without } from './threaded.ts'

const skip = await without('kernel')

const isProbe = ({ path }: { readonly path: string }): boolean => path === '/healthz'

test('threads: one thread probes for all, and its results hold in each', { skip }, async () => {
  const sickly: MockHandler = (request, reply) => reply.send({ status: isProbe(request) ? 500 : 200, body: 'sick' })
  await using sick = await mockBackend(sickly)
  await using well = await mockBackend({ body: 'well' })
  await using proxy = createProxy({
    logger: 'silent',
    backends: [sick.url, well.url],
    healthCheck: { probe: { path: '/healthz', intervalMs: 1e6 } },
    executor: workerThreads({ threads: 2, spread: 'kernel' }),
  })
  const news = queue<string>()
  proxy.on('unhealthy', ({ id }) => news.push(id))
  const { port } = await proxy.listen(LOOPBACK)
  assert.equal(await news.next(), sick.url)
  const clients = await clientsOfThreads(proxy, port, 2)
  for (const client of clients.values()) {
    for (let i = 0; i < 10; i++) assert.equal(await ask(client), 'well')
    client.socket.destroy()
  }
  assert.deepEqual([sick.requests.length, well.requests.filter(isProbe).length], [1, 1])
})

test('threads: if the main thread is busy, another one probes and reports', {
  skip,
}, async () => {
  await using backend = await mockBackend()
  backend.use([{ status: 200 }, { status: 500 }])
  await using proxy = createProxy({
    logger: 'silent',
    backends: [{ url: backend.url, id: 'sick' }],
    healthCheck: { probe: { path: '/healthz', intervalMs: 1e6, timeoutMs: 1e6, fall: 1 } },
    executor: workerThreads({ threads: 1, spread: 'kernel' }),
  })
  const news = queue<string>()
  proxy.on('unhealthy', ({ id }, reason) => news.push(`${id}: ${reason}`))
  await proxy.listen(LOOPBACK)
  await backend.nextRequest()
  const port = Number(new URL(backend.url).port)
  const before = openSockets(port).length
  const never = new Int32Array(new SharedArrayBuffer(4))
  // Until a probe waits here for an answer; it comes within four seconds.
  while (openSockets(port).length === before) Atomics.wait(never, 0, 0, 50)
  assert.equal(await news.next(), 'sick: status 500')
})

test('serveModule: if the probing thread dies, another one takes over', { skip }, async () => {
  await using backend = await mockBackend()
  const probes = queue<string>()
  backend.use((request, reply) => {
    if (request.path === '/probe') probes.push(request.header('host') ?? '')
    reply.send()
  })
  const running = await serveModule(entryOf('deadly', [['backend', backend.url]]), {
    threads: 2,
    spread: 'kernel',
    listen: LOOPBACK,
    drainTimeoutMs: 1000,
    logger: silentLogger(),
  })
  const clients = await clientsOfEntries(running.address.port, 2)
  const first = await probes.next()
  const [victim, dying] = Array.from(clients).find(([thread]) => first === `thread-${thread}`) ?? assert.fail(first)
  dying.write('GET /throw HTTP/1.1\r\nHost: a\r\n\r\n')
  assert.notEqual(await probes.next(), `thread-${victim}`)
  for (const client of clients.values()) client.socket.destroy()
  await running.close()
})
