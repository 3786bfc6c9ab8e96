import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import WebSocket from 'ws'
import { reset } from '../../src/fronts/tcp.ts'
import type { ProxyOptions } from '../../src/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { deadPort } from '../../src/testing/mock-backend.ts'
import { randomBytes, sha256 } from '../support/bytes.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { type RunningProxy, rounds, runInServer, runProxy } from '../support/running-proxy.ts'
import {
  type RawBackend,
  type RawUpgrade,
  rawBackend,
  upgradeRequest,
  webSocketBackend,
} from '../support/upgrade-backends.ts'

interface OpenTunnel extends AsyncDisposable {
  readonly running: RunningProxy
  readonly backend: RawBackend
  readonly client: RawClient
  readonly upgrade: RawUpgrade
}

/** A client and a backend that have been joined. */
async function openTunnel(
  options: Omit<ProxyOptions, 'target'> = {},
  protocol = 'foo',
  keepsOpen = false,
): Promise<OpenTunnel> {
  const backend = await rawBackend((upgrade) => upgrade.accept(protocol), { keepsOpen })
  const running = await runProxy({ target: backend.url, ...options })
  const client = rawClient(running.port)
  client.socket.allowHalfOpen = true
  client.write(upgradeRequest({ protocol }))
  const upgrade = await backend.nextUpgrade()
  await client.until('\r\n\r\n')
  return {
    running,
    backend,
    client,
    upgrade,
    async [Symbol.asyncDispose]() {
      client.socket.destroy()
      await running[Symbol.asyncDispose]()
      await backend[Symbol.asyncDispose]()
    },
  }
}

