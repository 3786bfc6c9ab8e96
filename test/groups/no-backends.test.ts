import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HealthCheck } from '../../src/contracts/health-check.ts'
import { createProxy, type ProxyOptions, workerThreads } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, FRONTS } from '../support/running-proxy.ts'
import { upgradeRequest } from '../support/upgrade-backends.ts'
import { get, LOOPBACK, without } from '../threads/threaded.ts'

const NONE = { status: 503, text: '503 Service Unavailable (ERR_PROXY_NO_BACKEND)\n' }

const EMPTY: readonly [what: string, options: ProxyOptions][] = [
  ['backends: []', { backends: [] }],
  ['a group of backends: []', { groups: { a: { backends: [] } }, routes: [{ path: '/', group: 'a' }] }],
]

for (const front of ALL_FRONTS) {
  for (const [what, options] of EMPTY) {
    test(`with ${what} requests get 503 until there are backends (${front.name})`, async () => {
      await using backend = await mockBackend({ body: 'here' })
      await using running = await front.run(options)
      assert.deepEqual(await get(running.url), NONE)
      assert.equal((await fetch(running.url)).headers.get('retry-after'), '1')
      const group = options.groups === undefined ? undefined : 'a'
      await running.proxy.setBackends([backend.url], group)
      assert.deepEqual(await get(running.url), { status: 200, text: 'here' })
      await running.proxy.setBackends([], group)
      assert.deepEqual(await get(running.url), NONE)
      assert.deepEqual(running.proxy.stats().groups[0]?.backends, [])
    })
  }

  test(`setBackends([]) takes the traffic from the old address, of upgrades too (${front.name})`, async () => {
    await using backend = await mockBackend({ body: 'old' })
    await using running = await front.run({ target: backend.url })
    assert.equal((await get(running.url)).text, 'old')
    await running.proxy.setBackends([])
    assert.deepEqual(await get(running.url), NONE)
    const client = rawClient(running.port)
    client.write(upgradeRequest())
    await client.until('ERR_PROXY_NO_BACKEND')
    assert.match(client.text, /^HTTP\/1\.1 503 /)
    client.socket.destroy()
    const { connections } = backend
    await get(running.url)
    assert.equal(backend.connections, connections)
  })
}

test('with threads, an empty list holds in each of them, from the start and later', {
  skip: await without(),
}, async () => {
  await using backend = await mockBackend({ body: 'here' })
  await using proxy = createProxy({
    logger: 'silent',
    backends: [],
    executor: workerThreads({ threads: 2 }),
    drainTimeoutMs: 100,
  })
  const { url } = await proxy.listen(LOOPBACK)
  const answers = async (): Promise<string[]> => {
    const found = new Set<string>()
    for (let i = 0; i < 10; i++) {
      const response = await fetch(url, { headers: { Connection: 'close' } })
      found.add(`${response.status} ${(await response.text()).trim()}`)
    }
    return [...found]
  }
  const none = [`503 ${NONE.text.trim()}`]
  assert.deepEqual(await answers(), none)
  await proxy.setBackends([backend.url])
  assert.deepEqual(await answers(), ['200 here'])
  await proxy.setBackends([])
  assert.deepEqual(await answers(), none)
  await proxy.reload()
  assert.deepEqual(await answers(), none)
})

for (const balancer of [
  'power-of-two',
  'round-robin',
  'least-connections',
  'random',
  'peak-ewma',
  'consistent-hash',
  'first-available',
] as const) {
  test(`${balancer} goes along with an empty list between two others`, async () => {
    await using one = await mockBackend({ body: 'one' })
    await using two = await mockBackend({ body: 'two' })
    await using running = await (FRONTS[0] as (typeof ALL_FRONTS)[number]).run({ target: one.url, balancer })
    assert.equal((await get(running.url)).text, 'one')
    await running.proxy.setBackends([])
    assert.deepEqual(await get(running.url), NONE)
    await running.proxy.setBackends([two.url])
    assert.equal((await get(running.url)).text, 'two')
  })
}

for (const initial of [['http://127.0.0.1:1'], []]) {
  test(`backends are looked after that come after an empty list, which was ${initial.length === 0 ? 'the first' : 'not'}`, async () => {
    const watched = new Set<string>()
    const healthCheck: HealthCheck = {
      name: 'watching',
      observe() {},
      watch({ id }) {
        watched.add(id)
        return () => void watched.delete(id)
      },
    }
    await using proxy = createProxy({ logger: 'silent', backends: initial, healthCheck })
    assert.deepEqual([...watched], initial)
    await proxy.setBackends([])
    assert.deepEqual([...watched], [])
    await proxy.setBackends(['http://127.0.0.1:2'])
    assert.deepEqual([...watched], ['http://127.0.0.1:2'])
  })
}

test('drain() says so where the group has no backends', async () => {
  await using proxy = createProxy({ logger: 'silent', backends: [] })
  await assert.rejects(proxy.drain('a'), /^RangeError: group default has no backend "a"; it has none$/)
})
