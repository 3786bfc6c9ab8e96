import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, OptionsError, type ProxyOptions, workerThreads } from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { certificate } from '../support/certificates.ts'
import { gate } from '../support/running-proxy.ts'
import { ask, clientsOfThreads, LOOPBACK, threadLog, without } from './threaded.ts'

const skip = await without()

function threaded(options: ProxyOptions): ReturnType<typeof createProxy> {
  return createProxy({ executor: workerThreads({ threads: 2 }), closeGraceMs: 100, ...options })
}

test('setBackends has reached every thread when it resolves, in the order of the calls; later threads know of it', {
  skip,
}, async () => {
  await using old = await mockBackend({ body: 'old' })
  await using one = await mockBackend({ body: 'new' })
  await using proxy = threaded({ target: old.url })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  const answers = async (): Promise<string[]> => Promise.all(Array.from(clients.values(), (client) => ask(client)))
  assert.deepEqual(await answers(), ['old', 'old'])
  await proxy.setBackends([one.url])
  assert.deepEqual(await answers(), ['new', 'new'])
  assert.deepEqual(
    proxy.stats().groups[0]?.backends.map(({ url }) => url),
    [`${one.url}/`],
  )

  // What cannot be is refused, and has changed nothing.
  const wrong = [{ url: 'http://127.0.0.1:1', metadata: { choose: () => 1 } }]
  await assert.rejects(proxy.setBackends(wrong), (error: unknown) => {
    assert.ok(error instanceof OptionsError)
    assert.match(error.message, /backends\[0\]\.metadata .*cannot be sent to a thread/)
    return true
  })
  await assert.rejects(proxy.setBackends(['nowhere']), OptionsError)
  await assert.rejects(proxy.setBackends([old.url], 'none'), /there is no group "none"; the groups are "default"/)
  assert.deepEqual(await answers(), ['new', 'new'])

  await Promise.all(Array.from({ length: 20 }, (_, i) => proxy.setBackends([i % 2 === 0 ? one.url : old.url])))
  assert.deepEqual(await answers(), ['old', 'old'])
  for (const client of clients.values()) client.socket.destroy()
  await proxy.setBackends([one.url])
  await proxy.reload()
  const later = await clientsOfThreads(proxy, port, 2)
  for (const client of later.values()) assert.equal(await ask(client), 'new')
  for (const client of later.values()) client.socket.destroy()
})

test('a backend that stays keeps its connections, whatever form its certificate is given in', { skip }, async () => {
  const tls = { ca: Buffer.from(certificate) }
  await using backend = await mockBackend()
  await using proxy = threaded({ backends: [{ url: backend.url, tls }] })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  const before = backend.connections
  await proxy.setBackends([{ url: backend.url, tls: { ca: Buffer.from(certificate) } }])
  for (const client of clients.values()) await ask(client)
  assert.equal(backend.connections, before)
  for (const client of clients.values()) client.socket.destroy()
})

test('drain takes a backend from every thread, and resolves when all that it had has ended', { skip }, async () => {
  const open = gate()
  await using slow = await mockBackend([
    async (_request, reply) => {
      await open.promise
      reply.send({ body: 'slow' })
    },
    { body: 'slow' },
  ])
  await using other = await mockBackend({ body: 'other' })
  await using proxy = threaded({ backends: [{ url: slow.url, id: 'slow' }, other.url], balancer: 'first-available' })
  const { port } = await proxy.listen(LOOPBACK)
  const [one, two] = await Promise.all([fetch(`http://127.0.0.1:${port}`), slow.nextRequest().then(drainIt)])
  async function drainIt(): Promise<boolean> {
    let isDrained = false
    const drained = proxy.drain('slow').then(() => {
      isDrained = true
    })
    const clients = await clientsOfThreads(proxy, port, 2)
    for (const client of clients.values()) assert.equal(await ask(client), 'other')
    assert.equal(isDrained, false)
    open.open()
    await drained
    // A thread that comes later respects it too, and one undrain ends it for all.
    for (const client of clients.values()) client.socket.destroy()
    await proxy.reload()
    const later = await clientsOfThreads(proxy, port, 2)
    for (const client of later.values()) assert.equal(await ask(client), 'other')
    proxy.undrain('slow')
    for (const client of later.values()) assert.equal(await ask(client), 'slow')
    for (const client of later.values()) client.socket.destroy()
    return isDrained
  }
  assert.equal(await one.text(), 'slow')
  assert.equal(two, true)
})