describe('the end of one side is the end of the other', () => {
  const ways: Record<string, (tunnel: OpenTunnel) => unknown> = {
    'the client ends': ({ client }) => client.socket.end(),
    'the client is destroyed': ({ client }) => client.socket.destroy(),
    'the client resets': ({ client }) => client.socket.resetAndDestroy(),
    'the backend ends': ({ upgrade }) => upgrade.socket.end(),
    'the backend is destroyed': ({ upgrade }) => upgrade.socket.destroy(),
    'the backend resets': ({ upgrade }) => upgrade.socket.resetAndDestroy(),
  }
  for (const [name, how] of Object.entries(ways)) {
    test(name, async () => {
      await using tunnel = await openTunnel()
      const { running, backend, client, upgrade } = tunnel
      client.socket.on('end', () => client.socket.end())
      how(tunnel)
      await Promise.all([client.ended, upgrade.closed])
      const record = await running.nextRecord()
      assert.equal(record.outcome, 'upgraded')
      assert.equal(record.errorCode, null)
      assert.equal(backend.openConnections, 0)
      assert.equal(running.pending(), 0)
      assert.equal(running.proxy.stats().active, 0)
    })
  }

  test('what was sent before the end arrives, in both directions', async () => {
    for (const side of ['client', 'backend'] as const) {
      await using tunnel = await openTunnel()
      const { client, upgrade } = tunnel
      const bytes = 'x'.repeat(3_000_000)
      if (side === 'client') {
        client.socket.end(bytes)
        await upgrade.closed
        assert.equal(upgrade.received.length, bytes.length)
      } else {
        client.socket.on('end', () => client.socket.end())
        upgrade.socket.end(bytes)
        await client.ended
        assert.equal(client.text.length - client.text.indexOf('\r\n\r\n') - 4, bytes.length)
      }
    }
  })

  test("the application destroys the client's connection: the backend's is not left half-open", async () => {
    await using backend = await rawBackend((upgrade) => upgrade.accept(), { keepsOpen: true })
    const served: Duplex[] = []
    await using running = await runInServer({ target: backend.url }, (proxy) =>
      http.createServer().on('upgrade', (req, socket, head) => {
        served.push(socket)
        proxy.ws(req, socket, head)
      }),
    )
    const client = rawClient(running.port)
    client.write(upgradeRequest())
    await client.until('101')
    served[0]?.destroy()
    assert.equal((await running.nextRecord()).outcome, 'upgraded')
    assert.equal(running.pending(), 0)
  })

  test('half-closed: the other direction goes on', async () => {
    await using tunnel = await openTunnel({}, 'foo', true)
    const { client, upgrade, running } = tunnel
    const ended = once(upgrade.socket, 'end')
    client.socket.end('the question')
    await ended
    assert.equal(upgrade.received, 'the question')
    upgrade.socket.write('an answer')
    await client.until('an answer')
    await rounds()
    upgrade.socket.end(' and its end')
    assert.equal(await client.ended, 'end')
    assert.match(client.text, /an answer and its end$/)
    assert.equal((await running.nextRecord()).outcome, 'upgraded')
  })

  test('half-closed the other way: the client goes on', async () => {
    await using tunnel = await openTunnel({}, 'foo', true)
    const { client, upgrade } = tunnel
    const ended = once(client.socket, 'end')
    upgrade.socket.end()
    await ended
    client.write('more')
    await upgrade.until('more')
    client.socket.end()
    await upgrade.closed
  })

  for (const [name, ends] of Object.entries({
    'the client': ({ client, upgrade }: OpenTunnel) => [upgrade.socket, client.socket] as const,
    'the backend': ({ client, upgrade }: OpenTunnel) => [client.socket, upgrade.socket] as const,
  })) {
    test(`${name} reads slowly: the other is held back, and every byte arrives`, async () => {
      await using tunnel = await openTunnel({}, 'foo', true)
      const [sender, receiver] = ends(tunnel)
      receiver.removeAllListeners('data')
      receiver.pause()
      // Pieces of which a turn brings many, and others that take many turns.
      const pieces = Array.from({ length: 400 }, (_, index) => randomBytes(index % 4 === 0 ? 300_000 : index + 1))
      let sent = 0
      const all = (async () => {
        for (const piece of pieces) {
          if (!sender.write(piece)) await once(sender, 'drain')
          sent++
        }
        sender.end()
      })()
      let before = -1
      while (before !== sent) {
        before = sent
        await rounds(200)
      }
      assert.ok(sent < pieces.length, 'all of it was taken')
      const received: Buffer[] = []
      receiver.on('data', (chunk: Buffer) => received.push(chunk))
      const ended = once(receiver, 'end')
      receiver.resume()
      await Promise.all([all, ended])
      assert.equal(sha256(Buffer.concat(received)), sha256(Buffer.concat(pieces)))
    })
  }

  for (const [protocol, afterMs, errorCode] of [
    ['foo', 60_000, 'ERR_PROXY_UPGRADE_IDLE_TIMEOUT'],
    ['websocket', 2_000, null],
  ] as const) {
    test(`half-closed and forgotten (${protocol}): ended after ${afterMs} ms without a byte`, async () => {
      const clock = manualClock()
      await using tunnel = await openTunnel({ clock }, protocol, true)
      const { client, upgrade, running } = tunnel
      clock.advance(200_000)
      const ended = once(upgrade.socket, 'end')
      client.socket.end()
      await ended
      clock.advance(afterMs - 100)
      await rounds()
      assert.equal(running.pending(), 1)
      clock.advance(200)
      await client.ended
      // A socket that has had its FIN hears of more only when it writes.
      while (!upgrade.socket.destroyed) {
        upgrade.socket.write('?')
        await rounds(1)
      }
      assert.equal((await running.nextRecord()).errorCode, errorCode)
    })
  }

  test('200 WebSockets, opened and closed: no connection is left on either end', async () => {
    await using backend = await webSocketBackend()
    let server!: http.Server
    await using running = await runInServer({ target: backend.url, pool: { maxConnections: 200 } }, (proxy) => {
      server = http.createServer()
      proxy.attach(server)
      return server
    })
    const sockets = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const socket = new WebSocket(running.url.replace('http', 'ws'))
        await once(socket, 'open')
        socket.send('x')
        await once(socket, 'message')
        return socket
      }),
    )
    assert.equal(running.pending(), 200)
    assert.equal(backend.openConnections, 200)
    for (const [i, socket] of sockets.entries()) i % 2 === 0 ? socket.close() : socket.terminate()
    for (let i = 0; i < 200; i++) assert.equal((await running.nextRecord()).outcome, 'upgraded')
    await backend.untilOpen(0)
    const connections = await new Promise((resolve) => server.getConnections((_error, count) => resolve(count)))
    assert.equal(connections, 0)
    assert.equal(running.pending(), 0)
  })
})

