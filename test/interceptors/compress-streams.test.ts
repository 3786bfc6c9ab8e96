import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import zlib from 'node:zlib'
import { type CompressOptions, compress, responseBody } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { interceptor, NO_FLOW, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, rounds } from '../support/running-proxy.ts'
import { decoderStream, encode, get, HAS_ZSTD, upperCase } from './codings.ts'

const ENCODINGS = HAS_ZSTD ? (['zstd', 'br', 'gzip'] as const) : (['br', 'gzip'] as const)
const NDJSON = { 'Content-Type': 'application/x-ndjson' }
const EVENTS = { 'Content-Type': 'text/event-stream' }

const compressed = (backend: { readonly url: string }, options?: CompressOptions) =>
  through(backend, [compress(options)])

/** What a client has received and decoded so far. */
interface Reading {
  readonly coding: string | undefined
  /** Resolves once the decoded text ends so. */
  until(end: string): Promise<void>
}

async function read(url: string, accepted: string): Promise<Reading & AsyncDisposable> {
  const request = http.get(url, { agent: false, headers: { 'accept-encoding': accepted } })
  const response = await new Promise<http.IncomingMessage>((resolve) => request.on('response', resolve))
  const coding = response.headers['content-encoding']
  const source = coding === undefined ? response : response.pipe(decoderStream(coding))
  let text = ''
  let check = (): void => {}
  source
    .on('error', () => {})
    .on('data', (chunk) => {
      text += chunk
      check()
    })
  return {
    coding,
    until: (end) =>
      new Promise((resolve) => {
        check = () => text.endsWith(end) && resolve()
        check()
      }),
    async [Symbol.asyncDispose]() {
      request.destroy()
    },
  }
}

