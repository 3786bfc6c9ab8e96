import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { describe, test } from 'node:test'
import WebSocket from 'ws'
import { type Pool, ProxyError } from '../../src/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { randomBytes, sha256 } from '../support/bytes.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { FRONTS, gate, type RunningProxy, rounds } from '../support/running-proxy.ts'
import {
  type RawUpgrade,
  rawBackend,
  switching,
  upgradeRequest,
  webSocketBackend,
} from '../support/upgrade-backends.ts'

/** Asks for an upgrade at this proxy. */
function ask({ port }: RunningProxy, request = upgradeRequest()): RawClient {
  const client = rawClient(port)
  client.write(request)
  return client
}

const figures = ({ proxy }: RunningProxy) => proxy.stats().groups[0]?.pool.backends[0]

for (const { name, run } of FRONTS) {
  describe(`${name}: upgraded connections count in pool.maxConnections`, () => {
    test('over it with nobody allowed to wait, the next is refused', async () => {
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using running = await run({ target: backend.url, pool: { maxConnections: 2, maxWaiting: 0 } })
      const [first, second] = [ask(running), ask(running)]
      await Promise.all([first.until('101'), second.until('101')])
      const third = ask(running)
      await third.ended
      assert.match(third.text, /^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n[\s\S]*ERR_PROXY_POOL_FULL/)
      assert.equal((await running.nextRecord()).errorCode, 'ERR_PROXY_POOL_FULL')
      const plain = await fetch(running.url)
      assert.equal(plain.status, 503)
      assert.match(await plain.text(), /ERR_PROXY_POOL_FULL/)
      assert.equal(figures(running)?.connections, 2)
      assert.equal(backend.connections, 2)
      await running.nextRecord()
      first.socket.destroy()
      assert.equal((await running.nextRecord()).outcome, 'upgraded')
      const fourth = ask(running)
      await fourth.until('101')
      fourth.socket.destroy()
      second.socket.destroy()
    })

    test('exchanges in flight leave no place for it; an idle connection does', async () => {
      const held = gate()
      await using backend = await mockBackend(async (request, reply) => {
        if (request.path === '/held') await held.promise
        reply.raw(request.path === '/up' ? switching('foo') : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      })
      await using running = await run({ target: backend.url, pool: { maxConnections: 1, maxWaiting: 0 } })
      const answer = fetch(`${running.url}/held`)
      await backend.nextRequest()
      const refused = ask(running, upgradeRequest({ path: '/up' }))
      await refused.ended
      assert.match(refused.text, /ERR_PROXY_POOL_FULL/)
      held.open()
      assert.equal(await (await answer).text(), 'ok')
      const client = ask(running, upgradeRequest({ path: '/up' }))
      await client.until('101')
      await backend.untilOpenConnections(1)
      client.socket.destroy()
    })

    test('over it another backend is taken', async () => {
      await using one = await rawBackend((upgrade) => upgrade.accept())
      await using two = await rawBackend((upgrade) => upgrade.accept())
      await using running = await run({
        backends: [one.url, two.url],
        balancer: 'first-available',
        pool: { maxConnections: 1, maxWaiting: 0 },
      })
      const first = ask(running)
      await first.until('101')
      const second = ask(running)
      await second.until('101')
      assert.deepEqual([one.connections, two.connections], [1, 1])
      for (const client of [first, second]) client.socket.destroy()
    })

    test('one waits, in order, until another has ended', async () => {
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using running = await run({ target: backend.url, pool: { maxConnections: 1, maxWaiting: 2 } })
      const first = ask(running)
      await first.until('101')
      const second = ask(running)
      while (figures(running)?.waiting !== 1) await rounds(1)
      const third = ask(running)
      while (figures(running)?.waiting !== 2) await rounds(1)
      assert.equal(second.text, '')
      first.socket.destroy()
      await second.until('101')
      assert.equal(third.text, '')
      second.socket.destroy()
      await third.until('101')
      third.socket.destroy()
      assert.equal(backend.connections, 3)
    })

    test('for timeouts.acquire at the most; and one whose client goes waits no more', async () => {
      const clock = manualClock()
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using running = await run({ target: backend.url, clock, retry: false, pool: { maxConnections: 1 } })
      const first = ask(running)
      await first.until('101')
      const gone = ask(running)
      while (figures(running)?.waiting !== 1) await rounds(1)
      gone.socket.resetAndDestroy()
      assert.equal((await running.nextRecord()).outcome, 'aborted')
      assert.equal(figures(running)?.waiting, 0)
      const late = ask(running)
      while (figures(running)?.waiting !== 1) await rounds(1)
      clock.advance(60_000)
      await late.until('ERR_PROXY_ACQUIRE_TIMEOUT')
      assert.match(late.text, /^HTTP\/1\.1 504 /)
      assert.equal(figures(running)?.waiting, 0)
      for (const client of [first, late]) client.socket.destroy()
    })

    test('each way to end gives the place back', async () => {
      const { url } = await deadPort()
      let answer: (upgrade: RawUpgrade) => void = () => {}
      await using backend = await rawBackend((upgrade) => answer(upgrade))
      await using running = await run({
        groups: {
          one: { target: backend.url, pool: { maxConnections: 1, maxWaiting: 0 } },
          dead: { target: url, pool: { maxConnections: 1, maxWaiting: 0 }, healthCheck: false },
        },
        routes: [
          { path: '/dead', group: 'dead' },
          { path: '/', group: 'one' },
        ],
      })
      const ways: ((upgrade: RawUpgrade) => void)[] = [
        ({ socket }) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'),
        ({ socket }) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nn'),
        ({ socket }) => socket.write('HTTP/1.1 099 Low\r\n\r\n'),
        ({ socket }) => socket.write(switching('bar')),
        ({ socket }) => socket.resetAndDestroy(),
        ({ socket }) => socket.end(switching('foo')),
        ({ socket }) => void socket.write(switching('foo'), () => socket.resetAndDestroy()),
      ]
      for (const way of ways) {
        answer = way
        const client = ask(running)
        client.socket.on('end', () => client.socket.end())
        await client.ended
        await backend.untilOpen(0)
      }
      for (let i = 0; i < 3; i++) {
        const dead = ask(running, upgradeRequest({ path: '/dead' }))
        await dead.ended
        assert.match(dead.text, /ERR_PROXY_CONNECT/)
      }
      // Gone during the handshake.
      answer = () => {}
      const gone = ask(running)
      while (backend.openConnections === 0) await rounds(1)
      gone.socket.resetAndDestroy()
      await backend.untilOpen(0)
      answer = (upgrade) => upgrade.accept()
      const last = ask(running)
      await last.until('101')
      last.socket.destroy()
    })

    test('300 clients at a limit of 8: 8 connections, 20 wait, the others are refused', async () => {
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using running = await run({
        target: backend.url,
        retry: false,
        pool: { maxConnections: 8, maxWaiting: 20 },
      })
      const clients = Array.from({ length: 300 }, () => ask(running))
      for (let i = 0; i < 272; i++) assert.equal((await running.nextRecord()).errorCode, 'ERR_PROXY_POOL_FULL')
      while (figures(running)?.waiting !== 20) await rounds(1)
      assert.equal(figures(running)?.connections, 8)
      assert.equal(backend.connections, 8)
      for (const client of clients) client.socket.destroy()
      for (let i = 0; i < 28; i++) await running.nextRecord()
      await backend.untilOpen(0)
      while (figures(running)?.connections !== 0) await rounds(1)
      assert.equal(running.pending(), 0)
    })
  })

  describe(`${name}: the ends of upgrades`, () => {
    test('timeouts.upgradeIdle ends an idle WebSocket with an error of its own', async () => {
      const clock = manualClock()
      await using backend = await webSocketBackend()
      await using running = await run({ target: backend.url, clock, timeouts: { upgradeIdle: 1_000 } })
      const socket = new WebSocket(running.url.replace('http', 'ws'))
      await once(socket, 'open')
      clock.advance(1_100)
      const [code] = await once(socket, 'close')
      assert.equal(code, 1006)
      const record = await running.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_UPGRADE_IDLE_TIMEOUT'])
      await backend.untilOpen(0)
    })

    test('timeouts.total ends an upgrade in every phase', async () => {
      for (const [answer, outcome] of [
        ['', 'failed'],
        ['HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n', 'truncated'],
        [switching('foo'), 'truncated'],
      ] as const) {
        const clock = manualClock()
        await using backend = await rawBackend(({ socket }) => socket.write(answer))
        await using running = await run({ target: backend.url, clock, timeouts: { total: 5_000 } })
        const client = ask(running)
        await backend.nextUpgrade()
        if (answer !== '') await client.until('\r\n\r\n')
        clock.advance(6_000)
        const record = await running.nextRecord()
        assert.deepEqual([record.outcome, record.errorCode], [outcome, 'ERR_PROXY_TOTAL_TIMEOUT'])
        await client.ended
        await backend.untilOpen(0)
        assert.equal(running.pending(), 0)
      }
    })

    test('what a client sends before the answer is held back past a bound, and all of it arrives', async () => {
      await using backend = await rawBackend()
      await using running = await run({ target: backend.url })
      const bytes = randomBytes(12_000_000)
      const client = ask(running)
      const upgrade = await backend.nextUpgrade()
      client.socket.write(bytes)
      let before = -1
      while (client.socket.writableLength !== before) {
        before = client.socket.writableLength
        await rounds(200)
      }
      assert.ok(before > 0, 'all of it was taken')
      upgrade.accept()
      client.socket.end()
      await upgrade.closed
      assert.equal(sha256(Buffer.from(upgrade.received, 'latin1')), sha256(bytes))
    })

    test('after close() no socket is left, with WebSockets that are open, closing and forgotten', async () => {
      await using backend = await webSocketBackend()
      await using running = await run({ target: backend.url, drainTimeoutMs: 50 })
      const sockets = await Promise.all(
        Array.from({ length: 12 }, async (_, i) => {
          const socket = new WebSocket(running.url.replace('http', 'ws'))
          socket.on('error', () => {})
          await once(socket, 'open')
          // It hears nothing any more.
          if (i % 3 === 0) socket.pause()
          if (i % 3 === 1) socket.close()
          return socket
        }),
      )
      await running.proxy.close()
      assert.equal(running.pending(), 0)
      assert.equal(running.proxy.stats().active, 0)
      await backend.untilOpen(0)
      for (const socket of sockets) socket.terminate()
    })

    test('clients that reset in any phase leave nothing behind', async () => {
      await using backend = await rawBackend(({ socket, head }) => {
        if (head.includes('/refused')) socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nhal')
        else if (head.includes('/open')) socket.write(switching('foo', 'x'.repeat(1_000)))
      })
      await using running = await run({ target: backend.url, pool: { maxConnections: 4 } })
      let records = 0
      running.proxy.on('finish', () => records++)
      let requests = 0
      running.proxy.on('request', () => requests++)
      for (let i = 0; i < 120; i++) {
        const path = ['/silent', '/refused', '/open'][i % 3] as string
        const client = ask(running, upgradeRequest({ path, body: i % 2 === 0 ? 'early' : '' }))
        await once(client.socket, 'connect')
        await rounds(i % 10)
        client.socket.resetAndDestroy()
      }
      while (running.proxy.stats().active > 0) await rounds(1)
      await backend.untilOpen(0)
      assert.equal(running.pending(), 0)
      assert.equal(records, requests)
      while ((figures(running)?.connections ?? 0) > 0) await rounds(1)
    })
  })
}

test('a pool of the application is asked for upgrades, and bounds them', async () => {
  await using backend = await rawBackend((upgrade) => upgrade.accept())
  const { createProxy, standardPool } = await import('../../src/index.ts')
  const inner = standardPool()
  const asked: (string | null)[] = []
  let out = 0
  const pool: Pool = {
    ...inner,
    async acquire(backend, exchange) {
      asked.push(exchange.upgrade)
      if (out === 2) throw new ProxyError('ERR_PROXY_POOL_FULL', 'two are enough', { backend })
      out++
      const lease = await inner.acquire(backend, exchange)
      return {
        isReused: lease.isReused,
        send: lease.send.bind(lease),
        release(outcome) {
          out--
          lease.release(outcome)
        },
      }
    },
  }
  await using proxy = createProxy({ logger: 'silent', target: backend.url, pool, retry: false, drainTimeoutMs: 10 })
  const server = http.createServer()
  proxy.attach(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const [one, two] = [ask({ port } as RunningProxy), ask({ port } as RunningProxy)]
  for (const client of [one, two]) await client.until('101')
  const third = ask({ port } as RunningProxy)
  await third.until('503')
  assert.deepEqual(asked, ['foo', 'foo', 'foo'])
  assert.equal(proxy.stats().groups[0]?.pool.backends[0]?.connections, 2)
  one.socket.destroy()
  while (out === 2) await new Promise(setImmediate)
  const fourth = ask({ port } as RunningProxy)
  await fourth.until('101')
  for (const client of [two, third, fourth]) client.socket.destroy()
  server.close()
})