test('a backend that was taken out while it was drained is a new one when it comes again', { skip }, async () => {
  await using backend = await mockBackend({ body: 'again' })
  await using other = await mockBackend({ body: 'other' })
  await using proxy = threaded({
    backends: [{ url: backend.url, id: 'a' }, other.url],
    balancer: 'first-available',
  })
  const { port } = await proxy.listen(LOOPBACK)
  await proxy.drain('a')
  await proxy.setBackends([other.url])
  await proxy.setBackends([{ url: backend.url, id: 'a' }, other.url])
  const clients = await clientsOfThreads(proxy, port, 2)
  for (const client of clients.values()) assert.equal(await ask(client), 'again')
  for (const client of clients.values()) client.socket.destroy()
})

test('there is room for backends that come, as long as others go: none is ever the last', { skip }, async () => {
  await using backend = await mockBackend({ body: 'kept' })
  await using proxy = threaded({ backends: [{ url: backend.url, id: 'first' }], balancer: 'first-available' })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  // More than there are places for, and each one another.
  for (let round = 0; round < 20; round++) {
    const others = Array.from({ length: 500 }, (_, i) => `http://127.0.0.1:1/${round}/${i}`)
    const kept = { url: backend.url, id: round < 10 ? 'kept' : 'first' }
    await proxy.setBackends([kept, ...others.map((url) => ({ url, id: url }))])
    for (const client of clients.values()) assert.equal(await ask(client), 'kept')
  }
  // The place of another one has nothing of what that one had.
  assert.ok(proxy.stats().groups[0]?.backends.every(({ pending, isAvailable }) => pending === 0 && isAvailable))
  await proxy.reload()
  const later = await clientsOfThreads(proxy, port, 2)
  for (const client of [...clients.values(), ...later.values()]) client.socket.destroy()
})

test('threads count failures together, an ejection by one is respected by all, and it ends for all', {
  skip,
}, async () => {
  await using bad = await mockBackend([resetOnRequest, resetOnRequest, { body: 'well again' }])
  await using good = await mockBackend({ body: 'good' })
  await using proxy = threaded({
    backends: [{ url: good.url, id: 'good' }],
    balancer: 'first-available',
    retry: false,
    healthCheck: { consecutiveFailures: 2, baseMs: 200 },
  })
  const told: string[] = []
  const returned = gate()
  proxy.on('eject', (backend, ms) => told.push(`${backend.id} ${ms}`)).on('uneject', () => returned.open())
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  await proxy.setBackends([
    { url: bad.url, id: 'bad' },
    { url: good.url, id: 'good' },
  ])
  const [one, two] = Array.from(clients.values())
  assert.ok(one !== undefined && two !== undefined)
  // One failure in each thread: neither has seen two.
  assert.match(await ask(one), /ERR_PROXY_RESET/)
  assert.match(await ask(two), /ERR_PROXY_RESET/)
  assert.equal(proxy.stats().groups[0]?.backends[0]?.isEjected, true)
  assert.equal(await ask(one), 'good')
  assert.equal(await ask(two), 'good')
  await returned.promise
  assert.deepEqual(told, ['bad 200'])
  assert.equal(await ask(one), 'well again')
  assert.equal(await ask(two), 'well again')
  for (const client of clients.values()) client.socket.destroy()
})

test('an ejection outlives the thread that began it, and ends in time', { skip }, async () => {
  const dead = await deadPort()
  await using good = await mockBackend({ body: 'good' })
  await using proxy = threaded({
    executor: workerThreads({ threads: 1 }),
    backends: [{ url: dead.url, id: 'dead' }, good.url],
    balancer: 'first-available',
    healthCheck: { consecutiveFailures: 1, baseMs: 60_000 },
  })
  const { url } = await proxy.listen(LOOPBACK)
  const text = async (): Promise<string> => (await fetch(url, { headers: { connection: 'close' } })).text()
  assert.equal(await text(), 'good')
  const before = proxy.stats().groups[0]?.backends[0]
  assert.equal(before?.isEjected, true)
  const log = threadLog()
  proxy.on('thread', log.onThread)
  await proxy.reload()
  let attempts = 0
  proxy.on('attempt', () => attempts++)
  assert.equal(await text(), 'good')
  // Asked for by the same message, and so after it.
  await proxy.setBackends([{ url: dead.url, id: 'dead' }, good.url])
  assert.equal(proxy.stats().groups[0]?.backends[0]?.isEjected, true)
  await proxy.close()
  assert.equal(attempts, 1)
})
