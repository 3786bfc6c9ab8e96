import assert from 'node:assert/strict'
import http from 'node:http'
import { describe, test } from 'node:test'
import { MIB } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, type RunningProxy, rounds, runInServer } from '../support/running-proxy.ts'
import { SlowStream } from '../support/slow-stream.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

const figures = ({ proxy }: RunningProxy) => proxy.stats().groups[0]?.pool.backends[0]

/** Lets the loop turn until it is so. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await rounds(1)
}

for (const { name, run } of FRONTS) {
  describe(`${name}: a response to an upgrade that is not a switch`, () => {
    test('comes whole, however slowly the client reads it, and little of it is held', async () => {
      const length = 24 * MIB
      await using backend = await rawBackend(({ socket }) => {
        socket.write(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${length}\r\n\r\n`)
        // Pieces of many sizes: the last ones fill no buffer.
        for (let sent = 0, size = 1; sent < length; size = (size * 7) % 90_001) {
          const piece = Math.min(size + 1, length - sent)
          socket.write(Buffer.alloc(piece, 'a'))
          sent += piece
        }
      })
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      await client.until('\r\n\r\n')
      client.socket.pause()
      const { socket } = await backend.nextUpgrade()
      for (let before = -1; before !== socket.bytesWritten; await rounds(200)) before = socket.bytesWritten
      assert.ok(socket.writableLength > MIB, 'the backend is held back')
      let got = 0
      client.socket.removeAllListeners('data').on('data', (bytes: Buffer) => {
        got += bytes.length
        client.socket.pause()
        setImmediate(() => client.socket.resume())
      })
      client.socket.resume()
      assert.equal(await client.ended, 'end')
      assert.ok(got + client.text.length >= length)
      const record = await running.nextRecord()
      assert.deepEqual([record.status, record.outcome, record.responseBytes], [403, 'answered', length])
    })

    test('comes whole if bytes follow it that nobody has asked for', async () => {
      await using backend = await rawBackend(({ socket }) =>
        socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno, and more'),
      )
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      assert.equal(await client.ended, 'end')
      assert.ok(client.text.endsWith('\r\n\r\nno'))
      const record = await running.nextRecord()
      assert.deepEqual([record.outcome, record.responseBytes], ['answered', 2])
      assert.equal(figures(running)?.connections, 0)
    })

    test('comes as far as it goes if a chunk of it is malformed, and is seen to be truncated', async () => {
      await using backend = await rawBackend(({ socket }) =>
        socket.write('HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\nzz\r\n'),
      )
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      await client.ended
      assert.ok(!client.text.endsWith('0\r\n\r\n'))
      const record = await running.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_TRUNCATED'])
      assert.match(running.errors[0]?.message ?? '', /HPE_INVALID_CHUNK_SIZE/)
      assert.equal(figures(running)?.connections, 0)
    })

    test('comes with its trailers', async () => {
      await using backend = await rawBackend(({ socket }) =>
        socket.write(
          'HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nno\r\n0\r\nX-Sum: 7\r\n\r\n',
        ),
      )
      await using running = await run({ target: backend.url })
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      assert.equal(await client.ended, 'end')
      assert.match(client.text, /\r\nTrailer: X-Sum\r\n[\s\S]*\r\n\r\n2\r\nno\r\n0\r\nX-Sum: 7\r\n\r\n$/)
    })
  })
}

/** An upgrade whose client has the head of a refusal with 100,000 bytes, and from now on reads slowly. `socket` is the backend's. */
async function refusedSlowly(stream: SlowStream, headers: string) {
  const backend = await rawBackend(({ socket }) =>
    socket.write(`HTTP/1.1 403 Forbidden\r\n${headers}Content-Length: 100000\r\n\r\n`),
  )
  const running = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer().on('upgrade', (req, _socket, head) => proxy.ws(req, stream, head)),
  )
  const client = rawClient(running.port)
  client.write(upgradeRequest())
  const { socket } = await backend.nextUpgrade()
  await until(() => stream.taken.includes('\r\n\r\n'))
  stream.isFast = false
  return {
    running,
    socket,
    async [Symbol.asyncDispose]() {
      client.socket.destroy()
      await running[Symbol.asyncDispose]()
      await backend[Symbol.asyncDispose]()
    },
  }
}

test('a client of an upgrade that is refused gets a last piece that fills no buffer', async () => {
  const stream = new SlowStream()
  await using refused = await refusedSlowly(stream, '')
  const { running, socket } = refused
  socket.write(Buffer.alloc(99_998, 'a'))
  await until(() => stream.writableNeedDrain)
  stream.isFast = true
  for (let i = 0; i < 10; i++) {
    stream.takeOne()
    await rounds(5)
  }
  socket.write('bc')
  await until(() => stream.taken.endsWith('bc'))
  assert.equal((await running.nextRecord()).outcome, 'answered')
})

test('a response that came whole reaches a slow client, though the backend has reset the connection since', async () => {
  const stream = new SlowStream()
  await using refused = await refusedSlowly(stream, 'Connection: close\r\n')
  const { running, socket } = refused
  socket.write(Buffer.alloc(90_000, 'a'))
  await until(() => stream.writableNeedDrain)
  socket.write(Buffer.alloc(10_000, 'b'))
  await rounds(50)
  socket.resetAndDestroy()
  await rounds(50)
  stream.isFast = true
  while (running.proxy.stats().active > 0) {
    stream.takeOne()
    await rounds(1)
  }
  const record = await running.nextRecord()
  assert.deepEqual([record.outcome, record.responseBytes], ['answered', 100_000])
  assert.ok(stream.taken.endsWith('a'.repeat(10) + 'b'.repeat(10_000)))
})
