import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HealthCheck } from '../../src/contracts/health-check.ts'
import { createProxy, type Proxy, type ProxyOptions, workerThreads } from '../../src/index.ts'
import type { Backend } from '../../src/model/backend.ts'
import { type MockBackend, manualClock, mockBackend } from '../../src/testing/index.ts'
import { resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { certificate, key } from '../support/certificates.ts'
import { gate } from '../support/running-proxy.ts'
import { LOOPBACK, without } from '../threads/threaded.ts'

/** How a proxy serves; what holds, holds with one thread and with several. */
const WAYS = [
  { name: 'one thread', skip: false, options: {} },
  { name: 'two threads', skip: await without(), options: { executor: workerThreads({ threads: 2 }) } },
] as const

interface Serving extends AsyncDisposable {
  readonly proxy: Proxy
  /** Each on a connection of its own, so that threads take turns. */
  get(): Promise<string>
}

async function serve(way: (typeof WAYS)[number], options: ProxyOptions): Promise<Serving> {
  const proxy = createProxy({
    logger: 'silent',
    ...way.options,
    drainTimeoutMs: 100,
    retry: false,
    balancer: 'first-available',
    ...options,
  })
  const { url } = await proxy.listen(LOOPBACK)
  return {
    proxy,
    get: async () => (await fetch(url, { headers: { Connection: 'close' } })).text(),
    [Symbol.asyncDispose]: () => proxy.close(),
  }
}

function stateOf(proxy: Proxy, id = 'it') {
  const found = proxy.stats().groups[0]?.backends.find((backend) => backend.id === id)
  assert.ok(found !== undefined)
  return found
}

/** What may be changed of a backend that stays the same one. */
const CHANGES: readonly [what: string, change: object][] = [
  ['weight', { weight: 7 }],
  ['metadata', { metadata: { zone: 'b' } }],
  ['TLS settings', { tls: { servername: 'other.example' } }],
]

/** Answers once `open` has been called. */
async function heldBackend(): Promise<{ readonly backend: MockBackend; open(): void }> {
  const held = gate()
  const backend = await mockBackend([
    async (_request, reply) => {
      await held.promise
      reply.send({ body: 'held' })
    },
    { body: 'it' },
  ])
  return { backend, open: () => held.open() }
}

for (const way of WAYS) {
  const { skip } = way
  for (const [what, change] of CHANGES) {
    test(`${way.name}: pending requests and draining outlast a change of ${what}; drain() waits on`, {
      skip,
    }, async () => {
      const { backend, open } = await heldBackend()
      await using _backend = backend
      await using other = await mockBackend({ body: 'other' })
      const second = { url: other.url, id: 'other' }
      await using serving = await serve(way, { backends: [{ url: backend.url, id: 'it' }, second] })
      const { proxy } = serving
      const response = serving.get()
      await backend.nextRequest()
      let isDrained = false
      const drained = proxy.drain('it').then(() => {
        isDrained = true
      })
      await proxy.setBackends([{ url: backend.url, id: 'it', ...change }, second])
      assert.equal(stateOf(proxy).pending, 1)
      assert.equal(stateOf(proxy).status, 'draining')
      for (let i = 0; i < 6; i++) assert.equal(await serving.get(), 'other')
      // drain() looks every 20 ms.
      await new Promise((resolve) => setTimeout(resolve, 60))
      assert.equal(isDrained, false)
      open()
      assert.equal(await response, 'held')
      await drained
      assert.equal(stateOf(proxy).pending, 0)
      proxy.undrain('it')
      assert.equal(await serving.get(), 'it')
    })

    test(`${way.name}: an ejection outlasts a change of ${what}, and ends in time`, { skip }, async () => {
      const clock = manualClock()
      await using backend = await mockBackend([resetOnRequest, { body: 'it' }])
      await using other = await mockBackend({ body: 'other' })
      const second = { url: other.url, id: 'other' }
      await using serving = await serve(way, {
        backends: [{ url: backend.url, id: 'it' }, second],
        healthCheck: { consecutiveFailures: 1, baseMs: 1500 },
        // Threads have a clock of their own.
        ...(way.name === 'one thread' && { clock }),
      })
      const { proxy } = serving
      const back = gate()
      proxy.on('uneject', () => back.open())
      await serving.get()
      await proxy.setBackends([{ url: backend.url, id: 'it', ...change }, second])
      assert.equal(stateOf(proxy).status, 'ejected')
      assert.equal(await serving.get(), 'other')
      clock.advance(1500)
      await back.promise
      assert.equal(await serving.get(), 'it')
    })

    test(`${way.name}: failures in a row are counted on after a change of ${what}`, { skip }, async () => {
      await using backend = await mockBackend(resetOnRequest)
      await using other = await mockBackend({ body: 'other' })
      const second = { url: other.url, id: 'other' }
      await using serving = await serve(way, {
        backends: [{ url: backend.url, id: 'it' }, second],
        healthCheck: { consecutiveFailures: 2 },
      })
      await serving.get()
      await serving.proxy.setBackends([{ url: backend.url, id: 'it', ...change }, second])
      await serving.get()
      assert.equal(await serving.get(), 'other')
    })

    test(`${way.name}: what probes have found outlasts a change of ${what}`, { skip }, async () => {
      await using backend = await mockBackend((request, reply) =>
        reply.send({ status: request.path === '/health' ? 503 : 200, body: 'it' }),
      )
      await using other = await mockBackend({ body: 'other' })
      const second = { url: other.url, id: 'other' }
      await using serving = await serve(way, {
        backends: [{ url: backend.url, id: 'it' }, second],
        healthCheck: { probe: { path: '/health', intervalMs: 60_000 } },
      })
      const { proxy } = serving
      const found = gate()
      proxy.on('unhealthy', () => found.open())
      if (stateOf(proxy).status !== 'unhealthy') await found.promise
      await proxy.setBackends([{ url: backend.url, id: 'it', ...change }, second])
      assert.equal(stateOf(proxy).status, 'unhealthy')
      assert.equal(await serving.get(), 'other')
    })
  }

  test(`${way.name}: a change of weight or metadata keeps the connections`, { skip }, async () => {
    await using backend = await mockBackend({ body: 'it' })
    await using serving = await serve(way, { backends: [{ url: backend.url, id: 'it' }] })
    const { proxy } = serving
    for (let i = 0; i < 10; i++) await serving.get()
    const before = proxy.stats().groups[0]?.pool.backends[0]?.reused ?? 0
    const { connections } = backend
    await proxy.setBackends([{ url: backend.url, id: 'it', weight: 3, metadata: { zone: 'a' } }])
    assert.equal(stateOf(proxy).weight, 3)
    for (let i = 0; i < 10; i++) await serving.get()
    // A thread that had none before opens one.
    assert.ok(backend.connections <= Math.max(connections, 2), `${backend.connections} after ${connections}`)
    if (!skip && way.name === 'one thread') {
      assert.equal((proxy.stats().groups[0]?.pool.backends[0]?.reused ?? 0) - before, 10)
    }
  })

  test(`${way.name}: another address under the same id is another backend`, { skip }, async () => {
    const { backend, open } = await heldBackend()
    await using _backend = backend
    await using moved = await mockBackend({ body: 'moved' })
    await using serving = await serve(way, { backends: [{ url: backend.url, id: 'it' }] })
    const { proxy } = serving
    const response = serving.get()
    await backend.nextRequest()
    const drained = proxy.drain('it')
    await proxy.setBackends([{ url: moved.url, id: 'it' }])
    assert.equal(stateOf(proxy).pending, 0)
    assert.equal(await serving.get(), 'moved')
    open()
    assert.equal(await response, 'held')
    await drained
  })

  test(`${way.name}: a backend that goes and comes again has what is still under way, and no other state`, {
    skip,
  }, async () => {
    const { backend, open } = await heldBackend()
    await using _backend = backend
    await using other = await mockBackend({ body: 'other' })
    await using serving = await serve(way, { backends: [{ url: backend.url, id: 'it' }] })
    const { proxy } = serving
    const response = serving.get()
    await backend.nextRequest()
    const drained = proxy.drain('it')
    await proxy.setBackends([other.url])
    await proxy.setBackends([{ url: backend.url, id: 'it' }])
    assert.deepEqual([stateOf(proxy).pending, stateOf(proxy).status], [1, 'available'])
    assert.equal(await serving.get(), 'it')
    open()
    assert.equal(await response, 'held')
    await drained
    assert.equal(stateOf(proxy).pending, 0)
  })

  test(`${way.name}: new TLS settings are for new requests, over new connections`, { skip }, async () => {
    await using backend = await mockBackend({ body: 'it' }, { tls: { key, cert: certificate } })
    const init = { url: backend.url, id: 'it' }
    await using serving = await serve(way, { backends: [{ ...init, tls: { ca: certificate } }] })
    assert.equal(await serving.get(), 'it')
    await serving.proxy.setBackends([{ ...init, tls: { ca: certificate, servername: 'nobody.example' } }])
    assert.match(await serving.get(), /ERR_PROXY_TLS/)
    await serving.proxy.setBackends([{ ...init, tls: { ca: certificate } }])
    assert.equal(await serving.get(), 'it')
  })
}

test('a check that looks after a backend goes on when its weight changes, and sees the new weight', async () => {
  const seen: Backend[] = []
  let stopped = 0
  const healthCheck: HealthCheck = {
    name: 'watching',
    observe() {},
    watch(backend) {
      seen.push(backend)
      return () => void stopped++
    },
  }
  await using proxy = createProxy({
    logger: 'silent',
    backends: [{ url: 'http://127.0.0.1:1', id: 'it' }],
    healthCheck,
  })
  await proxy.setBackends([{ url: 'http://127.0.0.1:1', id: 'it', weight: 4, metadata: { zone: 'a' } }])
  assert.deepEqual([seen.length, stopped], [1, 0])
  assert.deepEqual([seen[0]?.weight, seen[0]?.metadata], [4, { zone: 'a' }])
})

for (const [what, change] of CHANGES) {
  test(`a change of ${what} does not begin a slow start again`, async () => {
    const clock = manualClock()
    await using young = await mockBackend({ body: 'young' })
    await using old = await mockBackend({ body: 'old' })
    const second = { url: old.url, id: 'old' }
    const options = { backends: [second], clock: { ...clock, random: () => 0.2 }, slowStartMs: 10_000 }
    await using serving = await serve(WAYS[0], options)
    await serving.proxy.setBackends([{ url: young.url, id: 'young' }, second])
    assert.equal(await serving.get(), 'old')
    clock.advance(5000)
    assert.equal(await serving.get(), 'young')
    await serving.proxy.setBackends([{ url: young.url, id: 'young', ...change }, second])
    assert.equal(await serving.get(), 'young')
  })
}
