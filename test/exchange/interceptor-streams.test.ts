import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createGunzip, createGzip, type Gzip } from 'node:zlib'
import { WebSocket } from 'ws'
import { headerView, respond, wrapSink } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { type Handle, through } from '../support/interceptors.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, rounds } from '../support/running-proxy.ts'

const BODY_BYTES = 64 * MIB
/** What sockets on the way may hold, and streams: far less than the body. */
const HELD_BYTES = 24 * MIB

/** Inverts each byte. */
const invert: Handle = (next, exchange, request, body, sink) => {
  const onData = (chunk: Buffer): boolean => {
    for (let i = 0; i < chunk.length; i++) chunk[i] = 255 - (chunk[i] as number)
    return sink.onData(chunk)
  }
  next(exchange, request, body, wrapSink(sink, { onData }))
}

/** Compresses through a stream of its own. */
const gzip: Handle = (next, exchange, request, body, sink) => {
  let stream: Gzip
  const zipped = wrapSink(sink, {
    onHead(head, flow) {
      headerView(head.headers).set('Content-Encoding', 'gzip')
      stream = createGzip({ level: 0 })
      stream.on('data', (chunk: Buffer) => sink.onData(chunk) || stream.pause())
      stream.on('drain', () => flow.resume()).on('end', () => sink.onEnd(null))
      sink.onHead({ ...head, bodyBytes: -1 }, { resume: () => void stream.resume(), retain() {} })
    },
    onData: (chunk) => stream.write(chunk),
    onFlush() {},
    onEnd: () => void stream.end(),
  })
  next(exchange, request, body, zipped)
}

