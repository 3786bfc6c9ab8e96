import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { type CompressOptions, compress, responseBody } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { randomBytes } from '../support/bytes.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse } from '../support/raw-client.ts'
import { ALL_FRONTS } from '../support/running-proxy.ts'
import { decode, encode, get, HAS_ZSTD, OF_OLD_BYTES, upperCase } from './codings.ts'

const ALL = 'gzip, deflate, br, zstd'
const ENCODINGS = HAS_ZSTD ? (['zstd', 'br', 'gzip'] as const) : (['br', 'gzip'] as const)
const SMALL = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ id, name: `user ${id * id}` })))
/** Compresses to about half. */
const LARGE = randomBytes(50_000).toString('hex')
const JSON_TYPE = { 'Content-Type': 'application/json; charset=utf-8' }

const compressed = (backend: { readonly url: string }, options?: CompressOptions) =>
  through(backend, [compress(options)])

for (const { name, run } of ALL_FRONTS) {
  for (const coding of ENCODINGS) {
    for (const [size, text] of Object.entries({ small: SMALL, large: LARGE })) {
      test(`${name}: a ${size} body is compressed with ${coding}`, async () => {
        await using backend = await mockBackend((request, reply) => {
          const headers = { ...JSON_TYPE, ...OF_OLD_BYTES }
          if (request.path === '/chunked') reply.send({ headers, chunks: [text] })
          else reply.send({ headers, body: text })
        })
        await using front = await run(compressed(backend))
        for (const path of ['/', '/chunked']) {
          const { headers, body, status } = await get(front.url + path, { 'accept-encoding': coding })
          assert.deepEqual([status, headers['content-encoding'], headers.vary], [200, coding, 'Accept-Encoding'])
          assert.equal(decode(coding, body).toString(), text)
          assert.ok(body.length < text.length * 0.6, `${body.length} of ${text.length}`)
          const length = size === 'small' ? `${body.length}` : undefined
          assert.equal(headers['content-length'], length)
          assert.deepEqual([headers.etag, headers['last-modified']], ['W/"1"', OF_OLD_BYTES['Last-Modified']])
          for (const header of ['Accept-Ranges', 'Content-MD5', 'Digest', 'Content-Digest', 'Repr-Digest'])
            assert.equal(headers[header.toLowerCase()], undefined, header)
        }
        assert.deepEqual(front.errors, [])
      })
    }

    test(`${name}: the level of ${coding} counts`, async () => {
      await using backend = await mockBackend((request, reply) =>
        reply.send({ headers: JSON_TYPE, body: request.path === '/large' ? SMALL.repeat(10) : SMALL }),
      )
      const sizes: number[][] = []
      for (const level of [1, 9]) {
        await using front = await run(compressed(backend, { levels: { [coding]: level } }))
        const size = async (path: string) => (await get(front.url + path, { 'accept-encoding': coding })).body.length
        sizes.push([await size('/small'), await size('/large')])
      }
      for (const i of [0, 1]) assert.notEqual(sizes[0]?.[i], sizes[1]?.[i])
    })
  }

  test(`${name}: zstd looks back as far as its level wants`, { skip: !HAS_ZSTD }, async () => {
    // What follows 300,000 bytes later is found by higher levels alone.
    const body = randomBytes(150_000).toString('hex').repeat(2)
    await using backend = await mockBackend({ headers: JSON_TYPE, body })
    const sizes: number[] = []
    for (const zstd of [3, 4]) {
      await using front = await run(compressed(backend, { levels: { zstd } }))
      sizes.push((await get(front.url, { 'accept-encoding': 'zstd' })).body.length)
    }
    const [near = 0, far = 0] = sizes
    assert.ok(far < near * 0.6, `${sizes}`)
  })

  test(`${name}: by default the coding with the least CPU time is preferred, and encodings changes that`, async () => {
    await using backend = await mockBackend({ headers: JSON_TYPE, body: SMALL })
    await using byDefault = await run(compressed(backend))
    assert.equal((await get(byDefault.url, { 'accept-encoding': ALL })).headers['content-encoding'], ENCODINGS[0])
    await using front = await run(compressed(backend, { encodings: ['gzip', 'br'] }))
    for (const [accepted, coding] of [
      [ALL, 'gzip'],
      ['gzip;q=0.5, br', 'br'],
      ['zstd', undefined],
    ] as const) {
      const { headers } = await get(front.url, { 'accept-encoding': accepted })
      assert.deepEqual([headers['content-encoding'], headers.vary], [coding, 'Accept-Encoding'])
    }
  })

  test(`${name}: a client that accepts no coding gets the bytes as they are, and Vary`, async () => {
    await using backend = await mockBackend({ headers: { ...JSON_TYPE, ...OF_OLD_BYTES }, body: SMALL })
    await using front = await run(compressed(backend))
    for (const headers of [{}, { 'accept-encoding': '' }, { 'accept-encoding': 'identity, *;q=0' }] as const) {
      const response = await get(front.url, headers as Record<string, string>)
      assert.equal(response.body.toString(), SMALL)
      assert.deepEqual(
        [response.headers['content-encoding'], response.headers.etag, response.headers.vary],
        [undefined, '"1"', 'Accept-Encoding'],
      )
      assert.equal(response.headers['accept-ranges'], 'bytes')
    }
  })

  test(`${name}: what is not to be compressed is left alone`, async () => {
    const cases: Readonly<Record<string, [headers: Record<string, string>, vary: boolean, status?: number]>> = {
      image: [{ 'Content-Type': 'image/png' }, false],
      'no type': [{}, false],
      events: [{ 'Content-Type': 'text/event-stream' }, false],
      coded: [{ ...JSON_TYPE, 'Content-Encoding': 'gzip' }, false],
      'no-transform': [{ ...JSON_TYPE, 'Cache-Control': 'public, No-Transform' }, false],
      part: [{ ...JSON_TYPE, 'Content-Range': 'bytes 0-9/20' }, true, 206],
      '205': [JSON_TYPE, false, 205],
      '206': [JSON_TYPE, true, 206],
      range: [{ ...JSON_TYPE, 'Content-Range': 'bytes */20' }, true, 416],
    }
    await using backend = await mockBackend((request, reply) => {
      const [headers, , status = 200] = cases[decodeURI(request.path.slice(1))] as (typeof cases)[string]
      reply.send({ status, headers: { ...headers, ...OF_OLD_BYTES }, body: SMALL })
    })
    await using front = await run(compressed(backend))
    for (const [what, [sent, vary, status = 200]] of Object.entries(cases)) {
      const { headers, body, ...rest } = await get(`${front.url}/${what}`, { 'accept-encoding': ALL })
      assert.equal(rest.status, status)
      assert.equal(body.toString(), SMALL, what)
      assert.deepEqual(
        [headers['content-encoding'], headers.vary, headers.etag, headers['accept-ranges']],
        [sent['Content-Encoding'], vary ? 'Accept-Encoding' : undefined, '"1"', 'bytes'],
        what,
      )
    }
  })

  test(`${name}: a client may forbid changes, too`, async () => {
    await using backend = await mockBackend({ headers: JSON_TYPE, body: SMALL })
    await using front = await run(compressed(backend))
    const asked = { 'accept-encoding': ALL, 'cache-control': 'no-cache, no-transform' }
    assert.equal((await get(front.url, asked)).body.toString(), SMALL)
  })

  test(`${name}: minBytes counts to the byte, and an unknown length is large`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const body = 'a'.repeat(Number(request.path.slice(1)))
      if (request.method === 'POST') reply.send({ headers: JSON_TYPE, chunks: [body] })
      else reply.send({ headers: JSON_TYPE, body })
    })
    await using byDefault = await run(compressed(backend))
    await using front = await run(compressed(backend, { minBytes: 10 }))
    for (const [{ url }, length, method, isCompressed] of [
      [byDefault, 1023, 'GET', false],
      [byDefault, 1024, 'GET', true],
      [byDefault, 10, 'POST', true],
      [front, 9, 'GET', false],
      [front, 10, 'GET', true],
      [front, 0, 'GET', false],
    ] as const) {
      const { headers } = await get(`${url}/${length}`, { 'accept-encoding': 'gzip' }, method)
      assert.equal(headers['content-encoding'], isCompressed ? 'gzip' : undefined, `${length}`)
      assert.equal(headers.vary, isCompressed ? 'Accept-Encoding' : undefined)
    }
  })

  test(`${name}: types replace the usual ones`, async () => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({ headers: { 'Content-Type': request.path.slice(1) }, body: SMALL }),
    )
    await using byDefault = await run(compressed(backend))
    await using front = await run(compressed(backend, { types: ['text/html', 'application/*', 'image/bmp'] }))
    for (const [type, usual, chosen] of [
      ['text/html;charset=utf-8', true, true],
      ['text/css', true, false],
      ['application/json', true, true],
      ['application/ld+json', true, true],
      ['image/svg+xml', true, false],
      ['application/javascript', true, true],
      ['application/wasm', true, true],
      ['application/x-ndjson', true, true],
      ['application/zip', false, true],
      ['image/bmp', false, true],
      ['font/woff2', false, false],
    ] as const) {
      for (const [{ url }, isMeant] of [
        [byDefault, usual],
        [front, chosen],
      ] as const) {
        const { headers } = await get(`${url}/${type}`, { 'accept-encoding': 'gzip' })
        assert.equal(headers['content-encoding'], isMeant ? 'gzip' : undefined, type)
      }
    }
  })

  test(`${name}: Vary is added to, but not twice`, async () => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({ headers: { ...JSON_TYPE, Vary: JSON.parse(decodeURI(request.path.slice(1))) }, body: SMALL }),
    )
    await using front = await run(compressed(backend))
    for (const [sent, vary] of [
      ['Origin', 'Origin, Accept-Encoding'],
      ['accept-encoding, Origin', 'accept-encoding, Origin'],
      [['Origin', 'ACCEPT-ENCODING'], 'Origin, ACCEPT-ENCODING'],
      ['*', '*'],
    ] as const) {
      const { headers } = await get(`${front.url}/${JSON.stringify(sent)}`, { 'accept-encoding': 'gzip' })
      assert.equal([headers.vary].flat().join(', '), vary)
      assert.equal(headers['content-encoding'], 'gzip')
    }
  })

  test(`${name}: HEAD has the headers of GET, without a length`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const body = request.path === '/short' ? 'short' : SMALL
      const headers = { ...JSON_TYPE, ...OF_OLD_BYTES, 'Content-Length': `${body.length}` }
      reply.send({ headers, ...(request.method === 'GET' && { body }) })
    })
    await using front = await run(compressed(backend))
    for (const path of ['/', '/short']) {
      const headers = async (method: string) => {
        const response = await get(front.url + path, { 'accept-encoding': 'br' }, method)
        const skipped = ['connection', 'keep-alive', 'content-length', 'date']
        return Object.entries(response.headers).filter(([header]) => !skipped.includes(header))
      }
      assert.deepEqual((await headers('HEAD')).sort(), (await headers('GET')).sort())
    }
    const whole = await get(front.url, { 'accept-encoding': 'br' }, 'HEAD')
    assert.deepEqual([whole.headers['content-encoding'], whole.headers['content-length']], ['br', undefined])
    assert.equal((await get(`${front.url}/short`, { 'accept-encoding': 'br' }, 'HEAD')).headers['content-length'], '5')
  })

  test(`${name}: HEAD of a body that another interceptor changes has the headers of GET, too`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const headers = { ...JSON_TYPE, 'Content-Length': '5' }
      reply.send({ headers, ...(request.method === 'GET' && { body: 'short' }) })
    })
    await using front = await run(through(backend, [compress(), responseBody({ transform: upperCase })]))
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await get(front.url, { 'accept-encoding': 'br' }, method)
      assert.equal(headers['content-encoding'], 'br', method)
    }
  })

  test(`${name}: 304 has the Vary and the ETag of the 200 that the client has`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const type = request.path === '/image' ? { 'Content-Type': 'image/png' } : {}
      reply.send({ status: Number(request.header('x-status') ?? 304), headers: { ...type, ETag: '"1"' } })
    })
    await using front = await run(compressed(backend))
    const ask = async (path: string, headers: Record<string, string>) => {
      const { headers: received } = await get(front.url + path, { 'accept-encoding': 'gzip', ...headers })
      return [received.vary, received.etag]
    }
    assert.deepEqual(await ask('/', { 'if-none-match': 'W/"1"' }), ['Accept-Encoding', 'W/"1"'])
    assert.deepEqual(await ask('/', { 'if-none-match': '"0", W/"1"' }), ['Accept-Encoding', 'W/"1"'])
    assert.deepEqual(await ask('/', { 'if-none-match': '"1"' }), ['Accept-Encoding', '"1"'])
    assert.deepEqual(await ask('/image', { 'if-none-match': '"1"' }), [undefined, '"1"'])
    assert.deepEqual(await ask('/', { 'x-status': '204' }), [undefined, '"1"'])
  })

  test(`${name}: trailers pass, except those that describe the old bytes`, async () => {
    for (const text of [SMALL, LARGE]) {
      const trailers = { 'X-Checked': 'yes', 'Content-Digest': 'sha-256=:AA==:' }
      await using backend = await mockBackend({ headers: JSON_TYPE, body: text, trailers })
      await using front = await run(compressed(backend))
      const response = await get(front.url, { 'accept-encoding': 'gzip' })
      assert.equal(decode('gzip', response.body).toString(), text)
      assert.deepEqual(response.trailers, { 'x-checked': 'yes' })
    }
  })

  test(`${name}: an HTTP/1.0 client gets a compressed body up to the end of the connection`, async () => {
    await using backend = await mockBackend({ headers: JSON_TYPE, body: LARGE })
    await using front = await run(compressed(backend))
    const { text } = await converse(front.port, 'GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n')
    const [head = '', body = ''] = text.split('\r\n\r\n', 1).concat(text.slice(text.indexOf('\r\n\r\n') + 4))
    assert.doesNotMatch(head, /transfer-encoding|content-length/i)
    assert.equal(decode('gzip', Buffer.from(body, 'latin1')).toString(), LARGE)
  })

  test(`${name}: a weak ETag stays as it is, and Content-Encoding: identity is none`, async () => {
    const headers = { ...JSON_TYPE, ETag: 'W/"1"', 'Content-Encoding': 'identity' }
    await using backend = await mockBackend({ headers, body: SMALL })
    await using front = await run(compressed(backend))
    const response = await get(front.url, { 'accept-encoding': 'gzip' })
    assert.deepEqual([response.headers.etag, response.headers['content-encoding']], ['W/"1"', 'gzip'])
  })

  test(`${name}: upgrades pass`, async () => {
    await using sockets = await echoBackend()
    await using front = await run(compressed(sockets))
    const socket = new WebSocket(front.url.replace('http', 'ws'), { headers: { 'accept-encoding': 'gzip' } })
    await once(socket, 'open')
    socket.terminate()
  })

  test(`${name}: a body that another interceptor leaves incomplete does not become a complete one`, async () => {
    await using backend = await mockBackend()
    for (const length of [SMALL.length + 1, SMALL.length - 1, 100_000]) {
      const liar = interceptor((_next, _exchange, _request, _body, sink) => {
        const head = { status: 200, reason: '', headers: ['Content-Type', 'text/plain'], bodyBytes: length }
        sink.onHead(head, { resume() {}, retain() {} })
        sink.onData(Buffer.from(SMALL))
        sink.onEnd(null)
      })
      await using front = await run(through(backend, [compress(), liar]))
      assert.equal((await get(front.url, { 'accept-encoding': 'gzip' })).status, 500)
      assert.match(String(front.errors[0]?.message), /the body has \d+ bytes, and bodyBytes is \d+/)
    }
  })

  test(`${name}: coded bytes of a backend pass as they are`, async () => {
    const body = encode('gzip', LARGE)
    await using backend = await mockBackend({ headers: { ...JSON_TYPE, 'Content-Encoding': 'gzip' }, body })
    await using front = await run(compressed(backend))
    assert.ok((await get(front.url, { 'accept-encoding': ALL })).body.equals(body))
  })
}