describe('timeouts.upgradeIdle', () => {
  test('ends an idle one, and not a busy one', async () => {
    const clock = manualClock()
    await using tunnel = await openTunnel({ clock, timeouts: { upgradeIdle: 1_000 } })
    const { client, upgrade, running } = tunnel
    for (let i = 0; i < 5; i++) {
      clock.advance(900)
      client.write(`c${i}`)
      await upgrade.until(`c${i}`)
      clock.advance(900)
      upgrade.socket.write(`b${i}`)
      await client.until(`b${i}`)
    }
    clock.advance(900)
    assert.equal(running.pending(), 1)
    clock.advance(200)
    const record = await running.nextRecord()
    assert.equal(record.outcome, 'truncated')
    assert.equal(record.errorCode, 'ERR_PROXY_UPGRADE_IDLE_TIMEOUT')
    client.socket.on('end', () => client.socket.end())
    await Promise.all([client.ended, upgrade.closed])
  })

  test('is off unless it is set; the total limit holds for all of it', async () => {
    const clock = manualClock()
    await using tunnel = await openTunnel({ clock, timeouts: { total: 100_000 } })
    clock.advance(99_000)
    assert.equal(tunnel.running.pending(), 1)
    clock.advance(2_000)
    assert.equal((await tunnel.running.nextRecord()).errorCode, 'ERR_PROXY_TOTAL_TIMEOUT')
  })
})