for (const { name, run } of ALL_FRONTS) {
  for (const coding of ENCODINGS) {
    for (const [what, headers, options] of [
      ['a slow NDJSON stream', NDJSON, undefined],
      ['an event stream, if asked for,', EVENTS, { types: ['text/*', 'text/event-stream'] }],
      ['a small body with a length', { ...NDJSON, 'Content-Length': '2700' }, undefined],
      ['a large body with a length', { ...NDJSON, 'Content-Length': '2000000' }, undefined],
    ] as const) {
      test(`${name}: each piece of ${what} reaches the client at once, in ${coding}`, async () => {
        const pieces = Array.from({ length: 30 }, (_, i) => `{"number":${i}}\n`.padStart(90, ' '))
        const next: { open(): void; readonly promise: Promise<void> }[] = pieces.map(() => gate())
        await using backend = await mockBackend(async (_request, reply) => {
          reply.head({ headers })
          for (const [i, piece] of pieces.entries()) {
            await next[i]?.promise
            reply.chunk(piece)
          }
        })
        await using front = await run(compressed(backend, options as CompressOptions | undefined))
        if (!('Content-Length' in headers)) {
          // The head comes before anything else.
          await using _reading = await read(front.url, coding)
        }
        next[0]?.open()
        await using reading = await read(front.url, coding)
        assert.equal(reading.coding, coding)
        for (const [i, piece] of pieces.entries()) {
          next[i]?.open()
          await reading.until(piece)
        }
      })
    }

    test(`${name}: a truncated body is not a complete one in ${coding}`, async () => {
      await using backend = await mockBackend(async (request, reply) => {
        const length = request.path === '/chunked' ? {} : { 'Content-Length': '200000' }
        reply.head({ headers: { ...NDJSON, ...length } })
        reply.chunk(randomBytes(50_000).toString('hex'))
        if (request.path !== '/reset') await rounds()
        reply.abort()
      })
      await using front = await run(compressed(backend))
      for (const path of ['/', '/chunked', '/reset']) {
        const { text } = await converse(
          front.port,
          `GET ${path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: ${coding}\r\nConnection: close\r\n\r\n`,
        )
        assert.ok(!text.includes('\r\n0\r\n') || text.startsWith('HTTP/1.1 502 '), text.slice(0, 100))
        assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_TRUNCATED')
      }
      assert.equal(front.pending(), 0)
    })
  }

  test(`${name}: a slow client holds back the backend behind an encoder`, async () => {
    const coding = ENCODINGS[0]
    const bytes = 48 * MIB
    // It does not compress.
    const piece = randomBytes(MIB / 4)
    let sent = 0
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: NDJSON })
      while (sent < bytes && !reply.isClosed) {
        sent += piece.length
        if (!reply.chunk(piece)) await reply.drained()
      }
      reply.end()
    })
    await using front = await run(compressed(backend))
    const client = rawClient(front.port)
    client.socket.removeAllListeners('data').pause()
    client.write(`GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: ${coding}\r\n\r\n`)
    for (let last = -1, same = 0; same < 40; last = sent) {
      await rounds(50)
      same = sent === last && sent > 0 ? same + 1 : 0
    }
    assert.ok(sent < 24 * MIB, `${sent} bytes were taken from the backend`)
    const chunks: Buffer[] = []
    client.socket.on('data', (chunk) => chunks.push(chunk)).resume()
    await client.ended
    const all = Buffer.concat(chunks)
    const decoded: Buffer[] = []
    const decoder = decoderStream(coding).end(all.subarray(all.indexOf('\r\n\r\n') + 4))
    for await (const chunk of decoder) decoded.push(chunk as Buffer)
    const whole = Buffer.concat(Array<Buffer>(bytes / piece.length).fill(piece))
    assert.equal(sha256(Buffer.concat(decoded)), sha256(whole))
    assert.equal((await front.nextRecord()).outcome, 'answered')
  })

  test(`${name}: a small body that comes in pieces in one turn is compressed as one`, async (t) => {
    const streams = t.mock.method(zlib, 'createGzip')
    await using backend = await mockBackend({ headers: NDJSON, chunks: ['{"a":1}\n'.repeat(200), '{"b":2}\n'] })
    await using front = await run(compressed(backend))
    const { headers } = await get(front.url, { 'accept-encoding': 'gzip' })
    assert.ok(Number(headers['content-length']) < 100)
    await rounds()
    assert.equal(streams.mock.callCount(), 0)
  })

  test(`${name}: a small body that the backend truncates is a clean 502`, async () => {
    await using backend = await mockBackend((_request, reply) => {
      reply.head({ headers: { ...NDJSON, 'Content-Length': '2000' } })
      reply.abort()
    })
    await using front = await run(compressed(backend))
    assert.equal((await get(front.url, { 'accept-encoding': 'gzip' })).status, 502)
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.errorCode], ['failed', 'ERR_PROXY_TRUNCATED'])
  })

  test(`${name}: a stream that another interceptor has changed is flushed, too`, async () => {
    const next = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: { ...NDJSON, 'Content-Encoding': 'gzip' } })
      reply.chunk(encode('gzip', 'first'))
      await next.promise
      reply.chunk(encode('gzip', 'other'))
    })
    await using front = await run(through(backend, [compress(), responseBody({ transform: upperCase })]))
    await using reading = await read(front.url, 'br')
    assert.equal(reading.coding, 'br')
    await reading.until('FIRST')
    next.open()
    await reading.until('OTHER')
  })

  for (const length of [10, 20_000]) {
    test(`${name}: ${length} bytes of another interceptor are flushed, even if it does not say so`, async () => {
      const next = gate()
      await using backend = await mockBackend()
      const talker = interceptor(async (_next, _exchange, _request, _body, sink) => {
        sink.onHead({ status: 200, reason: '', headers: ['Content-Type', 'text/plain'], bodyBytes: -1 }, NO_FLOW)
        await turn()
        sink.onData(Buffer.alloc(length, 'a'))
        await next.promise
        sink.onData(Buffer.from('other'))
      })
      await using front = await run(through(backend, [compress(), talker]))
      await using reading = await read(front.url, 'gzip')
      await reading.until('a'.repeat(length))
      next.open()
      await reading.until('other')
    })
  }

  test(`${name}: an encoder that cannot be made is a clean 500`, async (t) => {
    t.mock.method(zlib, 'createGzip', () => {
      throw new Error('by design')
    })
    const done = gate()
    await using backend = await mockBackend(async (request, reply) => {
      const length = request.path === '/large' ? { 'Content-Length': '20000' } : {}
      reply.head({ headers: { ...NDJSON, ...length } })
      reply.chunk('a'.repeat(10))
      await done.promise
      reply.end()
    })
    await using front = await run(compressed(backend))
    for (const path of ['/', '/large']) {
      assert.equal((await get(front.url + path, { 'accept-encoding': 'gzip' })).status, 500)
      assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
    }
    done.open()
  })

  test(`${name}: a client that goes in the middle ends the backend's response`, async () => {
    const closed = gate()
    await using backend = await mockBackend((_request, reply) => {
      reply.head({ headers: NDJSON })
      reply.chunk(randomBytes(100_000))
      reply.closed.then(() => closed.open())
    })
    await using front = await run(compressed(backend))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n')
    await client.until('\r\n\r\n')
    client.socket.resetAndDestroy()
    await closed.promise
    assert.equal((await front.nextRecord()).outcome, 'aborted')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: limits.minReadBytesPerSecond holds through an encoder`, async () => {
    const clock = manualClock()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: NDJSON })
      while (!reply.isClosed) if (!reply.chunk(randomBytes(MIB))) await reply.drained()
    })
    const limits = { minReadBytesPerSecond: 1_000_000_000 }
    await using front = await run(
      through(backend, [compress({ levels: { gzip: 1 } })], { clock, limits, timeouts: { idle: 0 } }),
    )
    const client = rawClient(front.port)
    client.socket.removeAllListeners('data').pause()
    client.write('GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n')
    while (front.errors.length === 0) {
      await rounds()
      clock.advance(5000)
    }
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_TIMEOUT')
    client.socket.destroy()
  })
}
