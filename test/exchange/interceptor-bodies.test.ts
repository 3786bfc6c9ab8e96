import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { BodySink, BodySource } from '../../src/index.ts'
import { respond } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { randomBytes } from '../support/bytes.ts'
import { type Handle, through } from '../support/interceptors.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, inHttp2, rounds } from '../support/running-proxy.ts'

/** Reads all of a body. */
function readAll(body: BodySource): Promise<Buffer> {
  const chunks: Buffer[] = []
  return new Promise((resolve) => {
    body.start({
      onBody: (chunk) => chunks.push(chunk) > 0,
      onBodyEnd: () => resolve(Buffer.concat(chunks)),
    })
  })
}

/** A body that is in memory. @param bytes what it says of its length. */
function wholeBody(content: Buffer, bytes = content.length): BodySource {
  return {
    bytes,
    expectsContinue: false,
    isReplayable: true,
    start(sink) {
      sink.onBody(content)
      sink.onBodyEnd(null)
    },
    resume() {},
    stop() {},
  }
}

/** The body in upper case. */
function upperCase(body: BodySource): BodySource {
  const around = (sink: BodySink): BodySink => ({
    onBody: (chunk) => sink.onBody(Buffer.from(chunk.toString('latin1').toUpperCase(), 'latin1')),
    onBodyEnd: (trailers) => sink.onBodyEnd(trailers),
  })
  return {
    bytes: body.bytes,
    expectsContinue: body.expectsContinue,
    isReplayable: body.isReplayable,
    start: (sink) => body.start(around(sink)),
    resume: () => body.resume(),
    stop: () => body.stop(),
  }
}

/** Waits before it sends the request on. */
const late: Handle = async (next, exchange, request, body, sink) => {
  await turn()
  await turn()
  next(exchange, request, body, sink)
}

/** A body that breaks its word, or another rule. */
const BAD_BODIES: Readonly<Record<string, () => unknown>> = {
  'is longer than it says': () => wholeBody(Buffer.from('GET /evil HTTP/1.1\r\n\r\n'), 3),
  'is shorter than it says': () => wholeBody(Buffer.from('abc'), 10),
  'has an invalid length': () => wholeBody(Buffer.from('abc'), 1.5),
  'has no start()': () => ({ bytes: 1 }),
  'delivers a string': () => wholeBody('abc' as never),
  'throws in start()': () => ({
    ...wholeBody(Buffer.from('abc')),
    start() {
      throw new Error('by design')
    },
  }),
  'rejects in start()': () => ({
    ...wholeBody(Buffer.from('abc')),
    start: () => Promise.reject(new Error('by design')),
  }),
  'has CR LF in a trailer': () => ({
    ...wholeBody(Buffer.from('abc'), -1),
    start: (sink: BodySink) => sink.onBodyEnd(['X', 'a\r\nb: c']),
  }),
}