describe('a client that goes before the answer', () => {
  for (const [name, early, how] of [
    ['by FIN', '', (client: RawClient) => client.socket.end()],
    ['by RST', '', (client: RawClient) => client.socket.resetAndDestroy()],
    ['by FIN, after early bytes', 'early', (client: RawClient) => client.socket.end()],
    ['by RST, after early bytes', 'early', (client: RawClient) => client.socket.resetAndDestroy()],
  ] as const) {
    test(name, async () => {
      await using backend = await rawBackend()
      await using running = await runProxy({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest({ body: early }))
      const upgrade = await backend.nextUpgrade()
      how(client)
      const record = await running.nextRecord()
      assert.equal(record.outcome, 'aborted')
      assert.equal(record.status, 499)
      await upgrade.closed
      assert.equal(running.pending(), 0)
    })
  }

  test('while a retry waits: no further attempt', async () => {
    const clock = manualClock()
    const { url } = await deadPort()
    await using running = await runProxy({
      target: url,
      clock,
      healthCheck: false,
      retry: { name: 'later', next: () => 1_000 },
    })
    const client = rawClient(running.port)
    const retried = new Promise<void>((resolve) => void running.proxy.on('retry', () => resolve()))
    client.write(upgradeRequest())
    await retried
    client.socket.resetAndDestroy()
    assert.equal((await running.nextRecord()).outcome, 'aborted')
    let attempts = 0
    running.proxy.on('attempt', () => attempts++)
    clock.advance(5_000)
    await rounds()
    assert.equal(attempts, 0)
  })

  test('before proxy.ws is called', async () => {
    await using backend = await rawBackend()
    await using running = await runInServer({ target: backend.url }, (proxy) =>
      http.createServer().on('upgrade', (req, socket, head) => {
        socket.on('error', () => {})
        socket.destroy()
        socket.once('close', () => proxy.ws(req, socket, head))
      }),
    )
    const client = rawClient(running.port)
    client.write(upgradeRequest())
    assert.equal((await running.nextRecord()).outcome, 'aborted')
    assert.equal(backend.connections, 0)
  })
})

test('errors on sockets at any moment crash nothing', async () => {
  await using backend = await rawBackend((upgrade) => upgrade.accept())
  await using running = await runProxy({ target: backend.url, retry: false })
  const request = upgradeRequest()
  const records = []
  for (let i = 0; i < 60; i++) {
    const client = net.connect(running.port, '127.0.0.1')
    client.on('error', () => {})
    await once(client, 'connect')
    client.write(`${request}some bytes`)
    if (i % 2 === 0) void backend.nextUpgrade().then(({ socket }) => reset(socket))
    await rounds(i % 12)
    client.resetAndDestroy()
    records.push(await Promise.race([running.nextRecord(), rounds(500)]))
  }
  await rounds(50)
  assert.equal(running.pending(), 0)
  assert.equal(running.proxy.stats().active, 0)
  assert.ok(records.some((record) => record?.outcome === 'aborted'))
  assert.ok(records.some((record) => record?.outcome === 'upgraded'))
})

describe('close()', () => {
  test('both ends of a WebSocket get 1001, and it resolves when they have closed', async () => {
    await using backend = await webSocketBackend()
    const running = await runProxy({ target: backend.url, drainTimeoutMs: 1_000_000 })
    const accepted = backend.nextSocket()
    const client = new WebSocket(running.url.replace('http', 'ws'))
    await once(client, 'open')
    const served = await accepted
    const codes = Promise.all([once(client, 'close'), once(served, 'close')])
    await running.proxy.close()
    const [[clientCode], [backendCode]] = await codes
    assert.equal(clientCode, 1001)
    assert.equal(backendCode, 1001)
    assert.equal((await running.nextRecord()).outcome, 'upgraded')
  })

  test('not in the middle of a frame, but right after it', async () => {
    await using tunnel = await openTunnel({ drainTimeoutMs: 1_000_000 }, 'websocket')
    const { running, client, upgrade } = tunnel
    const start = client.text.length
    client.socket.on('end', () => client.socket.end())
    // Half of a frame of four bytes, each way.
    client.write(Buffer.from([0x82, 0x84, 0, 0, 0, 0, 0x61, 0x62]))
    upgrade.socket.write(Buffer.from([0x82, 0x04, 0x61, 0x62]))
    await Promise.all([upgrade.until('ab'), client.until('ab')])
    const closed = running.proxy.close()
    await rounds()
    assert.equal(upgrade.received.length, 8)
    assert.equal(client.text.length - start, 4)
    client.write('cd')
    upgrade.socket.write('cd')
    const close = Buffer.from([0x03, 0xe9]).toString('latin1')
    await Promise.all([upgrade.until(close), client.until(close)])
    assert.deepEqual(
      [...Buffer.from(upgrade.received.slice(8), 'latin1')],
      [0x63, 0x64, 0x88, 0x82, 0, 0, 0, 0, 3, 0xe9],
    )
    assert.deepEqual([...Buffer.from(client.text.slice(start + 4), 'latin1')], [0x63, 0x64, 0x88, 2, 3, 0xe9])
    upgrade.socket.end()
    await closed
  })

  test('other protocols get no frame; what does not end is destroyed after the grace', async () => {
    await using tunnel = await openTunnel({ drainTimeoutMs: 1 })
    const { running, client, upgrade } = tunnel
    client.socket.on('end', () => client.socket.end())
    await running.proxy.close()
    await Promise.all([client.ended, upgrade.closed])
    assert.equal(upgrade.received, '')
    assert.match(client.text, /\r\n\r\n$/)
    assert.equal((await running.nextRecord()).outcome, 'upgraded')
  })

  test('an upgrade while closing: 503; one that is under way goes on and gets 1001', async () => {
    await using backend = await rawBackend()
    await using running = await runInServer({ target: backend.url, drainTimeoutMs: 1_000_000 }, (proxy) => {
      const server = http.createServer()
      proxy.attach(server)
      return server
    })
    const early = rawClient(running.port)
    early.write(upgradeRequest({ protocol: 'websocket' }))
    const upgrade = await backend.nextUpgrade()
    const closed = running.proxy.close()
    const late = rawClient(running.port)
    late.write(upgradeRequest({ protocol: 'websocket' }))
    assert.match(await late.until('ERR_PROXY_CLOSED'), /^HTTP\/1\.1 503 /)
    upgrade.accept('websocket')
    await early.until('\x88\x02\x03\xe9')
    early.socket.destroy()
    await closed
  })
})
