import assert from 'node:assert/strict'
import { Duplex, PassThrough, Transform } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import zlib from 'node:zlib'
import { respond, responseBody, wrapSink } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { randomBytes } from '../support/bytes.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, rounds } from '../support/running-proxy.ts'
import { codingOf, encode, FORMS, get, HAS_ZSTD, upperCase } from './codings.ts'

const DESTROYED = upperCase().destroy()

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

/** Fails before it has delivered anything. */
const BEFORE: Readonly<Record<string, () => Duplex>> = {
  'transform() throws': () => {
    throw new Error('by design')
  },
  'transform() throws something that is not an error': () => {
    throw null
  },
  'transform() is async': (async () => upperCase()) as never,
  'transform() rejects': (async () => {
    throw new Error('by design')
  }) as never,
  'transform() returns nothing': () => undefined as never,
  'transform() returns a stream that was destroyed before': () => DESTROYED,
  'the stream throws': () =>
    new Transform({
      transform() {
        throw new Error('by design')
      },
    }),
  'the stream throws something that is not an error': () =>
    new Transform({
      transform() {
        throw null
      },
    }),
  'the stream rejects': () =>
    new Transform({
      async transform() {
        await turn()
        throw new Error('by design')
      },
    }),
  'the stream calls back with an error': () =>
    new Transform({ transform: (_chunk, _encoding, done) => done(new Error('by design')) }),
  'the stream calls back later with an error': () =>
    new Transform({ transform: (_chunk, _encoding, done) => void setImmediate(done, new Error('by design')) }),
  'the stream emits an error': () =>
    new Transform({
      transform() {
        this.emit('error', new Error('by design'))
      },
    }),
  'the stream is destroyed': () =>
    new Transform({
      transform() {
        this.destroy()
      },
    }),
  'the stream delivers objects': () =>
    new Transform({ objectMode: true, transform: (_chunk, _encoding, done) => done(null, { by: 'design' }) }),
  'flush() throws': () =>
    new Transform({
      transform: (_chunk, _encoding, done) => done(),
      flush() {
        throw new Error('by design')
      },
    }),
  'flush() rejects': () =>
    new Transform({
      transform: (_chunk, _encoding, done) => done(),
      async flush() {
        throw new Error('by design')
      },
    }),
  'write() of a Duplex throws': () =>
    new Duplex({
      read() {},
      write() {
        throw new Error('by design')
      },
    }),
  'read() of a Duplex throws': () =>
    new Duplex({
      read() {
        throw new Error('by design')
      },
      write() {},
    }),
  'final() of a Duplex rejects': () =>
    new Duplex({
      read() {},
      write: (_chunk, _encoding, done) => done(),
      async final() {
        throw new Error('by design')
      },
    }),
  'a generator throws': () =>
    // biome-ignore lint/correctness/useYield: by design
    Duplex.from(async function* (chunks: AsyncIterable<Buffer>) {
      for await (const _ of chunks) throw new Error('by design')
    }),
}

/** Fails after it has delivered something. */
const AFTER: Readonly<Record<string, () => Duplex>> = {
  'the stream throws': () => {
    let count = 0
    return new Transform({
      transform(chunk, _encoding, done) {
        if (++count === 2) throw new Error('by design')
        done(null, chunk)
      },
    })
  },
  'the stream throws while its output is read': () => {
    let count = 0
    return new Transform({
      readableHighWaterMark: 1,
      transform(chunk, _encoding, done) {
        if (++count === 2) throw new Error('by design')
        setImmediate(done, null, chunk)
      },
    })
  },
  'flush() throws': () =>
    new PassThrough({
      flush() {
        throw new Error('by design')
      },
    }),
  'the stream is destroyed': () => {
    const stream = new PassThrough()
    return stream.once('data', () => stream.destroy())
  },
}

