import assert from 'node:assert/strict'
import net from 'node:net'
import { describe, test } from 'node:test'
import { answerAfter, type MockHandler, mockBackend } from '../../src/testing/index.ts'
import { MIB } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, inHttp2, rounds } from '../support/running-proxy.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'
import { untilTrue } from './footprint.ts'

const WHOLE_BYTES = 200 * MIB
/** Of the sockets between all three, and ours. */
const BUFFERED_BYTES = 32 * MIB
const PIECE = Buffer.alloc(65_536)

/** Resolves when nothing moves any more. @returns the bytes that have been moved. */
async function untilStill(moved: () => number): Promise<number> {
  let before = -1
  while (moved() !== before || before === 0) {
    before = moved()
    await rounds(100)
  }
  return before
}

/** Sends `PIECE`s for as long as `write` takes them, and goes on when it can. */
function pour(socket: net.Socket): () => number {
  let written = 0
  const more = (): void => {
    while (written < WHOLE_BYTES && socket.writable) {
      written += PIECE.length
      if (!socket.write(PIECE)) return
    }
  }
  socket.on('drain', more)
  more()
  // What node itself keeps has not been moved.
  return () => written - socket.writableLength
}

for (const { name, run } of ALL_FRONTS) {
  describe(name, () => {
    test('1,000 idle connections and 500 slow clients do not stop a fast one', async () => {
      const large = Buffer.alloc(8 * MIB)
      await using backend = await mockBackend(async (request, reply) => {
        await request.body()
        reply.send({ body: request.path === '/large' ? large : 'fast' })
      })
      await using front = await run({ target: backend.url, pool: { maxConnections: 400 }, drainTimeoutMs: 0 })
      const clients: net.Socket[] = []
      const connect = (text: string): void => {
        const socket = net.connect(front.port, '127.0.0.1')
        socket.on('error', () => {})
        // They read nothing of an answer.
        socket.write(text)
        clients.push(socket)
      }
      for (let i = 0; i < 1000; i++) connect('')
      for (let i = 0; i < 200; i++) connect('GET / HTTP/1.1\r\nHost: a\r\nX-Slow: y')
      for (let i = 0; i < 290; i++) connect('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nslow')
      for (let i = 0; i < 10; i++) connect('GET /large HTTP/1.1\r\nHost: a\r\n\r\n')
      await untilTrue(() => front.proxy.stats().active === 300 && backend.requests.length === 300)
      for (let i = 0; i < 20; i++) {
        const response = await fetch(front.url, i % 2 === 0 ? {} : { method: 'POST', body: 'small' })
        assert.equal(await response.text(), 'fast')
      }
      assert.equal(front.proxy.stats().active, 300)
      for (const client of clients) client.destroy()
      await untilTrue(() => front.proxy.stats().active === 0 && front.pending() === 0)
    })

    test('past the limits the answer is 503 with Retry-After at once, and those within them are served', async () => {
      const goOn = gate()
      await using backend = await mockBackend(answerAfter(goOn.promise, { body: 'served' }))
      await using front = await run({ target: backend.url, pool: { maxConnections: 4, maxWaiting: 8 } })
      const statuses: number[] = []
      const all = Array.from({ length: 100 }, async () => {
        const response = await fetch(front.url)
        await response.text()
        statuses.push(response.status)
        if (response.status === 503) assert.equal(response.headers.get('retry-after'), '1')
      })
      await untilTrue(() => statuses.length === 88)
      const figures = front.proxy.stats().groups[0]?.pool.backends[0]
      assert.deepEqual([figures?.connections, figures?.waiting], [4, 8])
      goOn.open()
      await Promise.all(all)
      assert.deepEqual(
        [statuses.filter((status) => status === 503).length, statuses.filter((status) => status === 200).length],
        [88, 12],
      )
      assert.equal(front.pending(), 0)
    })

    const streams: readonly [string, MockHandler][] = [
      ['in chunks', (_request, reply) => reply.head()],
      ['of known length', (_request, reply) => reply.head({ headers: ['Content-Length', String(WHOLE_BYTES)] })],
    ]

    for (const [what, begin] of streams) {
      test(`200 MiB ${what} that a client does not read stay at the backend`, async () => {
        let written = 0
        await using backend = await mockBackend(async (request, reply) => {
          await begin(request, reply)
          for (; written < WHOLE_BYTES && !reply.isClosed; written += PIECE.length) {
            if (!reply.chunk(PIECE)) await reply.drained()
          }
        })
        await using front = await run({ target: backend.url })
        const client = net.connect(front.port, '127.0.0.1')
        client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
        const moved = await untilStill(() => written)
        assert.ok(moved < BUFFERED_BYTES, `${moved} bytes were taken`)
        client.destroy()
        const record = await front.nextRecord()
        assert.equal(record.outcome, 'aborted')
        await backend.untilOpenConnections(0)
      })
    }

    for (const [what, framing, piece] of [
      ['in chunks', 'Transfer-Encoding: chunked', 'chunked'],
      ['of known length', `Content-Length: ${WHOLE_BYTES}`, 'plain'],
    ] as const) {
      test(`200 MiB ${what} that a backend does not read stay at the client`, async () => {
        await using backend = await mockBackend((request) => request.pause())
        await using front = await run({ target: backend.url })
        const { requests } = backend
        const client = net.connect(front.port, '127.0.0.1')
        client.on('error', () => {})
        client.write(`POST / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`)
        if (piece === 'chunked') client.write(`${WHOLE_BYTES.toString(16)}\r\n`)
        const moved = await untilStill(pour(client))
        assert.ok(moved < BUFFERED_BYTES, `${moved} bytes were taken`)
        client.destroy()
        // That it has gone is read behind all that it has sent.
        requests[0]?.resume()
        const record = await front.nextRecord()
        assert.equal(record.outcome, 'aborted')
        assert.ok(record.requestBytes > 0)
        assert.equal(front.pending(), 0)
      })
    }

    test('200 MiB through a tunnel whose other end does not read stay where they are, in both directions', {
      skip: inHttp2(name, 'there is no upgrade in HTTP/2'),
    }, async () => {
      await using backend = await rawBackend((upgrade) => upgrade.accept())
      await using front = await run({ target: backend.url })
      const client = rawClient(front.port)
      client.write(upgradeRequest())
      await client.until('\r\n\r\n')
      const { socket } = await backend.nextUpgrade()
      client.socket.pause()
      socket.pause()
      const [up, down] = [pour(client.socket), pour(socket)]
      await untilStill(() => up() + down())
      assert.ok(up() > 0 && up() < BUFFERED_BYTES, `${up()} bytes were taken from the client`)
      assert.ok(down() > 0 && down() < BUFFERED_BYTES, `${down()} bytes were taken from the backend`)
      client.socket.destroy()
      socket.destroy()
      assert.equal((await front.nextRecord()).outcome, 'upgraded')
    })
  })
}
