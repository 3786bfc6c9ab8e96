import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProxy, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { gate } from '../support/running-proxy.ts'
import { LOOPBACK, without } from '../threads/threaded.ts'

const WAYS = [
  { name: 'one thread', skip: false, options: {} },
  { name: 'two threads', skip: await without(), options: { executor: workerThreads({ threads: 2 }) } },
] as const

for (const { name, skip, options } of WAYS) {
  test(`${name}: a disabled backend finishes what runs and gets nothing new; who waits picks again`, {
    skip,
  }, async () => {
    const held = gate()
    await using it = await mockBackend(async (_request, reply) => {
      await held.promise
      reply.send({ body: 'it' })
    })
    await using other = await mockBackend({ body: 'other' })
    await using proxy = createProxy({
      logger: 'silent',
      ...options,
      backends: [
        { url: it.url, id: 'it' },
        { url: other.url, id: 'other' },
      ],
      balancer: 'first-available',
      pool: { maxConnections: 1 },
      timeouts: { acquire: 0 },
      drainTimeoutMs: 100,
    })
    const { url } = await proxy.listen(LOOPBACK)
    const get = async (): Promise<string> => (await fetch(url, { headers: { Connection: 'close' } })).text()
    const status = (): unknown => proxy.stats().groups[0]?.backends[0]?.status
    // A connection in each thread: of three one waits at least.
    const first = [get(), get(), get()]
    await it.nextRequest()
    while (proxy.stats().groups[0]?.backends[0]?.pending !== 3) await new Promise((resolve) => setImmediate(resolve))
    assert.ok(it.requests.length < 3)
    proxy.disable('it')
    assert.equal(status(), 'disabled')
    // No exchange comes that could wake the thread in which it waits.
    assert.equal(await Promise.any(first), 'other')
    for (let i = 0; i < 6; i++) assert.equal(await get(), 'other')
    held.open()
    assert.ok((await Promise.all(first)).includes('it'))
    proxy.enable('it')
    assert.equal(status(), 'available')
    assert.equal(await get(), 'it')
  })
}

test('a backend or a group that is not there cannot be disabled', async () => {
  await using proxy = createProxy({ logger: 'silent', backends: [{ url: 'http://127.0.0.1:1', id: 'it' }] })
  assert.throws(() => proxy.disable('none'), /group default has no backend "none"; its backends are it/)
  assert.throws(() => proxy.enable('it', 'none'), RangeError)
})

test('while all are disabled the response is 503', async () => {
  await using it = await mockBackend()
  await using proxy = createProxy({ logger: 'silent', backends: [{ url: it.url, id: 'it' }] })
  const { url } = await proxy.listen(LOOPBACK)
  proxy.disable('it')
  assert.equal((await fetch(url)).status, 503)
  proxy.enable('it')
  assert.equal((await fetch(url)).status, 200)
})