for (const { name, run } of ALL_FRONTS) {
  for (const [kind, handle] of [
    ['a synchronous rewrite', invert],
    ['a rewrite through a stream', gzip],
  ] as const) {
    test(`${name}: a slow client holds back the backend behind ${kind}`, async () => {
      // It does not compress.
      const piece = randomBytes(MIB / 4)
      let sent = 0
      await using backend = await mockBackend(async (_request, reply) => {
        reply.head({ headers: { 'Content-Length': `${BODY_BYTES}` } })
        while (sent < BODY_BYTES && !reply.isClosed) {
          sent += piece.length
          if (!reply.chunk(piece)) await reply.drained()
        }
        reply.end()
      })
      await using front = await run(through(backend, handle))
      const client = rawClient(front.port)
      client.socket.removeAllListeners('data').pause()
      client.write('GET / HTTP/1.0\r\nHost: a\r\n\r\n')
      for (let last = -1, same = 0; same < 20; last = sent) {
        await rounds(50)
        same = sent === last && sent > 0 ? same + 1 : 0
      }
      assert.ok(sent < HELD_BYTES, `${sent} bytes were taken from the backend`)
      assert.equal(front.pending(), 1)
      const chunks: Buffer[] = []
      client.socket.on('data', (chunk) => chunks.push(chunk)).resume()
      await client.ended
      const bytes = Buffer.concat(chunks)
      const body = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)
      const whole = Buffer.concat(Array<Buffer>(BODY_BYTES / piece.length).fill(piece))
      if (handle === gzip) {
        const unzip = createGunzip().end(body)
        const unzipped: Buffer[] = []
        for await (const chunk of unzip) unzipped.push(chunk as Buffer)
        assert.equal(sha256(Buffer.concat(unzipped)), sha256(whole))
      } else {
        for (let i = 0; i < whole.length; i++) whole[i] = 255 - (whole[i] as number)
        assert.equal(sha256(body), sha256(whole))
      }
      assert.equal((await front.nextRecord()).outcome, 'answered')
    })
  }

  test(`${name}: an own response is written with backpressure`, async () => {
    await using backend = await mockBackend()
    const piece = randomBytes(64 * 1024)
    let sent = 0
    await using front = await run(
      through(backend, (_next, exchange, _request, _body, sink) => {
        const write = (): void => {
          while (sent < BODY_BYTES && !exchange.signal.aborted) {
            sent += piece.length
            if (!sink.onData(Buffer.from(piece))) return
          }
          if (sent === BODY_BYTES) sink.onEnd(null)
        }
        sink.onHead({ status: 200, reason: '', headers: [], bodyBytes: BODY_BYTES }, { resume: write, retain() {} })
        write()
      }),
    )
    const client = rawClient(front.port)
    client.socket.removeAllListeners('data').pause()
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    for (let last = -1, same = 0; same < 20; last = sent) {
      await rounds(50)
      same = sent === last && sent > 0 ? same + 1 : 0
    }
    assert.ok(sent < HELD_BYTES, `${sent} bytes were written`)
    let received = 0
    client.socket.on('data', (chunk) => {
      received += chunk.length
    })
    client.socket.resume()
    await client.ended
    assert.ok(received > BODY_BYTES)
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.responseBytes], ['local', BODY_BYTES])
  })

  test(`${name}: a client that goes in the middle of a rewrite ends the backend's response`, async () => {
    const closed = gate()
    await using backend = await mockBackend((_request, reply) => {
      reply.head()
      reply.chunk(randomBytes(100_000))
      reply.closed.then(() => closed.open())
    })
    await using front = await run(through(backend, gzip))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('\r\n\r\n')
    client.socket.resetAndDestroy()
    await closed.promise
    assert.equal((await front.nextRecord()).outcome, 'aborted')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: limits.minReadBytesPerSecond holds through a stream of an interceptor`, async () => {
    const clock = manualClock()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head()
      while (!reply.isClosed) if (!reply.chunk(randomBytes(MIB))) await reply.drained()
    })
    const limits = { minReadBytesPerSecond: 1_000_000_000 }
    await using front = await run(through(backend, gzip, { clock, limits, timeouts: { idle: 0, intercept: 1000 } }))
    const client = rawClient(front.port)
    client.socket.removeAllListeners('data').pause()
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    while (front.errors.length === 0) {
      await rounds()
      clock.advance(10_000)
    }
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_TIMEOUT')
    client.socket.destroy()
  })

  test(`${name}: a truncated response stays truncated through a rewrite`, async () => {
    await using backend = await mockBackend((_request, reply) => {
      reply.head({ headers: { 'Content-Length': '100' } })
      reply.chunk('some of it')
      setImmediate(() => reply.abort())
    })
    for (const handle of [invert, gzip]) {
      await using front = await run(through(backend, handle))
      await assert.rejects(async () => (await fetch(front.url)).text())
      assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_TRUNCATED')
    }
  })

  test(`${name}: an interceptor refuses an upgrade after it has asked somebody`, async () => {
    await using backend = await echoBackend()
    await using front = await run(
      through(backend, async (next, exchange, request, body, sink) => {
        await turn()
        if (exchange.header('authorization') !== undefined) return next(exchange, request, body, sink)
        respond(sink, { status: 401, headers: ['X-Why', exchange.upgrade ?? ''], body: 'no' })
      }),
    )
    const url = `${front.url.replace('http', 'ws')}/a`
    const refused = new WebSocket(url)
    const [, response] = await once(refused, 'unexpected-response')
    assert.deepEqual([response.statusCode, response.headers['x-why']], [401, 'websocket'])
    response.resume()
    assert.equal((await front.nextRecord()).outcome, 'local')
    const taken = new WebSocket(url, { headers: { authorization: 'x' } })
    await once(taken, 'open')
    taken.send('hello')
    assert.equal(String((await once(taken, 'message'))[0]), '/a: hello')
    taken.close()
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.errorCode], ['upgraded', null])
    assert.equal(front.pending(), 0)
  })

  test(`${name}: an interceptor sees an upgrade, and changes its head`, async () => {
    await using backend = await echoBackend()
    let seen = 0
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        const upgrade: typeof sink.onUpgrade = (head, stream, rest) => {
          seen = head.status
          headerView(head.headers).set('X-Seen', 'yes')
          sink.onUpgrade(head, stream, rest)
        }
        next(exchange, { ...request, upgrade: null }, body, wrapSink(sink, { onUpgrade: upgrade }))
      }),
    )
    const socket = new WebSocket(front.url.replace('http', 'ws'))
    const [response] = await once(socket, 'upgrade')
    assert.deepEqual([seen, response.headers['x-seen']], [101, 'yes'])
    socket.terminate()
    await front.nextRecord()
  })

  test(`${name}: an upgrade that an interceptor keeps is late, and its connection is closed`, async () => {
    await using backend = await echoBackend()
    const clock = manualClock()
    const kept = gate()
    await using front = await run(
      through(
        backend,
        (next, exchange, request, body, sink) =>
          next(exchange, request, body, wrapSink(sink, { onUpgrade: () => kept.open() })),
        { clock, timeouts: { intercept: 500 } },
      ),
    )
    const socket = new WebSocket(front.url.replace('http', 'ws'))
    const refused = once(socket, 'unexpected-response')
    await kept.promise
    clock.advance(1000)
    await rounds()
    clock.advance(1000)
    const [, response] = await refused
    assert.equal(response.statusCode, 504)
    response.resume()
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_INTERCEPT_TIMEOUT')
    assert.equal(front.pending(), 0)
    await rounds()
    assert.equal(front.proxy.stats().groups[0]?.pool.backends[0]?.connections ?? 0, 0)
  })

  test(`${name}: an upgrade with CR LF in its head is ERR_PROXY_HOOK`, async () => {
    await using backend = await echoBackend()
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        const upgrade: typeof sink.onUpgrade = (head, stream, rest) =>
          sink.onUpgrade({ ...head, headers: [...head.headers, 'X', 'a\r\nb: c'] }, stream, rest)
        next(exchange, request, body, wrapSink(sink, { onUpgrade: upgrade }))
      }),
    )
    const socket = new WebSocket(front.url.replace('http', 'ws'))
    const [, response] = await once(socket, 'unexpected-response')
    assert.equal(response.statusCode, 500)
    response.resume()
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
  })
}
