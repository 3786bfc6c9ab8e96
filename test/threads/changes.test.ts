import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type BackendInit,
  createProxy,
  OptionsError,
  type ProxyOptions,
  serveModule,
  workerThreads,
} from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/index.ts'
import { resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { certificate } from '../support/certificates.ts'
import type { RawClient } from '../support/raw-client.ts'
import { gate } from '../support/running-proxy.ts'
import {
  ask,
  clientsOfEntries,
  clientsOfThreads,
  entryOf,
  get,
  inTime,
  LOOPBACK,
  threadLog,
  watchWorkers,
  without,
} from './threaded.ts'

const skip = await without()

function threaded(options: ProxyOptions): ReturnType<typeof createProxy> {
  return createProxy({ logger: 'silent', executor: workerThreads({ threads: 2 }), drainTimeoutMs: 100, ...options })
}

test('setBackends() reaches every thread in order, and later threads', {
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

test('changes before or during the start apply to each thread', { skip }, async () => {
  await using old = await mockBackend({ body: 'old' })
  await using one = await mockBackend({ body: 'new' })
  for (const isBefore of [true, false]) {
    await using proxy = threaded({ target: old.url })
    const log = threadLog()
    proxy.on('thread', log.onThread)
    if (isBefore) await proxy.setBackends([one.url])
    const listens = proxy.listen(LOOPBACK)
    if (!isBefore) {
      await log.next('started')
      await proxy.setBackends([one.url])
    }
    const { port } = await listens
    const clients = await clientsOfThreads(proxy, port, 2)
    for (const client of clients.values()) assert.equal(await ask(client), 'new')
    for (const client of clients.values()) client.socket.destroy()
  }
})

test('setBackends() does not wait for a dying thread; its successor applies it', {
  skip,
}, async (t) => {
  const workers = watchWorkers(t)
  await using old = await mockBackend({ body: 'old' })
  await using one = await mockBackend({ body: 'new' })
  await using proxy = threaded({ target: old.url })
  const { port } = await proxy.listen(LOOPBACK)
  const log = threadLog()
  proxy.on('thread', log.onThread)
  void workers[0]?.terminate()
  await inTime(t, proxy.setBackends([one.url]))
  await log.next('started')
  const clients = await clientsOfThreads(proxy, port, 2)
  for (const client of clients.values()) assert.equal(await ask(client), 'new')
  for (const client of clients.values()) client.socket.destroy()
})

test('a change that cannot be sent to a thread is rejected and has no effect', { skip }, async () => {
  await using backend = await mockBackend({ body: 'as before' })
  await using proxy = threaded({ target: backend.url })
  const { url } = await proxy.listen(LOOPBACK)
  const backends = [{ url: backend.url, metadata: { choose: () => 1 } }]
  await assert.rejects(proxy.setBackends(backends), /cannot be sent to a thread/)
  await proxy.reload()
  assert.equal((await get(url)).text, 'as before')
  const tls = { SNICallback: () => {} }
  await using other = threaded({ target: backend.url })
  await assert.rejects(other.listen({ ...LOOPBACK, tls }), /^TypeError: listen\.tls cannot be sent to a thread: /)
})

test('a new thread gives an old backend its whole share', { skip }, async () => {
  await using a = await mockBackend({ body: 'a' })
  await using b = await mockBackend({ body: 'b' })
  await using proxy = threaded({ target: a.url, balancer: 'round-robin', slowStartMs: 3000 })
  const { port } = await proxy.listen(LOOPBACK)
  await proxy.setBackends([a.url, b.url])
  const share = async (): Promise<string> => {
    const answers: string[] = []
    const [client] = (await clientsOfThreads(proxy, port, 1)).values()
    for (let i = 0; i < 10; i++) answers.push(await ask(client as RawClient))
    client?.socket.destroy()
    return answers.sort().join('')
  }
  // Threads have no clock of a test's.
  await new Promise((resolve) => setTimeout(resolve, 3001))
  assert.equal(await share(), 'aaaaabbbbb')
  // Connections to a thread that retires would end; a second slow start would last beyond the reload.
  await proxy.reload()
  assert.equal(await share(), 'aaaaabbbbb')
})

test('modules: a change applies to proxies with the group, or to the named one', {
  skip,
}, async () => {
  await using old = await mockBackend({ body: 'old' })
  await using one = await mockBackend({ body: 'new' })
  await using running = await serveModule(entryOf('two-proxies', [['backend', old.url]]), {
    threads: 2,
    listen: LOOPBACK,
  })
  const clients = await clientsOfEntries(running.address.port, 2)
  const answers = async (): Promise<string[]> => {
    const all = Array.from(clients.values(), async (client) => {
      const of = []
      for (const path of ['/left', '/right', '/left/both', '/right/both']) of.push(await ask(client, path))
      return of.join()
    })
    return [...new Set(await Promise.all(all))]
  }
  const backends = [one.url]
  await running.setBackends(backends, 'left')
  assert.deepEqual(await answers(), ['new,old,old,old'])
  await running.setBackends(backends, 'both', 1)
  assert.deepEqual(await answers(), ['new,old,old,new'])
  await running.setBackends([{ url: old.url }], 'both')
  assert.deepEqual(await answers(), ['new,old,old,old'])

  // What no thread can do is not asked of those that come later either, and what was before still holds.
  await assert.rejects(
    running.setBackends(backends, 'up'),
    /^Error: a thread could not apply the change: none of the 2 proxies of this thread has a group "up"$/,
  )
  await assert.rejects(running.setBackends(backends, 'both', 2), /none of the 2 proxies/)
  await assert.rejects(running.setBackends(['ftp://a'], 'left'), /backends\[0\]/)
  await assert.rejects(running.setBackends([{ url: new URL(one.url) }], 'left'), {
    name: 'TypeError',
    message: /^the change of group "left" cannot be sent to a thread: .*give plain data$/,
  })
  assert.deepEqual(await answers(), ['new,old,old,old'])
  for (const client of clients.values()) client.socket.destroy()
  await running.reload()
  for (const [thread, client] of await clientsOfEntries(running.address.port, 2)) {
    assert.ok(thread > 2)
    clients.set(thread - 2, client)
  }
  assert.deepEqual(await answers(), ['new,old,old,old'])
  for (const client of clients.values()) client.socket.destroy()
})

test('modules: a backend removed while draining is new when it returns', {
  skip,
}, async () => {
  await using backend = await mockBackend({ body: 'again' })
  await using other = await mockBackend({ body: 'other' })
  await using running = await serveModule(entryOf('two-proxies', [['backend', other.url]]), {
    threads: 2,
    listen: LOOPBACK,
  })
  const connect = async (): Promise<RawClient[]> => [...(await clientsOfEntries(running.address.port, 2)).values()]
  let clients = await connect()
  const both = [
    { url: other.url, id: 'first' },
    { url: backend.url, id: 'second' },
  ]
  const change = (backends: BackendInit[]): Promise<void> => running.setBackends(backends, 'left')
  await change(both)
  await ask(clients[0] as RawClient, '/left?drain=second')
  const answers = async (): Promise<string> => {
    const all = new Set<string>()
    for (let i = 0; i < 20; i++) for (const client of clients) all.add(await ask(client, '/left'))
    return [...all].sort().join()
  }
  assert.equal(await answers(), 'other')
  // Neither another one beside it nor another thread is a reason to forget that it is drained.
  await change([...both, { url: other.url, id: 'third' }])
  assert.equal(await answers(), 'other')
  for (const client of clients) client.socket.destroy()
  await running.reload()
  clients = await connect()
  assert.equal(await answers(), 'other')
  await change(both.slice(0, 1))
  await change(both)
  assert.equal(await answers(), 'again,other')
  for (const client of clients) client.socket.destroy()
})

test('an unchanged backend keeps its connections, for any form of its certificate', { skip }, async () => {
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

test('drain() applies to every thread, and resolves when all exchanges ended', { skip }, async () => {
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

test('a backend removed while draining is new when it returns', { skip }, async () => {
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

test('backends can be replaced without end', { skip }, async () => {
  await using backend = await mockBackend({ body: 'kept' })
  await using proxy = threaded({ backends: [{ url: backend.url, id: 'first' }], balancer: 'first-available' })
  const { port } = await proxy.listen(LOOPBACK)
  const clients = await clientsOfThreads(proxy, port, 2)
  // More than there are places for, and each one another.
  for (let round = 0; round < 20; round++) {
    const others = Array.from({ length: 1000 }, (_, i) => `http://127.0.0.1:1/${round}/${i}`)
    const kept = { url: backend.url, id: round < 10 ? 'kept' : 'first' }
    await proxy.setBackends([kept, ...others.map((url) => ({ url, id: url }))])
    for (const client of clients.values()) assert.equal(await ask(client), 'kept')
  }
  const many = (name: string, count: number) =>
    Array.from({ length: count }, (_, i) => ({ url: 'http://127.0.0.1:1', id: `${name} ${i}` }))
  // Too many at one time are refused, and what they took is free again after the next change.
  await assert.rejects(
    proxy.setBackends(many('too many', 17_000)),
    /threads can share the state of at most 16384 backends/,
  )
  await proxy.setBackends([{ url: backend.url, id: 'first' }])
  await proxy.setBackends(many('others', 14_000))
  await proxy.setBackends([{ url: backend.url, id: 'first' }])
  // The place of another one has nothing of what that one had.
  assert.ok(proxy.stats().groups[0]?.backends.every(({ pending, status }) => pending === 0 && status === 'available'))
  await proxy.reload()
  const later = await clientsOfThreads(proxy, port, 2)
  for (const client of [...clients.values(), ...later.values()]) client.socket.destroy()
})

test('threads can be replaced, however many backends there are', { skip }, async () => {
  await using backend = await mockBackend()
  await using proxy = threaded({ target: backend.url, executor: workerThreads({ threads: 1 }) })
  await proxy.listen(LOOPBACK)
  let count = 16_384
  const most = (): Promise<unknown> =>
    proxy.setBackends(Array.from({ length: count }, (_, i) => ({ url: 'http://127.0.0.1:1', id: `${i}` })))
  while ((await most().catch((error: unknown) => error)) instanceof RangeError) count--
  assert.ok(count > 16_000)
  await proxy.reload()
})

test('threads share failure counts and ejections', {
  skip,
}, async () => {
  await using bad = await mockBackend([resetOnRequest, resetOnRequest, { body: 'well again' }])
  await using good = await mockBackend({ body: 'good' })
  await using proxy = threaded({
    backends: [{ url: good.url, id: 'good' }],
    balancer: 'first-available',
    retry: false,
    healthCheck: { consecutiveFailures: 2, baseMs: 1000 },
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
  assert.equal(proxy.stats().groups[0]?.backends[0]?.status, 'ejected')
  assert.equal(await ask(one), 'good')
  assert.equal(await ask(two), 'good')
  await returned.promise
  assert.deepEqual(told, ['bad 1000'])
  assert.equal(await ask(one), 'well again')
  assert.equal(await ask(two), 'well again')
  for (const client of clients.values()) client.socket.destroy()
})

test('an ejection outlives its thread, and ends in time', { skip }, async () => {
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
  assert.equal(before?.status, 'ejected')
  const log = threadLog()
  proxy.on('thread', log.onThread)
  await proxy.reload()
  let attempts = 0
  proxy.on('attempt', () => attempts++)
  assert.equal(await text(), 'good')
  // Asked for by the same message, and so after it.
  await proxy.setBackends([{ url: dead.url, id: 'dead' }, good.url])
  assert.equal(proxy.stats().groups[0]?.backends[0]?.status, 'ejected')
  await proxy.close()
  assert.equal(attempts, 1)
})
