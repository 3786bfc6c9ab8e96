import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BodySink, type BodySource, ownHeaders, requestHook, wrapSink } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { MIB } from '../support/bytes.ts'
import { interceptor, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, inHttp2, rounds, runProxy } from '../support/running-proxy.ts'

const own = ownHeaders(['X-User'])
/** An interceptor that writes `X-User`, and nobody else. */
const identity = interceptor((next, exchange, request, body, sink) => {
  const headers = own.replace(request.headers, ['X-User', 'alice'])
  next(exchange, { ...request, headers }, own.clean(body), sink)
})

test('headers of these names are replaced, look-alikes included', () => {
  const own = ownHeaders(['X-User', 'x-groups'])
  const headers = ['Host', 'a', 'x-user', 'eve', 'X_User', 'eve', 'X-USER', 'eve', 'x.groups', 'all', 'X-Users', '1']
  assert.deepEqual(own.replace(headers, ['X-User', 'alice']), ['Host', 'a', 'X-Users', '1', 'X-User', 'alice'])
  assert.deepEqual(own.replace(headers), ['Host', 'a', 'X-Users', '1'])
  assert.equal(headers.length, 12)
})

test('names that an interceptor cannot write are refused at once', () => {
  assert.throws(
    () => ownHeaders(['Content-Length']),
    /ownHeaders: a member of names is "Content-Length"; give another header: the proxy itself writes this one/,
  )
  assert.throws(() => ownHeaders(['no name']), /ownHeaders: a member of names is "no name"; give the name of a header/)
  assert.throws(() => ownHeaders('X-User' as never), /ownHeaders: names is "X-User"; give a list of strings/)
})

test('a cleaned body is the body, but for its trailers', () => {
  const calls: unknown[] = []
  let reader: BodySink | null = null
  const body = (bytes: number): BodySource => ({
    bytes,
    expectsContinue: true,
    isReplayable: false,
    start(sink) {
      reader = sink
    },
    resume: () => calls.push('resume'),
    stop: () => calls.push('stop'),
    whenArrived: (call) => calls.push(call),
  })
  // A body of known length has none.
  const known = body(5)
  assert.equal(own.clean(known), known)
  assert.equal(own.clean(null), null)
  const given = body(-1)
  const clean = own.clean(given) as BodySource
  assert.equal(own.clean(given), clean)
  assert.deepEqual([clean.bytes, clean.expectsContinue, clean.isReplayable], [-1, true, false])
  const call = (): void => {}
  clean.whenArrived?.(call)
  clean.resume()
  clean.stop()
  assert.deepEqual(calls, [call, 'resume', 'stop'])
  for (const [trailers, left] of [
    [null, null],
    [
      ['X-User', 'eve', 'X-Sum', '5'],
      ['X-Sum', '5'],
    ],
  ] as const) {
    const got: unknown[] = []
    clean.start({ onBody: (chunk) => got.push(chunk) === 7, onBodyEnd: (end) => got.push(end) })
    const chunk = Buffer.from('x')
    assert.equal((reader as BodySink | null)?.onBody(chunk), false)
    ;(reader as BodySink | null)?.onBodyEnd(trailers === null ? null : [...trailers])
    assert.deepEqual(got, [chunk, left])
  }
})

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: a client cannot send the header as a trailer`, {
    skip: inHttp2(name, 'names are in lower case'),
  }, async () => {
    await using backend = await mockBackend()
    await using front = await run(through(backend, [identity]))
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nX-User: eve\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n'
    await converse(front.port, `${head}5\r\nhello\r\n0\r\nX-User: eve\r\nx_user: eve\r\nX-Sum: 5\r\n\r\n`)
    const request = await backend.nextRequest()
    assert.equal(request.bodyText, 'hello')
    assert.deepEqual(request.trailers, ['X-Sum', '5'])
    assert.equal(request.header('x-user'), 'alice')
  })

  test(`${name}: a cleaned body is retried, and waits for 100 Continue, as any other`, async () => {
    await using backend = await mockBackend([
      (_request, reply) => reply.reset(),
      async (request, reply) => {
        assert.ok(request.expectsContinue)
        reply.continue()
        const body = await request.body()
        reply.send({ body })
      },
    ])
    await using front = await run({ ...through(backend, [identity]), retry: { maxRetries: 1 } })
    const client = rawClient(front.port)
    client.write('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n')
    await client.until('HTTP/1.1 100 Continue\r\n\r\n')
    client.write('5\r\nhello\r\n0\r\n\r\n')
    await client.until('hello')
    client.socket.destroy()
    assert.equal(backend.requests.length, 2)
  })

  test(`${name}: a cleaned body has one reader, however often it is sent`, async () => {
    await using backend = await mockBackend(async (request, reply) => reply.send({ body: await request.body() }))
    const failures: unknown[] = []
    let call: (() => void) | undefined
    const twice = interceptor((next, exchange, request, body, sink) => {
      next(exchange, request, body, wrapSink(sink, { onError: ({ code }) => failures.push(code) }))
      call = () => next(exchange, request, body, sink)
    }, 'twice')
    await using front = await run(through(backend, [twice, identity]))
    const client = rawClient(front.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst \r\n')
    await backend.nextRequestHead()
    call?.()
    await backend.nextRequestHead()
    client.write('4\r\nrest\r\n0\r\n\r\n')
    await client.until('first rest')
    assert.deepEqual(failures, ['ERR_PROXY_BODY_CONSUMED'])
    client.socket.destroy()
  })

  test(`${name}: a cleaned body is sent at the backend's pace`, async () => {
    const taken = gate()
    await using backend = await mockBackend(async (request, reply) => {
      request.pause()
      await taken.promise
      request.resume()
      reply.send({ body: String((await request.body()).length) })
    })
    await using front = await run(through(backend, [identity]))
    const piece = Buffer.alloc(64 * 1024)
    let sent = 0
    const total = 64 * MIB
    const body = new ReadableStream({
      pull(stream) {
        if (sent === total) return stream.close()
        sent += piece.length
        stream.enqueue(piece)
      },
    })
    const response = fetch(front.url, { method: 'POST', body, duplex: 'half' } as RequestInit)
    for (let last = -1, same = 0; same < 20; last = sent) {
      await rounds(50)
      same = sent === last && sent > 0 ? same + 1 : 0
    }
    assert.ok(sent < 32 * MIB, `${sent} bytes were taken`)
    taken.open()
    assert.equal(await (await response).text(), String(total))
  })
}

test('a header that a hook has set is replaced, too', async () => {
  await using backend = await mockBackend()
  await using front = await runProxy(
    through(backend, [requestHook((request) => request.headers.set('X-User', 'hook')), identity]),
  )
  await (await fetch(front.url)).text()
  const { headers } = await backend.nextRequest()
  assert.deepEqual(
    headers.filter((_, i) => headers[i - 1] === 'X-User'),
    ['alice'],
  )
})