test('invalid options are refused', () => {
  for (const [options, message] of [
    [{ encodings: [] }, "compress: encodings is []; give a list, such as ['br', 'gzip']"],
    [{ encodings: 'gzip' }, `compress: encodings is "gzip"; give a list, such as ['br', 'gzip']`],
    [{ encodings: ['deflate'] }, 'compress: a member of encodings is "deflate"; give one of zstd, br, gzip'],
    [{ encodings: ['toString'] }, 'compress: a member of encodings is "toString"; give one of zstd, br, gzip'],
    [{ levels: 4 }, 'compress: levels is 4; give levels, such as { br: 4, gzip: 6 }'],
    [{ levels: { deflate: 6 } }, 'compress: a key of levels is "deflate"; give one of zstd, br, gzip'],
    [{ levels: { br: 12 } }, 'compress: levels.br is 12; give a whole number from 0 to 11, such as 4'],
    [{ levels: { gzip: 0 } }, 'compress: levels.gzip is 0; give a whole number from 1 to 9, such as 6'],
    [{ levels: { zstd: 2.5 } }, 'compress: levels.zstd is 2.5; give a whole number from 1 to 22, such as 3'],
    [{ minBytes: 0 }, 'compress: minBytes is 0; give a whole number from 1 on, such as 1024'],
    [{ types: 'text/html' }, `compress: types is "text/html"; give a list, such as ['text/*']`],
    [{ level: 4 }, 'compress: there is no option level; allowed: encodings, levels, minBytes, types'],
  ] as const) {
    assert.throws(() => compress(options as never), new TypeError(message))
  }
})

test('zstd on a Node without it is refused, and not among the defaults', { skip: HAS_ZSTD }, () => {
  assert.throws(() => compress({ encodings: ['zstd'] }), /Node v\S+ has no zstd \(22\.15 has\)/)
})
