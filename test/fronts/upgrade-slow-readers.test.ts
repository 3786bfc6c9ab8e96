import assert from 'node:assert/strict'
import { channel } from 'node:diagnostics_channel'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, rounds, runInServer, runProxy } from '../support/running-proxy.ts'
import { SlowStream } from '../support/slow-stream.ts'
import { rawBackend, switching, upgradeRequest } from '../support/upgrade-backends.ts'

const FRAME = Buffer.concat([Buffer.from([0x82, 126, 0x10, 0]), Buffer.alloc(4_096, 'a')])
const CLOSE = Buffer.from([0x88, 2, 0x03, 0xe8])

/** Hears of the sockets that servers accept. */
function watchSockets(t: TestContext): Socket[] {
  const sockets: Socket[] = []
  const listener = (message: unknown): void => void sockets.push((message as { socket: Socket }).socket)
  channel('net.server.socket').subscribe(listener)
  t.after(() => channel('net.server.socket').unsubscribe(listener))
  return sockets
}

/** Lets the loop turn until it is so. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await rounds(1)
}

for (const { name, run } of FRONTS) {
  describe(`${name}: one side has ended, and the other has not read all of it`, () => {
    for (const [what, protocol] of [
      ['a WebSocket', 'websocket'],
      ['another protocol', 'foo'],
    ] as const) {
      test(`${what}: a client that reads late gets every byte of what the backend had sent`, async (t) => {
        const accepted = watchSockets(t)
        const clock = manualClock()
        await using backend = await rawBackend((upgrade) => upgrade.accept(protocol))
        await using running = await run({ target: backend.url, clock })
        const client = rawClient(running.port)
        client.write(upgradeRequest({ protocol }))
        const head = await client.until('\r\n\r\n')
        client.socket.pause()
        const toClient = accepted.find((socket) => socket.localPort === running.port) as Socket
        const { socket } = await backend.nextUpgrade()
        let sent = 0
        for (; toClient.writableLength === 0; sent += FRAME.length) {
          socket.write(FRAME)
          await rounds(4)
        }
        socket.end(CLOSE)
        await until(() => toClient.writableEnded)
        assert.ok(toClient.writableLength > 0)
        clock.advance(30_000)
        await rounds(50)
        assert.equal(running.pending(), 1)
        client.socket.on('end', () => client.socket.end())
        client.socket.resume()
        assert.equal(await client.ended, 'end')
        assert.equal(client.text.length, head.length + sent + CLOSE.length)
        assert.ok(client.text.endsWith(CLOSE.toString('latin1')))
        const record = await running.nextRecord()
        assert.equal(record.outcome, 'upgraded')
        assert.equal(record.responseBytes, sent + CLOSE.length)
      })

      test(`${what}: a client that reads no more is cut off after the idle limit, and that is no success`, async (t) => {
        const accepted = watchSockets(t)
        const clock = manualClock()
        await using backend = await rawBackend((upgrade) => upgrade.accept(protocol))
        await using running = await run({ target: backend.url, clock })
        const client = rawClient(running.port)
        client.write(upgradeRequest({ protocol }))
        await client.until('\r\n\r\n')
        client.socket.pause()
        const toClient = accepted.find((socket) => socket.localPort === running.port) as Socket
        const { socket } = await backend.nextUpgrade()
        while (toClient.writableLength === 0) {
          socket.write(FRAME)
          await rounds(4)
        }
        socket.end(CLOSE)
        await until(() => toClient.writableEnded)
        clock.advance(50_000)
        // What it sends meanwhile does not help it.
        client.write('ping')
        await rounds(20)
        assert.equal(running.pending(), 1)
        clock.advance(11_000)
        const record = await running.nextRecord()
        assert.equal(record.outcome, 'truncated')
        assert.equal(record.errorCode, 'ERR_PROXY_CLIENT_TIMEOUT')
        assert.equal(running.pending(), 0)
        await backend.untilOpen(0)
        client.socket.destroy()
      })
    }
  })
}

test('whoever takes some within the idle limit is not cut off, however long all of it takes', async () => {
  const clock = manualClock()
  const stream = new SlowStream()
  await using backend = await rawBackend((upgrade) => upgrade.accept('websocket'))
  await using running = await runInServer({ target: backend.url, clock }, (proxy) =>
    http.createServer().on('upgrade', (req, _socket, head) => proxy.ws(req, stream, head)),
  )
  const client = rawClient(running.port)
  client.write(upgradeRequest({ protocol: 'websocket' }))
  const { socket } = await backend.nextUpgrade()
  await until(() => stream.taken.includes('\r\n\r\n'))
  stream.isFast = false
  for (let i = 0; i < 5; i++) {
    socket.write(Buffer.from([0x81, 1, 0x30 + i]))
    await until(() => stream.writableLength === 3 * (i + 1))
  }
  socket.end(CLOSE)
  await until(() => stream.writableEnded)
  for (let i = 0; i < 6; i++) {
    clock.advance(50_000)
    await rounds(5)
    assert.equal(running.pending(), 1)
    stream.takeOne()
    await rounds(5)
  }
  assert.ok(stream.taken.endsWith(CLOSE.toString('latin1')))
  // It has all: what is left is to go.
  clock.advance(2_100)
  const record = await running.nextRecord()
  assert.equal(record.outcome, 'upgraded')
  assert.equal(record.errorCode, null)
  client.socket.destroy()
})

test('a backend that reads no more is cut off after the idle limit, and is to blame', async (t) => {
  const clock = manualClock()
  const stream = Object.assign(new SlowStream(), { setNoDelay: () => stream })
  const { connect } = net
  t.mock.method(net as unknown as { connect(where: object): Duplex }, 'connect', (where: { host?: string }) => {
    if (where.host !== 'backend.test') return connect(where as net.NetConnectOpts)
    process.nextTick(() => stream.emit('connect'))
    return stream
  })
  await using running = await runProxy({ target: 'http://backend.test', clock })
  const client = rawClient(running.port)
  client.socket.allowHalfOpen = true
  client.write(upgradeRequest())
  await until(() => stream.taken.includes('\r\n\r\n'))
  stream.push(switching('foo'))
  await client.until('\r\n\r\n')
  stream.isFast = false
  client.socket.end('the last words')
  await until(() => stream.writableEnded)
  clock.advance(59_000)
  await rounds()
  assert.equal(running.pending(), 1)
  clock.advance(2_000)
  const record = await running.nextRecord()
  assert.equal(record.outcome, 'truncated')
  assert.equal(record.errorCode, 'ERR_PROXY_UPGRADE_IDLE_TIMEOUT')
  assert.equal(record.backend, 'http://backend.test')
  assert.ok(stream.destroyed)
})
