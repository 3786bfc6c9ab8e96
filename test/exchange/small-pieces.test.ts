import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { BodySink } from '../../src/contracts/pool.ts'
import { type BodyWatcher, ReplayableBody } from '../../src/exchange/replayable-body.ts'
import { ChunkedDecoder } from '../../src/http1/chunked.ts'
import { firstAvailable } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { randomBytes } from '../support/bytes.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, rounds } from '../support/running-proxy.ts'

function inChunksOf(size: number, body: Buffer): Buffer {
  const parts: (string | Buffer)[] = []
  for (let i = 0; i < body.length; i += size) {
    const piece = body.subarray(i, i + size)
    parts.push(`${piece.length.toString(16)}\r\n`, piece, '\r\n')
  }
  return Buffer.concat([...parts, '0\r\n\r\n'].map((part) => Buffer.from(part)))
}

test('chunks of one byte that are read at once are one piece', () => {
  const body = randomBytes(5000)
  const pieces: Buffer[] = []
  const wire = inChunksOf(1, body)
  const decoder = new ChunkedDecoder()
  assert.equal(
    decoder.execute(wire, 0, wire.length, (piece) => pieces.push(piece)),
    wire.length,
  )
  assert.equal(decoder.isDone, true)
  assert.equal(pieces.length, 1)
  assert.deepEqual(pieces[0], body)
})

test('chunks of any size in reads of any size give the body, and no piece is written over', () => {
  const random = seededRandom(6)
  for (let round = 0; round < 300; round++) {
    const body = randomBytes(Math.floor(random() * 30_000))
    const parts: Buffer[] = []
    for (let i = 0; i < body.length; ) {
      const size = 1 + Math.floor(random() ** 4 * 5000)
      parts.push(inChunksOf(size, body.subarray(i, i + size)).subarray(0, -5))
      i += size
    }
    const wire = Buffer.concat([...parts, Buffer.from('0\r\n\r\n')])
    const decoder = new ChunkedDecoder()
    const pieces: Buffer[] = []
    for (let i = 0; i < wire.length; ) {
      const read = Buffer.from(wire.subarray(i, i + 1 + Math.floor(random() ** 3 * 20_000)))
      assert.equal(
        decoder.execute(read, 0, read.length, (piece) => pieces.push(piece)),
        read.length,
      )
      i += read.length
    }
    assert.equal(decoder.isDone, true)
    assert.deepEqual(Buffer.concat(pieces), body)
  }
})

test('what is kept of a body that comes byte by byte is a few blocks', () => {
  let deliver: BodySink | null = null
  const source = {
    bytes: -1,
    expectsContinue: false,
    isDecoded: false,
    start: (sink: BodySink) => {
      deliver = sink
    },
    pause() {},
    resume() {},
    abandon() {},
  }
  const watcher: BodyWatcher = {
    scope: null,
    onBodyProgress() {},
    onBodyComplete() {},
    onBodyAwaited() {},
    onBodyHeld() {},
    onBodyFailed() {},
    onBodyThrew() {},
  }
  const body = new ReplayableBody(source, 65_536, watcher, [])
  const taken: Buffer[][] = [[], [], []]
  const sinkOf = (index: number): BodySink => ({
    onBody: (chunk) => taken[index]?.push(chunk) !== undefined,
    onBodyEnd() {},
  })
  const bytes = randomBytes(20_000)
  body.start(sinkOf(0))
  const feed = (from: number, to: number, size: number): void => {
    for (let i = from; i < to; i += size) deliver?.onBody(bytes.subarray(i, Math.min(i + size, to)))
  }
  feed(0, 5000, 1)
  // A second attempt takes what is there, and what comes afterwards belongs to a third one, too.
  body.stop()
  body.start(sinkOf(1))
  feed(5000, 9000, 1)
  feed(9000, 13_000, 2000)
  feed(13_000, 20_000, 3)
  body.stop()
  body.start(sinkOf(2))
  assert.deepEqual(Buffer.concat(taken[1] as Buffer[]), bytes)
  assert.deepEqual(Buffer.concat(taken[2] as Buffer[]), bytes)
  assert.ok((taken[2]?.length ?? 0) < 12, `${taken[2]?.length} pieces`)
})

for (const { name, run } of ALL_FRONTS) {
  describe(name, () => {
    for (const size of [1, 7, 700]) {
      test(`a body in chunks of ${size} goes on in large ones, byte by byte the same`, async () => {
        await using backend = await mockBackend()
        await using front = await run({ target: backend.url })
        const body = randomBytes(30_000)
        const client = rawClient(front.port)
        client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
        client.write(inChunksOf(size, body))
        const request = await backend.nextRequest()
        assert.deepEqual(request.bodyBytes, body)
        assert.ok(request.wireBytes.length < 1.1 * body.length, `${request.wireBytes.length} bytes on the wire`)
        client.socket.destroy()
      })
    }

    test('a piece that comes alone goes on alone, without waiting for more', async () => {
      await using backend = await mockBackend()
      await using front = await run({ target: backend.url })
      const client = rawClient(front.port)
      client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
      const request = await backend.nextRequestHead()
      for (let i = 1; i <= 20; i++) {
        client.write('1\r\na\r\n')
        while (request.bodyBytes.length < i) await rounds(1)
      }
      client.write('0\r\n\r\n')
      assert.equal((await request.body()).length, 20)
      client.socket.destroy()
    })

    test('a body of small and large pieces for a backend that stops to read, and is repeated, stays the same', async () => {
      const goOn = gate()
      await using bad = await mockBackend(async (request, reply) => {
        request.pause()
        await goOn.promise
        reply.reset()
      })
      await using good = await mockBackend()
      await using front = await run({ backends: [bad.url, good.url], balancer: firstAvailable(), healthCheck: false })
      const body = randomBytes(60_000)
      const client = rawClient(front.port)
      client.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
      await bad.nextRequestHead()
      for (const [from, to, size] of [
        [0, 1000, 1],
        [1000, 20_000, 19_000],
        [20_000, 24_000, 3],
        [24_000, 59_000, 1500],
      ] as const) {
        client.write(inChunksOf(size, body.subarray(from, to)).subarray(0, -5))
        await rounds(3)
      }
      goOn.open()
      await good.nextRequestHead()
      client.write(inChunksOf(1, body.subarray(59_000)))
      assert.deepEqual((await good.nextRequest()).bodyBytes, body)
      client.socket.destroy()
    })
  })
}
