import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { type BufferedBodyOptions, bufferedBody } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { echoBackend } from '../adapters/serving.ts'
import { MIB, randomBytes } from '../support/bytes.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, rounds } from '../support/running-proxy.ts'
import { codingOf, encode, FORMS, get, HAS_ZSTD, OF_OLD_BYTES } from './codings.ts'

const TEXT = 'The quick brown fox jumps over the lazy dog.\n'.repeat(1000)
const PLAIN = { 'Content-Type': 'text/plain' }

function edited(
  backend: { readonly url: string },
  edit: BufferedBodyOptions['edit'] = (body) => body.toString().toUpperCase(),
  options: Partial<BufferedBodyOptions> = {},
  more = {},
) {
  return through(backend, [bufferedBody({ ...options, edit })], more)
}

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a body is edited as a whole, and its length written anew`, async () => {
    const headers = { ...PLAIN, ...OF_OLD_BYTES, 'Content-Length': '10' }
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers })
      reply.chunk('first')
      await rounds()
      reply.chunk('other')
      reply.end()
    })
    const bodies: string[] = []
    await using front = await run(
      edited(backend, async (body, response, exchange) => {
        bodies.push(`${response.status} ${exchange.target} ${body}`)
        for (const header of Object.keys(OF_OLD_BYTES)) assert.equal(response.headers.get(header), undefined)
        await turn()
        response.status = 202
        response.headers.set('ETag', '"2"')
        return `[${body}]`
      }),
    )
    const { status, headers: received, body } = await get(`${front.url}/a`)
    assert.deepEqual(bodies, ['200 /a firstother'])
    assert.deepEqual([status, body.toString(), received['content-length']], [202, '[firstother]', '12'])
    assert.equal(received.etag, '"2"')
    for (const header of Object.keys(OF_OLD_BYTES).slice(1)) assert.equal(received[header.toLowerCase()], undefined)
  })

  for (const form of FORMS) {
    test(`${name}: ${form} is decoded before the edit`, async () => {
      const headers = { ...PLAIN, 'Content-Encoding': codingOf(form) }
      await using backend = await mockBackend({ headers, body: encode(form, TEXT) })
      await using front = await run(edited(backend))
      const response = await get(front.url)
      assert.equal(response.body.toString(), TEXT.toUpperCase())
      assert.equal(response.headers['content-encoding'], undefined)
      assert.equal(response.headers['content-length'], `${TEXT.length}`)
    })

    test(`${name}: ${form} that ends too early is a clean 502`, async () => {
      const headers = { ...PLAIN, 'Content-Encoding': codingOf(form) }
      await using backend = await mockBackend({ headers, body: encode(form, randomBytes(100_000)).subarray(0, -1) })
      let calls = 0
      await using front = await run(edited(backend, () => `${calls++}`))
      assert.equal((await get(front.url)).status, 502)
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['failed', 'ERR_PROXY_BAD_RESPONSE'])
      assert.deepEqual([calls, front.errors[0]?.blamesBackend, front.pending()], [0, false, 0])
    })

    test(`${name}: ${form} that unpacks to more than maxBytes stops early`, async () => {
      const headers = { ...PLAIN, 'Content-Encoding': codingOf(form) }
      const bomb = encode(form, Buffer.alloc(16 * MIB))
      const closed = gate()
      await using backend = await mockBackend((_request, reply) => {
        reply.head({ headers })
        // It has no end: nobody waits for that.
        reply.chunk(bomb)
        reply.closed.then(() => closed.open())
      })
      let calls = 0
      await using front = await run(edited(backend, () => `${calls++}`))
      assert.equal((await get(front.url)).status, 502)
      const record = await front.nextRecord()
      assert.deepEqual([record.errorCode, calls, front.pending()], ['ERR_PROXY_BAD_RESPONSE', 0, 0])
      assert.match(String(front.errors[0]?.message), /larger than maxBytes of interceptor buffered-body \(1048576\)/)
      await closed.promise
    })
  }

  test(`${name}: maxBytes counts to the byte, with a length and without`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const body = 'a'.repeat(Number(request.path.slice(1)))
      reply.send(request.method === 'POST' ? { headers: PLAIN, chunks: [body] } : { headers: PLAIN, body })
    })
    await using front = await run(edited(backend, undefined, { maxBytes: 1000 }))
    for (const method of ['GET', 'POST']) {
      const right = await get(`${front.url}/1000`, {}, method)
      assert.deepEqual([right.status, right.body.toString()], [200, 'A'.repeat(1000)])
      await front.nextRecord()
      assert.equal((await get(`${front.url}/1001`, {}, method)).status, 502)
      assert.equal((await front.nextRecord()).outcome, 'failed')
    }
  })

  test(`${name}: a length over maxBytes is refused before the body comes`, async () => {
    const closed = gate()
    await using backend = await mockBackend((_request, reply) => {
      reply.head({ headers: { ...PLAIN, 'Content-Length': `${2 * MIB}` } })
      reply.closed.then(() => closed.open())
    })
    await using front = await run(edited(backend))
    assert.equal((await get(front.url)).status, 502)
    await closed.promise
  })

  test(`${name}: contentTypes choose what is edited`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const type = request.header('x-type')
      reply.send({ headers: { ETag: '"1"', ...(type === undefined ? {} : { 'Content-Type': type }) }, body: 'abc' })
    })
    await using byDefault = await run(edited(backend))
    await using chosen = await run(
      edited(backend, undefined, { contentTypes: ['text/html', 'image/*', 'text/event-stream'] }),
    )
    for (const [type, ...meant] of [
      ['text/html', true, true],
      ['TEXT/HTML ; charset=utf-8', true, true],
      ['application/json; charset=utf-8', true, false],
      ['application/problem+json', true, false],
      ['application/xml', true, false],
      ['application/atom+xml', true, false],
      ['application/javascript', true, false],
      ['text/event-stream', false, true],
      ['image/png', false, true],
      ['application/octet-stream', false, false],
      ['application/x-ndjson', false, false],
      ['texthtml', false, false],
      [undefined, false, false],
    ] as const) {
      for (const [i, front] of [byDefault, chosen].entries()) {
        const { headers, body } = await get(front.url, type === undefined ? {} : { 'x-type': type })
        assert.deepEqual([body.toString(), headers.etag], meant[i] ? ['ABC', undefined] : ['abc', '"1"'], type)
      }
    }
  })

  test(`${name}: an unknown coding is an error, and the request asks for none`, async () => {
    await using backend = await mockBackend((request, reply) =>
      reply.send({ headers: { ...PLAIN, 'Content-Encoding': request.header('x-coding') as string }, body: 'abc' }),
    )
    await using front = await run(edited(backend))
    for (const coding of ['compress', 'gzip, gzip, gzip, gzip']) {
      assert.equal((await get(front.url, { 'x-coding': coding, 'accept-encoding': 'gzip, compress' })).status, 502)
      assert.equal((await backend.nextRequest()).header('accept-encoding'), 'gzip')
      assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_BAD_RESPONSE')
      const { message = '' } = front.errors.at(-1) ?? {}
      assert.ok(
        message.includes(`cannot decode Content-Encoding "${coding}": let the backend send gzip, br, def`),
        message,
      )
      assert.equal(message.includes('zstd'), HAS_ZSTD)
    }
    assert.equal(front.pending(), 0)
  })

  test(`${name}: parts of bodies, and empty ones, pass unchanged`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const status = Number(request.header('x-status'))
      const headers = { 'Content-Type': 'application/json', ...OF_OLD_BYTES }
      const coded = { ...headers, 'Content-Encoding': 'gzip' }
      if (request.path === '/chunked') reply.send({ status, headers: coded, chunks: [] })
      else reply.send({ status, headers, ...(status === 206 && { body: 'abc' }) })
    })
    await using front = await run(edited(backend, (body) => JSON.stringify(JSON.parse(body.toString()))))
    for (const [path, status] of [
      ['/', 200],
      ['/chunked', 200],
      ['/', 204],
      ['/', 206],
      ['/', 304],
    ] as const) {
      const response = await get(front.url + path, { 'x-status': `${status}` })
      assert.deepEqual([response.status, response.headers.etag], [status, '"1"'])
      assert.equal(response.body.toString(), status === 206 ? 'abc' : '')
    }
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: HEAD has the headers of GET, without a length`, async () => {
    const coded = encode('gzip', TEXT)
    const headers = { ...OF_OLD_BYTES, ...PLAIN, 'Content-Encoding': 'gzip', 'Content-Length': `${coded.length}` }
    await using backend = await mockBackend((request, reply) =>
      reply.send({ headers, ...(request.method === 'GET' && { body: coded }) }),
    )
    await using front = await run(edited(backend))
    const names = async (method: string) =>
      Object.keys((await get(front.url, {}, method)).headers)
        .filter((header) => !['connection', 'keep-alive', 'content-length'].includes(header))
        .sort()
    assert.deepEqual(await names('HEAD'), await names('GET'))
    assert.equal((await get(front.url, {}, 'HEAD')).headers['content-length'], undefined)
  })

  for (const [what, edit] of Object.entries({
    throws: () => {
      throw new Error('by design')
    },
    'throws something that is not an error': () => {
      throw null
    },
    rejects: async () => {
      await turn()
      throw new Error('by design')
    },
    'returns nothing': () => undefined,
    'returns an object': async () => ({}),
    'sets an invalid status': (_body: Buffer, response: { status: number }) => {
      response.status = 42
      return 'x'
    },
    'sets an invalid header': (_body: Buffer, { headers }: { headers: { set(name: string, value: string): void } }) => {
      headers.set('X', 'a\r\nb: c')
      return 'x'
    },
    'has a then that throws': () =>
      Object.defineProperty({}, 'then', {
        get() {
          throw new Error('by design')
        },
      }),
  })) {
    test(`${name}: an edit that ${what} is a clean 500`, async () => {
      const headers = { ...PLAIN, 'Content-Encoding': 'gzip' }
      await using backend = await mockBackend([
        { headers: PLAIN, body: 'abc' },
        { headers, body: encode('gzip', 'abc') },
      ])
      await using front = await run(edited(backend, edit as never))
      for (let i = 0; i < 2; i++) {
        assert.equal((await get(front.url)).status, 500)
        assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
      }
    })
  }

  test(`${name}: an edit that takes too long is late`, async () => {
    const clock = manualClock()
    const begun = gate()
    await using backend = await mockBackend({ headers: PLAIN, body: 'abc' })
    const edit = () => {
      begun.open()
      return new Promise<never>(() => {})
    }
    await using front = await run(edited(backend, edit, {}, { clock, timeouts: { intercept: 500 } }))
    const response = get(front.url)
    await begun.promise
    while (front.errors.length === 0) {
      await rounds()
      clock.advance(1000)
    }
    assert.equal((await response).status, 504)
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_INTERCEPT_TIMEOUT')
  })

  test(`${name}: a client that has gone meanwhile does not see the edit`, async () => {
    const begun = gate()
    const done = gate<string>()
    await using backend = await mockBackend({ headers: PLAIN, body: 'abc' })
    const edit = () => {
      begun.open()
      return done.promise
    }
    await using front = await run(edited(backend, edit))
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await begun.promise
    client.socket.resetAndDestroy()
    assert.equal((await front.nextRecord()).outcome, 'aborted')
    done.open('late')
    await rounds()
    assert.deepEqual(
      front.errors.map(({ code }) => code),
      ['ERR_PROXY_CLIENT_GONE'],
    )
  })

  test(`${name}: a body that the backend truncates is a clean 502`, async () => {
    await using backend = await mockBackend((request, reply) => {
      const length = request.path === '/length' ? { 'Content-Length': '100' } : {}
      reply.head({ headers: { ...PLAIN, ...length } })
      reply.chunk('some of it')
      setImmediate(() => reply.abort())
    })
    let calls = 0
    await using front = await run(edited(backend, () => `${calls++}`))
    for (const path of ['/length', '/chunked']) {
      assert.equal((await get(front.url + path)).status, 502)
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['failed', 'ERR_PROXY_TRUNCATED'])
    }
    assert.equal(calls, 0)
  })

  test(`${name}: an edit to nothing, trailers, and an HTTP/1.0 client`, async () => {
    await using backend = await mockBackend({ headers: PLAIN, body: 'abc', trailers: { 'X-Checked': 'yes' } })
    await using empty = await run(edited(backend, () => ''))
    const response = await get(empty.url)
    assert.deepEqual([response.status, response.headers['content-length'], response.body.length], [200, '0', 0])
    await using front = await run(edited(backend))
    const whole = await get(front.url)
    assert.deepEqual([whole.body.toString(), whole.trailers], ['ABC', {}])
    const old = await converse(front.port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    assert.match(old.text, /^content-length: 3\r$[\s\S]*\r\n\r\nABC$/im)
  })

  test(`${name}: upgrades and interim responses pass`, async () => {
    await using sockets = await echoBackend()
    await using upgrading = await run(edited(sockets))
    const socket = new WebSocket(`${upgrading.url.replace('http', 'ws')}/a`)
    await once(socket, 'open')
    socket.terminate()
    await using backend = await mockBackend((_request, reply) => {
      reply.informational(103, { Link: '</a.css>' })
      reply.send({ headers: PLAIN, body: 'abc' })
    })
    await using front = await run(edited(backend))
    const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>\r\n\r\nHTTP\/1\.1 200 OK\r\n/i)
  })

  test(`${name}: after another interceptor has ended the call alone it gets no edit`, async () => {
    const done = gate<string>()
    const begun = gate()
    await using backend = await mockBackend((request, reply) => reply.send({ headers: PLAIN, body: request.path }))
    const late: string[] = []
    const hedge = interceptor(async (next, exchange, request, body, sink) => {
      const first = new AbortController()
      next(exchange, { ...request, path: '/first', signal: first.signal }, body, {
        onInformational() {},
        onHead: () => void late.push('head'),
        onData: () => true,
        onFlush() {},
        onEnd() {},
        onUpgrade() {},
        onError: () => void late.push('error'),
      })
      await begun.promise
      first.abort()
      done.open('late')
      await turn()
      next(exchange, { ...request, path: '/second' }, body, sink)
    })
    const edit = (body: Buffer) => {
      if (`${body}` !== '/first') return body
      begun.open()
      return done.promise
    }
    await using front = await run(through(backend, [hedge, bufferedBody({ edit })]))
    assert.equal((await get(front.url)).body.toString(), '/second')
    assert.deepEqual(late, [])
  })
}

test('invalid options are refused', () => {
  const edit = (body: Buffer) => body
  for (const [options, message] of [
    [{}, 'buffered-body: edit is missing; give a function'],
    [{ edit, maxBytes: 0 }, 'buffered-body: maxBytes is 0; give a whole number from 1 on, such as 1048576'],
    [{ edit, maxBytes: 1.5 }, 'buffered-body: maxBytes is 1.5; give a whole number from 1 on, such as 1048576'],
    [
      { edit, contentTypes: 'text/html' },
      `buffered-body: contentTypes is "text/html"; give a list, such as ['text/*']`,
    ],
    [
      { edit, contentTypes: ['html'] },
      `buffered-body: a member of contentTypes is "html"; give a media type, such as 'text/html', 'text/*' or 'application/*+json'`,
    ],
    [
      { edit, contentTypes: ['*/html'] },
      `buffered-body: a member of contentTypes is "*/html"; give a media type, such as 'text/html', 'text/*' or 'application/*+json'`,
    ],
    [{ edit, maxbytes: 1 }, 'buffered-body: there is no option maxbytes; allowed: edit, maxBytes, contentTypes'],
  ] as const) {
    assert.throws(() => bufferedBody(options as never), new TypeError(message))
  }
})