for (const { name, run } of ALL_FRONTS) {
  for (const form of [null, 'gzip']) {
    const kind = form === null ? '' : ' behind a decoder'
    const headers: Record<string, string> = form === null ? {} : { 'Content-Encoding': form }
    const piece = (bytes: Buffer): Buffer => (form === null ? bytes : encode(form, bytes))

    for (const [what, transform] of Object.entries(BEFORE)) {
      test(`${name}: ${what}${kind}: 500`, async () => {
        await using backend = await mockBackend({ headers, body: piece(Buffer.from('abc')) })
        await using front = await run(through(backend, [responseBody({ transform })]))
        const response = await get(front.url)
        assert.equal(response.status, 500)
        assert.match(response.body.toString(), /ERR_PROXY_HOOK/)
        const record = await front.nextRecord()
        assert.deepEqual([record.status, record.errorCode], [500, 'ERR_PROXY_HOOK'])
        assert.match(String(front.errors[0]?.message), /interceptor response-body/)
        assert.equal(front.pending(), 0)
      })
    }

    for (const [what, transform] of Object.entries(AFTER)) {
      test(`${name}: ${what} in the middle of the body${kind}: truncated`, async () => {
        await using backend = await mockBackend(async (_request, reply) => {
          reply.head({ headers })
          reply.chunk(piece(Buffer.from('first')))
          await rounds()
          reply.chunk(piece(Buffer.from('other')))
          reply.end()
        })
        await using front = await run(through(backend, [responseBody({ transform })]))
        const { text } = await converse(front.port, REQUEST)
        assert.match(text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*first/)
        assert.doesNotMatch(text, /\r\n0\r\n/)
        const record = await front.nextRecord()
        assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_HOOK'])
      })
    }
  }

  for (const [what, when] of Object.entries({
    throws: (): boolean => {
      throw new Error('by design')
    },
    'is async': (async () => false) as never,
  })) {
    test(`${name}: when() ${what}: 500`, async () => {
      await using backend = await mockBackend({ body: 'abc' })
      const changes = responseBody({ transform: upperCase, when })
      await using front = await run(through(backend, [changes]))
      assert.equal((await get(front.url)).status, 500)
      assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
    })
  }

  for (const form of FORMS) {
    test(`${name}: ${form} that ends too early is truncated for the client`, async () => {
      const whole = encode(form, randomBytes(100_000))
      const headers = { 'Content-Encoding': codingOf(form) }
      await using backend = await mockBackend((request, reply) => {
        const body = whole.subarray(0, Number(request.path.slice(1)))
        reply.send(request.method === 'POST' ? { headers, chunks: [body] } : { headers, body })
      })
      await using front = await run(through(backend, [responseBody({ transform: () => new PassThrough() })]))
      for (const length of [whole.length - 1, whole.length >> 1]) {
        for (const method of ['GET', 'POST']) {
          await assert.rejects(get(`${front.url}/${length}`, {}, method))
          const record = await front.nextRecord()
          assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_BAD_RESPONSE'])
        }
      }
      // Nothing has come out, so that it becomes a clean response.
      assert.equal((await get(`${front.url}/2`)).status, 502)
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['failed', 'ERR_PROXY_BAD_RESPONSE'])
      assert.equal(front.errors.at(-1)?.blamesBackend, false)
    })
  }

  test(`${name}: bytes that are not in their coding are a clean 502, and the backend is not blamed`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const headers = { 'Content-Encoding': request.path.slice(1) }
      reply.send({ headers, body: 'this is plain text, or was meant to be' })
    })
    await using front = await run({
      ...through(backend, [responseBody({ transform: upperCase })]),
      healthCheck: { consecutiveFailures: 1 },
    } as never)
    for (const form of FORMS.filter((one) => one !== 'raw deflate')) {
      const response = await get(`${front.url}/${form}`)
      assert.equal(response.status, 502, form)
      assert.match(String(front.errors.at(-1)?.message), new RegExp(`Content-Encoding ${form}, but its body is not`))
    }
    assert.equal(front.proxy.stats().groups[0]?.backends[0]?.status, 'available')
  })

  test(`${name}: zstd that needs a window of more than 8 MiB is refused`, { skip: !HAS_ZSTD }, async () => {
    const params = (windowLog: number) => ({ params: { [zlib.constants.ZSTD_c_windowLog]: windowLog } })
    const frame = async (windowLog: number): Promise<Buffer> => {
      // Without a size the frame has the window of the encoder.
      const encoder = zlib.createZstdCompress(params(windowLog))
      encoder.write('abc')
      encoder.end('def')
      return Buffer.concat(await encoder.toArray())
    }
    await using backend = await mockBackend(async (request, reply) =>
      reply.send({ headers: { 'Content-Encoding': 'zstd' }, body: await frame(Number(request.path.slice(1))) }),
    )
    await using front = await run(through(backend, [responseBody({ transform: upperCase })]))
    assert.equal((await get(`${front.url}/23`)).body.toString(), 'ABCDEF')
    assert.equal((await get(`${front.url}/24`)).status, 502)
  })

  test(`${name}: a body that the backend truncates stays truncated`, async () => {
    for (const form of [null, 'gzip', 'br']) {
      const bytes = form === null ? randomBytes(100_000) : encode(form, randomBytes(100_000))
      await using backend = await mockBackend(async (request, reply) => {
        const length = request.path === '/length' ? { 'Content-Length': `${bytes.length}` } : {}
        reply.head({ headers: form === null ? length : { ...length, 'Content-Encoding': form } })
        reply.chunk(bytes.subarray(0, 80_000))
        await rounds()
        reply.abort()
      })
      await using front = await run(through(backend, [responseBody({ transform: () => new PassThrough() })]))
      for (const path of ['/length', '/chunked']) {
        await assert.rejects(get(front.url + path))
        const record = await front.nextRecord()
        assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_TRUNCATED'])
      }
    }
  })

  test(`${name}: whoever ends the exchange, the stream is destroyed`, async () => {
    const closed = gate()
    const destroyed = gate()
    await using backend = await mockBackend((_request, reply) => {
      reply.head({ headers: { 'Content-Encoding': 'gzip' } })
      reply.chunk(encode('gzip', randomBytes(100_000)))
      reply.closed.then(() => closed.open())
    })
    const transform = () => new PassThrough().on('close', () => destroyed.open())
    await using front = await run(through(backend, [responseBody({ transform })]))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('\r\n\r\n')
    client.socket.resetAndDestroy()
    await destroyed.promise
    await closed.promise
    assert.equal((await front.nextRecord()).outcome, 'aborted')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: closing the proxy destroys streams`, async () => {
    const destroyed = gate()
    await using backend = await mockBackend((_request, reply) => {
      reply.head()
      reply.chunk('abc')
    })
    const transform = () => new PassThrough().on('close', () => destroyed.open())
    const front = await run(through(backend, [responseBody({ transform })]))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('abc')
    await front[Symbol.asyncDispose]()
    await destroyed.promise
    await client.ended
  })

  test(`${name}: a stream that never ends is late, and its error is one of the interceptors`, async () => {
    const clock = manualClock()
    await using backend = await mockBackend({ body: 'abc' })
    const transform = () => new Transform({ transform: (_chunk, _encoding, done) => done(), flush() {} })
    await using front = await run(
      through(backend, [responseBody({ transform })], { clock, timeouts: { intercept: 500 } }),
    )
    const response = get(front.url)
    while (front.errors.length === 0) {
      await rounds()
      clock.advance(1000)
    }
    assert.equal((await response).status, 504)
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_INTERCEPT_TIMEOUT')
  })

  test(`${name}: an outer interceptor responds in place of a failed stream`, async () => {
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head()
      for (let i = 0; i < 10; i++) {
        reply.chunk('abc')
        await turn()
      }
      reply.end()
    })
    const rescue = interceptor((next, exchange, request, body, sink) =>
      next(exchange, request, body, wrapSink(sink, { onError: () => respond(sink, { status: 503, body: 'sorry' }) })),
    )
    const transform = BEFORE['the stream throws'] as () => Transform
    await using front = await run(through(backend, [rescue, responseBody({ transform })]))
    const response = await get(front.url)
    assert.deepEqual([response.status, response.body.toString()], [503, 'sorry'])
    await front.nextRecord()
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a flow of another interceptor that throws does not end the process`, async () => {
    const throwing = interceptor((next, exchange, request, body, sink) =>
      next(
        exchange,
        request,
        body,
        wrapSink(sink, {
          onHead: (head) =>
            sink.onHead(head, {
              resume() {
                throw new Error('by design')
              },
              retain() {},
            }),
        }),
      ),
    )
    await using backend = await mockBackend({ body: randomBytes(500_000) })
    await using front = await run(
      through(backend, [
        responseBody({
          transform: () => new Transform({ transform: (chunk, _, done) => void setImmediate(done, null, chunk) }),
        }),
        throwing,
      ]),
    )
    await assert.rejects(get(front.url))
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
    assert.match(String(front.errors[0]?.message), /resume\(\) of the flow of a response threw: .*by design/)
  })
}
