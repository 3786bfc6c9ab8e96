import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import { createProxy, type ProxyError } from '../../src/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, rounds } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'
import { caseCount, corpus, FakeSocket, mutator, seed } from './mutator.ts'

const ASK = upgradeRequest({ protocol: 'websocket' })

/** One upgrade, of which both ends are in the test's hands. */
interface Case {
  readonly text: string
  readonly client: FakeSocket
}

test('whatever a backend answers to an upgrade ends that exchange only, with one record', async (t) => {
  const count = caseCount(10_000)
  t.diagnostic(`FUZZ_SEED=${seed} FUZZ_CASES=${count}`)
  const next = mutator(corpus('upgrades'), seed)
  const random = seededRandom(seed)
  const below = (limit: number): number => Math.floor(random() * limit)
  let made: FakeSocket[] = []
  t.mock.method(net as unknown as { connect(): FakeSocket }, 'connect', () => {
    const socket = new FakeSocket()
    made.push(socket)
    setImmediate(() => socket.emit('connect'))
    return socket
  })
  const thrown: unknown[] = []
  const onThrown = (error: unknown): void => void thrown.push(error)
  process.on('uncaughtException', onThrown).on('unhandledRejection', onThrown)
  t.after(() => process.off('uncaughtException', onThrown).off('unhandledRejection', onThrown))

  const proxy = createProxy({
    logger: 'silent',
    target: 'http://backend.test',
    pool: { maxConnections: 1000 },
    drainTimeoutMs: 10,
  })
  const server = http.createServer()
  proxy.attach(server)
  const records = new Map<number, number>()
  const outcomes: Record<string, number> = {}
  const hooks: ProxyError[] = []
  proxy.on('request', ({ id }) => records.set(id, 0))
  proxy.on('finish', ({ id }, { outcome }) => {
    records.set(id, (records.get(id) ?? 0) + 1)
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
  })
  // Nothing that comes over the wire may get as far as a guard.
  proxy.on('error', (error) => error.code === 'ERR_PROXY_HOOK' && hooks.push(error))

  for (let done = 0; done < count; done += 50) {
    records.clear()
    made = []
    const cases: Case[] = []
    for (let i = 0; i < Math.min(50, count - done); i++) {
      const client = new FakeSocket()
      server.emit('connection', client)
      client.push(ASK)
      cases.push({ text: next(), client })
    }
    await rounds(3)
    assert.equal(made.length, cases.length)
    for (const [i, { text, client }] of cases.entries()) {
      const backend = made[i] as FakeSocket
      const bytes = Buffer.from(text, 'latin1')
      const cut = random() < 0.5 ? bytes.length : below(bytes.length)
      backend.push(bytes.subarray(0, cut))
      if (random() < 0.2) await rounds(1)
      const rest = bytes.subarray(cut)
      if (rest.length > 0 && !backend.readableEnded && !backend.destroyed) backend.push(rest)
      switch (below(6)) {
        case 0:
          if (!backend.destroyed) backend.push(null)
          break
        case 1:
          backend.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
          break
        case 2:
          client.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
          break
        case 3:
          if (!client.destroyed) client.push(null)
          break
        case 4:
          if (!client.destroyed) client.push(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x61]))
          break
      }
    }
    await rounds(6)
    for (const { text, client } of cases) {
      assert.ok(
        client.written === '' || /^HTTP\/1\.1 [1-9]\d\d [\t\x20-\x7e\x80-\xff]*\r\n/.test(client.written),
        JSON.stringify([text, client.written]),
      )
      client.destroy()
    }
    await rounds(6)
    assert.deepEqual(thrown, [], JSON.stringify(cases.map(({ text }) => text)))
    assert.equal(records.size, cases.length)
    for (const [id, times] of records) assert.equal(times, 1, `exchange ${id}`)
    const stats = proxy.stats()
    assert.equal(stats.active, 0)
    assert.equal(stats.groups[0]?.backends[0]?.pending, 0)
    assert.equal(stats.groups[0]?.pool.backends[0]?.connections, 0)
    assert.equal(stats.groups[0]?.pool.backends[0]?.waiting, 0)
    assert.equal(made.length, cases.length)
    for (const [i, backend] of made.entries()) {
      assert.ok(backend.destroyed, `the backend's connection is open after ${JSON.stringify(cases[i]?.text)}`)
    }
  }
  await proxy.close()
  assert.deepEqual(hooks, [])
  for (const outcome of ['upgraded', 'answered', 'failed', 'truncated']) {
    assert.ok((outcomes[outcome] ?? 0) > count / 300, `${outcomes[outcome]} were ${outcome}`)
  }
})

for (const { name, run } of FRONTS) {
  test(`over real sockets as well: ${name}`, async (t) => {
    const count = Math.min(caseCount(100), 2000)
    t.diagnostic(`FUZZ_SEED=${seed} FUZZ_CASES=${count}`)
    const next = mutator(corpus('upgrades'), seed + 1)
    const random = seededRandom(seed + 1)
    await using backend = await rawBackend(({ socket }) => {
      const bytes = Buffer.from(next(), 'latin1')
      const cut = Math.floor(random() * bytes.length)
      socket.write(bytes.subarray(0, cut))
      setImmediate(() => {
        if (random() < 0.1) socket.resetAndDestroy()
        else socket.end(bytes.subarray(cut))
      })
    })
    await using running = await run({ target: backend.url, healthCheck: false })
    let records = 0
    running.proxy.on('finish', () => records++)
    for (let done = 0; done < count; done += 20) {
      const clients = Array.from({ length: 20 }, () => {
        const client = rawClient(running.port)
        client.socket.on('end', () => client.socket.end())
        client.write(ASK)
        if (random() < 0.1) setImmediate(() => client.socket.resetAndDestroy())
        return client
      })
      await Promise.all(clients.map(({ ended }) => ended))
    }
    while (running.proxy.stats().active > 0) await rounds(1)
    await backend.untilOpen(0)
    assert.equal(records, running.proxy.stats().exchanges)
    assert.equal(running.pending(), 0)
    for (const error of running.errors) assert.notEqual(error.code, 'ERR_PROXY_HOOK', error.message)
  })
}