for (const { name, run } of ALL_FRONTS) {
  for (const [kind, head, sent] of [
    ['announced', 'Content-Length: 5', 'hello'],
    ['chunked', 'Transfer-Encoding: chunked', '5\r\nhello\r\n0\r\n\r\n'],
  ] as const) {
    test(`${name}: a body that is ${kind} waits for an interceptor`, async () => {
      await using backend = await mockBackend()
      await using front = await run(through(backend, late))
      const client = rawClient(front.port)
      client.write(`POST /a HTTP/1.1\r\nHost: a\r\n${head}\r\n\r\n${sent}`)
      await client.until('POST /a')
      const request = await backend.nextRequest()
      assert.equal(request.bodyText, 'hello')
      assert.equal(request.header('transfer-encoding'), kind === 'chunked' ? 'chunked' : undefined)
      client.socket.destroy()
    })
  }

  test(`${name}: a body past limits.replayBytes waits for an interceptor`, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, late, { limits: { replayBytes: 1000 } }))
    const body = randomBytes(3_000_000)
    assert.equal((await fetch(front.url, { method: 'POST', body })).status, 200)
    assert.deepEqual((await backend.nextRequest()).bodyBytes, body)
    assert.equal((await front.nextRecord()).requestBytes, body.length)
  })

  test(`${name}: Expect: 100-continue waits for the backend behind an interceptor`, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, late))
    const client = rawClient(front.port)
    client.write('POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    await client.until('HTTP/1.1 100 Continue\r\n\r\n')
    client.write('hello')
    await client.until('POST /a')
    const request = await backend.nextRequest()
    assert.deepEqual([request.bodyText, request.expectsContinue], ['hello', true])
    client.socket.destroy()
  })

  test(`${name}: an interceptor refuses a body that the client has not sent`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, async (_next, _exchange, _request, _body, sink) => {
        await turn()
        respond(sink, { status: 403, body: 'no' })
      }),
    )
    const client = rawClient(front.port)
    client.write('POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    await client.ended
    assert.match(client.text, /^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*connection: close\r\n[\s\S]*\r\nno$/i)
    assert.equal((await front.nextRecord()).outcome, 'local')
  })

  test(`${name}: the connection goes on after an own response to a body that was not read`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, (_next, _exchange, request, _body, sink) =>
        respond(sink, { status: 200, body: `own ${request.path}` }),
      ),
    )
    const client = rawClient(front.port)
    client.write('POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
    await client.until('own /1')
    client.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('own /2')
    client.socket.destroy()
  })

  test(`${name}: an interceptor reads the body, and sends what it has read`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, async (next, exchange, request, body, sink) => {
        const content = await readAll(body as BodySource)
        const headers = [...request.headers, 'X-Length', `${content.length}`]
        next(exchange, { ...request, headers }, wholeBody(Buffer.concat([content, content])), sink)
      }),
    )
    for (const expect of ['', 'Expect: 100-continue\r\n']) {
      const client = rawClient(front.port)
      client.write(`POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n${expect}\r\n5\r\nhello\r\n0\r\n\r\n`)
      await client.until('POST /a')
      const request = await backend.nextRequest()
      assert.deepEqual([request.bodyText, request.header('x-length')], ['hellohello', '5'])
      assert.deepEqual([request.header('content-length'), request.header('expect')], ['10', undefined])
      client.socket.destroy()
    }
  })

  test(`${name}: a request without a body gets one from an interceptor`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, (next, exchange, request, _body, sink) =>
        next(exchange, { ...request, method: 'POST' }, wholeBody(Buffer.from('new')), sink),
      ),
    )
    assert.equal(await (await fetch(front.url)).text(), 'POST /')
    assert.equal((await backend.nextRequest()).bodyText, 'new')
  })

  test(`${name}: a request loses its body to an interceptor`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, (next, exchange, request, _body, sink) =>
        next(exchange, { ...request, method: 'GET' }, null, sink),
      ),
    )
    for (let i = 0; i < 2; i++) {
      const response = await fetch(front.url, { method: 'POST', body: 'unwanted' })
      assert.equal(await response.text(), 'GET /')
      assert.equal((await backend.nextRequest()).bodyText, '')
    }
  })

  test(`${name}: an interceptor wraps the body, which is sent with backpressure`, async () => {
    await using backend = await mockBackend()
    const content = 'abcdefgh'.repeat(250_000)
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) =>
        next(exchange, request, upperCase(body as BodySource), sink),
      ),
    )
    assert.equal((await fetch(front.url, { method: 'POST', body: content })).status, 200)
    assert.equal((await backend.nextRequest()).bodyText, content.toUpperCase())
  })

  for (const [what, make] of Object.entries(BAD_BODIES)) {
    test(`${name}: a request body that ${what} is ERR_PROXY_HOOK`, async () => {
      await using backend = await mockBackend((_request, _reply) => {})
      await using front = await run(
        through(backend, (next, exchange, request, _body, sink) => next(exchange, request, make() as never, sink)),
      )
      const response = await fetch(front.url, { method: 'POST', body: 'abc' })
      assert.equal(response.status, 500)
      assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
      assert.equal(front.pending(), 0)
      for (const request of backend.requests) assert.doesNotMatch(request.path, /evil/)
      assert.equal(front.errors[0]?.blamesBackend, false)
    })
  }

  test(`${name}: limits.maxBodyBytes holds while an interceptor reads`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(
        backend,
        async (next, exchange, request, body, sink) =>
          next(exchange, request, wholeBody(await readAll(body as BodySource)), sink),
        { limits: { maxBodyBytes: 1000 } },
      ),
    )
    const client = rawClient(front.port)
    client.write('POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
    client.write(`3e8\r\n${'a'.repeat(1000)}\r\n1\r\nb\r\n`)
    await client.until('HTTP/1.1 413')
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_BODY_TOO_LARGE')
    assert.equal(backend.requests.length, 0)
    client.socket.destroy()
  })

  test(`${name}: a slow upload is not the fault of the interceptor that reads it`, async () => {
    await using backend = await mockBackend()
    const clock = manualClock()
    const reading = gate()
    await using front = await run(
      through(
        backend,
        async (next, exchange, request, body, sink) => {
          const content = readAll(body as BodySource)
          reading.open()
          next(exchange, request, wholeBody(await content), sink)
        },
        { clock, timeouts: { intercept: 500 } },
      ),
    )
    const client = rawClient(front.port)
    client.write('POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab')
    await reading.promise
    clock.advance(1000)
    await rounds()
    clock.advance(1000)
    await client.until('HTTP/1.1 408')
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_TIMEOUT')
    client.socket.destroy()
  })

  test(`${name}: a backend that is silent after a body of an interceptor is late after timeouts.headers`, async () => {
    await using backend = await mockBackend(() => {})
    const clock = manualClock()
    await using front = await run(
      through(
        backend,
        (next, exchange, request, _body, sink) => next(exchange, request, wholeBody(Buffer.from('abc')), sink),
        { clock, timeouts: { headers: 1000, idle: 60_000 } },
      ),
    )
    const response = fetch(front.url, { method: 'POST', body: 'hello' })
    await (await backend.nextRequestHead()).body()
    clock.advance(2000)
    await rounds()
    clock.advance(2000)
    assert.equal((await response).status, 504)
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HEADERS_TIMEOUT')
  })

  test(`${name}: a body of an interceptor that never comes does not count against the backend`, {
    skip: inHttp2(name, "a gateway's answer needs real time"),
  }, async () => {
    await using backend = await mockBackend(() => {})
    const clock = manualClock()
    await using front = await run(
      through(
        backend,
        (next, exchange, request, _body, sink) =>
          next(exchange, request, { ...wholeBody(Buffer.alloc(0), -1), start() {} }, sink),
        { clock, timeouts: { idle: 1000 } },
      ),
    )
    const response = fetch(front.url)
    await backend.nextRequestHead()
    clock.advance(2000)
    await rounds()
    clock.advance(2000)
    assert.equal((await response).status, 504)
    assert.deepEqual(
      front.errors.map(({ code, blamesBackend }) => [code, blamesBackend]),
      [['ERR_PROXY_IDLE_TIMEOUT', false]],
    )
  })
}
