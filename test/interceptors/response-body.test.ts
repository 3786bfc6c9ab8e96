import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import http from 'node:http'
import { Duplex, PassThrough, Transform } from 'node:stream'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { type ResponseBodyOptions, responseBody } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { MIB, randomBytes, sha256 } from '../support/bytes.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, inHttp2, rounds, runInServer } from '../support/running-proxy.ts'
import { codingOf, encode, FORMS, get, HAS_ZSTD, OF_OLD_BYTES, upperCase } from './codings.ts'

const TEXT = 'The quick brown fox jumps over the lazy dog.\n'.repeat(1000)
const LOUD = TEXT.toUpperCase()

function changed(backend: { readonly url: string }, options: Partial<ResponseBodyOptions> = {}, more = {}) {
  return through(backend, [responseBody({ transform: upperCase, ...options })], more)
}

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a body is changed while it streams`, async () => {
    const seen = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: { 'Content-Type': 'text/plain', 'Content-Length': '10', ...OF_OLD_BYTES } })
      reply.chunk('first')
      await seen.promise
      reply.chunk('other')
      reply.end()
    })
    await using front = await run(changed(backend))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('FIRST')
    seen.open()
    const text = await client.until('0\r\n\r\n')
    assert.match(text, /OTHER/)
    assert.match(text, /^content-type: text\/plain\r$/im)
    assert.match(text, /^transfer-encoding: chunked\r$/im)
    for (const header of ['Content-Length', ...Object.keys(OF_OLD_BYTES)])
      assert.doesNotMatch(text, new RegExp(`^${header}:`, 'im'))
    client.socket.destroy()
  })

  test(`${name}: a head reaches the client before the backend has anything to add`, async () => {
    const seen = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: { 'Content-Type': 'text/event-stream' } })
      await seen.promise
      reply.end()
    })
    await using front = await run(changed(backend))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('text/event-stream')
    seen.open()
    await client.until('0\r\n\r\n')
    client.socket.destroy()
  })

  for (const form of FORMS) {
    test(`${name}: ${form} is decoded, however it is cut into pieces`, async () => {
      const bytes = encode(form, TEXT)
      const headers = { 'Content-Encoding': codingOf(form).toUpperCase(), 'Content-Type': 'text/plain' }
      await using backend = await mockBackend([
        { headers, body: bytes },
        async (_request, reply) => {
          reply.head({ headers })
          for (let i = 0; i < bytes.length; i += 1 + i) {
            reply.chunk(bytes.subarray(i, 1 + 2 * i))
            await rounds(2)
          }
          reply.end()
        },
      ])
      await using front = await run(changed(backend))
      for (let i = 0; i < 2; i++) {
        const { headers, body } = await get(front.url)
        assert.equal(body.toString(), LOUD)
        assert.equal(headers['content-encoding'], undefined)
      }
      assert.deepEqual(front.errors, [])
    })
  }

  test(`${name}: several codings are decoded, the last one first`, async () => {
    const body = encode('gzip', encode('br', encode('raw deflate', TEXT)))
    const codings = { 'Content-Encoding': ['deflate, identity', ', br,gzip'] }
    await using backend = await mockBackend({ headers: codings, body })
    await using front = await run(changed(backend))
    assert.equal((await get(front.url)).body.toString(), LOUD)
  })

  test(`${name}: a body with an unknown coding, or too many, passes unchanged`, async () => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({
        headers: { 'Content-Encoding': request.header('x-coding') as string, ...OF_OLD_BYTES },
        body: 'abc',
      }),
    )
    await using front = await run(changed(backend))
    const unknown = ['compress', 'gzip, aws-chunked', 'gzip, gzip, gzip, gzip', 'constructor']
    for (const coding of HAS_ZSTD ? unknown : ['zstd', ...unknown]) {
      const { headers, body } = await get(front.url, { 'x-coding': coding })
      assert.deepEqual([headers['content-encoding'], headers.etag, headers['content-length']], [coding, '"1"', '3'])
      assert.equal(body.toString(), 'abc')
    }
  })

  test(`${name}: the request asks only for codings that can be decoded`, async () => {
    await using backend = await mockBackend()
    await using front = await run(changed(backend))
    const zstd = HAS_ZSTD ? ['zstd'] : []
    for (const [asked, sent] of [
      ['gzip, deflate, br', 'gzip, deflate, br'],
      ['gzip, deflate, br, zstd', ['gzip', 'deflate', 'br', ...zstd].join(', ')],
      ['GZip;q=0.5, compress, x-gzip, dcb;q=0, *;q=0.0', 'gzip;q=0.5, x-gzip, dcb;q=0, *;q=0.0'],
      ['*', 'identity'],
      ['compress', 'identity'],
      ['', ''],
    ] as const) {
      await get(front.url, { 'accept-encoding': asked })
      assert.equal((await backend.nextRequest()).header('accept-encoding'), sent, asked)
    }
    await get(front.url)
    assert.equal((await backend.nextRequest()).header('accept-encoding'), undefined)
  })

  test(`${name}: decode: false gives the bytes as they came`, async () => {
    const coded = encode('gzip', TEXT)
    await using backend = await mockBackend({ headers: { 'Content-Encoding': 'gzip' }, body: coded })
    await using front = await run(changed(backend, { decode: false, transform: () => new PassThrough() }))
    const { headers, body } = await get(front.url, { 'accept-encoding': 'gzip, dcb' })
    assert.equal(headers['content-encoding'], 'gzip')
    assert.ok(body.equals(coded))
    assert.equal((await backend.nextRequest()).header('accept-encoding'), 'gzip, dcb')
  })

  test(`${name}: parts of bodies, and responses without one, pass unchanged`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const status = Number(request.header('x-status'))
      const range = request.header('x-range')
      const headers = { ...OF_OLD_BYTES, ...(range === undefined ? {} : { 'Content-Range': range }) }
      reply.send({ status, headers, ...(request.header('x-empty') === undefined && { body: 'abc' }) })
    })
    let calls = 0
    const transform = () => {
      calls++
      return upperCase()
    }
    await using front = await run(changed(backend, { transform }))
    for (const [status, more] of [
      [204, { 'x-empty': '1' }],
      [304, { 'x-empty': '1' }],
      [200, { 'x-empty': '1' }],
      [205, {}],
      [206, { 'x-range': 'bytes 0-2/9' }],
      [206, {}],
      [416, { 'x-range': 'bytes */9' }],
    ] as const) {
      const { headers, body, ...rest } = await get(front.url, { 'x-status': `${status}`, ...(more as object) })
      assert.equal(rest.status, status)
      assert.equal(headers.etag, '"1"')
      assert.equal(headers['accept-ranges'], 'bytes')
      assert.equal(body.toString(), 'x-empty' in more ? '' : 'abc')
    }
    assert.equal(calls, 0)
  })

  test(`${name}: HEAD has the headers of GET, without a length`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const coded = encode('gzip', TEXT)
      const length = { 'Content-Length': request.path === '/empty' ? '0' : `${coded.length}` }
      const headers = { ...OF_OLD_BYTES, 'Content-Encoding': 'gzip', 'Content-Type': 'text/plain', ...length }
      reply.send({ headers, ...(request.method === 'GET' && request.path !== '/empty' && { body: coded }) })
    })
    await using front = await run(changed(backend))
    for (const path of ['/', '/empty']) {
      const names = async (method: string) =>
        Object.keys((await get(front.url + path, {}, method)).headers)
          .filter((header) => !['connection', 'keep-alive', 'transfer-encoding'].includes(header))
          .sort()
      assert.deepEqual(await names('HEAD'), await names('GET'), path)
    }
    assert.equal((await get(`${front.url}/empty`, {}, 'HEAD')).headers.etag, '"1"')
    assert.equal((await get(front.url, {}, 'HEAD')).headers['content-length'], undefined)
  })

  test(`${name}: when() chooses by the head as the backend has sent it`, async () => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({ headers: { 'Content-Type': request.path.slice(1), ETag: '"1"' }, body: 'abc' }),
    )
    await using front = await run(
      changed(backend, {
        when: ({ status, headers }, exchange) => {
          assert.deepEqual([status, headers.get('etag'), exchange.method], [200, '"1"', 'GET'])
          return headers.get('content-type') === 'text/html'
        },
      }),
    )
    const html = await get(`${front.url}/text/html`)
    assert.deepEqual([html.body.toString(), html.headers.etag], ['ABC', undefined])
    const image = await get(`${front.url}/image/png`)
    assert.deepEqual([image.body.toString(), image.headers.etag], ['abc', '"1"'])
  })

  test(`${name}: transform() changes status and headers`, {
    skip: inHttp2(name, 'HTTP/2 has no reason phrase'),
  }, async () => {
    await using backend = await mockBackend({ reason: 'Fine', body: 'abc' })
    await using front = await run(
      changed(backend, {
        transform(response, exchange) {
          if (exchange.target === '/status') response.status = 203
          response.headers.set('ETag', '"2"')
          return upperCase()
        },
      }),
    )
    const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1\.1 200 Fine\r\n/)
    assert.match(text, /^etag: "2"\r$/im)
    const other = await converse(front.port, 'GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(other.text, /^HTTP\/1\.1 203 Non-Authoritative Information\r\n/)
  })

  test(`${name}: trailers pass, except those that describe the old bytes`, async () => {
    const trailers = { 'X-Checked': 'yes', 'Repr-Digest': 'sha-256=:AA==:', ETag: '"1"' }
    await using backend = await mockBackend({ body: 'abc', trailers })
    await using front = await run(changed(backend))
    const response = await get(front.url)
    assert.equal(response.body.toString(), 'ABC')
    assert.deepEqual(response.trailers, { 'x-checked': 'yes' })
  })

  test(`${name}: an HTTP/1.0 client gets a changed body up to the end of the connection`, async () => {
    await using backend = await mockBackend({ body: 'abc' })
    await using front = await run(changed(backend))
    const { text, ending } = await converse(front.port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    assert.match(text, /\r\n\r\nABC$/)
    assert.equal(ending, 'end')
  })

  test(`${name}: what comes out may be text, bytes, more or nothing`, async () => {
    const pieces = ['é'.repeat(10), new Uint8Array(Buffer.from('bytes')), '', Buffer.alloc(0)]
    const transform = () =>
      new Transform({
        readableObjectMode: true,
        transform: (_chunk, _encoding, done) => done(),
        flush(done) {
          for (const piece of pieces) this.push(piece)
          done()
        },
      })
    await using backend = await mockBackend({ body: TEXT })
    await using front = await run(changed(backend, { transform }))
    assert.equal((await get(front.url)).body.toString(), `${'é'.repeat(10)}bytes`)
    await using none = await run(
      changed(backend, { transform: () => new Transform({ transform: (_chunk, _encoding, done) => done() }) }),
    )
    assert.equal((await get(none.url)).body.length, 0)
  })

  test(`${name}: a stream may end before its input does`, async () => {
    const transform = () =>
      new Transform({
        transform(chunk, _encoding, done) {
          this.push(chunk)
          this.push(null)
          done()
        },
      })
    // The rest never comes, or comes and does not matter.
    await using backend = await mockBackend((request, reply) => {
      reply.head({ headers: { 'Content-Encoding': 'gzip' } })
      const bytes = encode('gzip', randomBytes(MIB))
      reply.chunk(bytes.subarray(0, 1000))
      if (request.path === '/all') {
        reply.chunk(bytes.subarray(1000))
        reply.end()
      }
    })
    await using front = await run(changed(backend, { transform }))
    for (const path of ['/', '/all']) {
      const { body } = await get(front.url + path)
      assert.ok(body.length > 0 && body.length < MIB, `${body.length}`)
      assert.equal((await front.nextRecord()).outcome, 'answered')
    }
    await rounds()
    assert.equal(front.pending(), 0)
  })

  test(`${name}: any Duplex will do, such as one of an async generator`, async () => {
    const transform = () =>
      Duplex.from(async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) yield chunk.toString('latin1').toUpperCase()
      })
    await using backend = await mockBackend({ headers: { 'Content-Encoding': 'br' }, body: encode('br', TEXT) })
    await using front = await run(changed(backend, { transform }))
    assert.equal((await get(front.url)).body.toString(), LOUD)
  })

  test(`${name}: concatenated gzip members are one body, and null bytes after them are padding`, async () => {
    const body = Buffer.concat([encode('gzip', 'one '), encode('gzip', 'two'), Buffer.alloc(50)])
    await using backend = await mockBackend({ headers: { 'Content-Encoding': 'gzip' }, body })
    await using front = await run(changed(backend))
    assert.equal((await get(front.url)).body.toString(), 'ONE TWO')
  })

  test(`${name}: an empty body is empty in every coding`, async () => {
    await using backend = await mockBackend({ headers: { 'Content-Encoding': 'gzip' }, chunks: [] })
    await using front = await run(changed(backend))
    const { headers, body } = await get(front.url)
    assert.deepEqual([headers['content-encoding'], body.length], [undefined, 0])
  })

  test(`${name}: upgrades and interim responses pass`, {
    skip: inHttp2(name, 'there is no upgrade in HTTP/2'),
  }, async () => {
    await using sockets = await echoBackend()
    await using upgrading = await run(changed(sockets))
    const socket = new WebSocket(`${upgrading.url.replace('http', 'ws')}/a`)
    await once(socket, 'open')
    socket.send('hello')
    assert.equal(String((await once(socket, 'message'))[0]), '/a: hello')
    socket.terminate()
    await using backend = await mockBackend((_request, reply) => {
      reply.informational(103, { Link: '</a.css>' })
      reply.send({ body: 'abc' })
    })
    await using front = await run(changed(backend))
    const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>\r\n\r\nHTTP\/1\.1 200 OK\r\n.*ABC/s)
  })

  test(`${name}: a slow client holds back the backend behind a decoder and a stream`, async () => {
    const bytes = 64 * MIB
    const piece = randomBytes(MIB / 4)
    // Stored blocks: what comes out is as long as what went in.
    const coded = encode('gzip', Buffer.concat([piece]))
    let sent = 0
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: { 'Content-Encoding': 'gzip' } })
      while (sent < bytes && !reply.isClosed) {
        sent += piece.length
        if (!reply.chunk(coded)) await reply.drained()
      }
      reply.end()
    })
    await using front = await run(changed(backend, { transform: () => new PassThrough() }))
    const client = rawClient(front.port)
    client.socket.removeAllListeners('data').pause()
    client.write('GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    for (let last = -1, same = 0; same < 20; last = sent) {
      await rounds(50)
      same = sent === last && sent > 0 ? same + 1 : 0
    }
    assert.ok(sent < 24 * MIB, `${sent} bytes were taken from the backend`)
    const chunks: Buffer[] = []
    client.socket.on('data', (chunk) => chunks.push(chunk)).resume()
    await client.ended
    const all = Buffer.concat(chunks)
    const body = all.subarray(all.indexOf('\r\n\r\n') + 4)
    assert.equal(sha256(body), sha256(Buffer.concat(Array<Buffer>(bytes / piece.length).fill(piece))))
    assert.equal((await front.nextRecord()).outcome, 'answered')
  })

  test(`${name}: a slow stream holds back the backend`, async () => {
    let sent = 0
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head()
      while (!reply.isClosed) {
        sent += MIB / 4
        if (!reply.chunk(randomBytes(MIB / 4))) await reply.drained()
      }
    })
    const transform = () => new Transform({ transform() {} })
    await using front = await run(changed(backend, { transform }))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    for (let last = -1, same = 0; same < 20; last = sent) {
      await rounds(50)
      same = sent === last && sent > 0 ? same + 1 : 0
    }
    assert.ok(sent < 24 * MIB, `${sent} bytes were taken from the backend`)
    client.socket.resetAndDestroy()
    assert.equal((await front.nextRecord()).outcome, 'aborted')
  })

  test(`${name}: another interceptor may end the call alone, and then gets nothing more`, async () => {
    const streams: Transform[] = []
    const transform = () => {
      const stream = upperCase()
      streams.push(stream)
      return stream
    }
    await using backend = await mockBackend((request, reply) => {
      reply.head()
      reply.chunk(request.path)
      if (request.path === '/second') reply.end()
    })
    const late: string[] = []
    const hedge = interceptor((next, exchange, request, body, sink) => {
      const first = new AbortController()
      const aborted = (what: string) => () => void late.push(what)
      next(exchange, { ...request, path: '/first', signal: first.signal }, body, {
        onInformational() {},
        onHead() {
          first.abort()
          next(exchange, { ...request, path: '/second' }, body, sink)
        },
        onData: () => late.push('data') > 0,
        onFlush() {},
        onEnd: aborted('end'),
        onUpgrade() {},
        onError: aborted('error'),
      })
    })
    await using front = await run(through(backend, [hedge, responseBody({ transform })]))
    assert.equal((await get(front.url)).body.toString(), '/SECOND')
    assert.deepEqual(late, [])
    assert.deepEqual(
      streams.map(({ destroyed }) => destroyed),
      [true, true],
    )
  })
}

test('streams run in the async context of their request', async () => {
  const context = new AsyncLocalStorage<string>()
  const seen = new Set<string | undefined>()
  const note = () => void seen.add(context.getStore())
  await using backend = await mockBackend({ headers: { 'Content-Encoding': 'gzip' }, body: encode('gzip', TEXT) })
  const transform = () => {
    note()
    return new Transform({
      transform(chunk, _encoding, done) {
        note()
        setImmediate(done, null, chunk)
      },
      flush(done) {
        note()
        done()
      },
      destroy(_error, done) {
        note()
        done(null)
      },
    })
  }
  const outside = interceptor((next, exchange, request, body, sink) =>
    next(exchange, request, body, {
      onInformational: note,
      onHead(head, flow) {
        note()
        sink.onHead(head, flow)
      },
      onData(chunk) {
        note()
        return sink.onData(chunk)
      },
      onFlush() {
        note()
        sink.onFlush()
      },
      onEnd(trailers) {
        note()
        sink.onEnd(trailers)
      },
      onUpgrade: note,
      onError: note,
    }),
  )
  await using front = await runInServer(through(backend, [outside, responseBody({ transform })]), (proxy) =>
    http.createServer((req, res) => context.run(req.url as string, () => proxy.web(req, res))),
  )
  for (const path of ['/a', '/b']) {
    seen.clear()
    await get(front.url + path)
    await front.nextRecord()
    assert.deepEqual([...seen], [path])
  }
})

test('options of the wrong type are refused', () => {
  for (const [options, message] of [
    [{}, 'response-body: transform is missing; give a function'],
    [{ transform: 'x' }, 'response-body: transform is "x"; give a function'],
    [{ transform: upperCase, when: true }, 'response-body: when is true; give a function'],
    [{ transform: upperCase, decode: 'gzip' }, 'response-body: decode is "gzip"; give true or false'],
    [
      { transform: upperCase, encode: true },
      'response-body: there is no option encode; allowed: when, transform, decode',
    ],
  ] as const) {
    assert.throws(() => responseBody(options as never), new TypeError(message))
  }
})
