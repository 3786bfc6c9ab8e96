import assert from 'node:assert/strict'
import http from 'node:http'
import { describe, test } from 'node:test'
import { MIB } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { FRONTS, rounds, runInServer } from '../support/running-proxy.ts'
import { SlowStream } from '../support/slow-stream.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

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

test('a client of an upgrade that is refused gets a last piece that fills no buffer', async () => {
  const stream = new SlowStream()
  await using backend = await rawBackend(({ socket }) =>
    socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 100000\r\n\r\n'),
  )
  await using running = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer().on('upgrade', (req, _socket, head) => proxy.ws(req, stream, head)),
  )
  const client = rawClient(running.port)
  client.write(upgradeRequest())
  const { socket } = await backend.nextUpgrade()
  await until(() => stream.taken.includes('\r\n\r\n'))
  stream.isFast = false
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
  client.socket.destroy()
})
