import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type ResponseSink, respond, wrapSink } from '../../src/index.ts'
import { manualClock, mockBackend } from '../../src/testing/index.ts'
import { type Handle, interceptor, NO_FLOW, through } from '../support/interceptors.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, FRONTS, gate, HTTP2_COMPAT, rounds } from '../support/running-proxy.ts'

const OK = { status: 200, reason: '', headers: [] as string[], bodyBytes: -1 }

/** Breaks the response before any of it is sent: the client gets 500. */
const BEFORE: Readonly<Record<string, Handle>> = {
  'throws in its handler': () => {
    throw new Error('by design')
  },
  'throws something that is not an error': () => {
    throw null
  },
  rejects: async () => {
    await turn()
    throw new Error('by design')
  },
  'rejects after it has called next': async (next, exchange, request, body, sink) => {
    next(exchange, request, body, sink)
    throw new Error('by design')
  },
  'calls next with another exchange': (next, exchange, request, body, sink) =>
    next({ ...exchange } as never, request, body, sink),
  'calls next without a sink': (next, exchange, request, body) => next(exchange, request, body, undefined as never),
  'sends no method': (next, exchange, request, body, sink) => next(exchange, { ...request, method: 'A B' }, body, sink),
  'sends CONNECT': (next, exchange, request, body, sink) =>
    next(exchange, { ...request, method: 'CONNECT' }, body, sink),
  'sends no path': (next, exchange, request, body, sink) => next(exchange, { ...request, path: '/a b' }, body, sink),
  'sends CR LF in a header': (next, exchange, request, body, sink) =>
    next(exchange, { ...request, headers: ['X', 'a\r\nb: c'] }, body, sink),
  'sends a Content-Length': (next, exchange, request, body, sink) =>
    next(exchange, { ...request, headers: [...request.headers, 'Content-Length', '5'] }, body, sink),
  'sends a Transfer-Encoding': (next, exchange, request, body, sink) =>
    next(exchange, { ...request, headers: [...request.headers, 'Transfer-Encoding', 'chunked'] }, body, sink),
  'calls next in a timer, with an invalid method': (next, exchange, request, body, sink) => {
    setImmediate(() => next(exchange, { ...request, method: '' }, body, sink))
  },
  'responds in a timer, with an invalid header': (_next, _exchange, _request, _body, sink) => {
    setImmediate(() => sink.onHead({ ...OK, headers: ['X', 'a\r\nb: c'] }, NO_FLOW))
  },
  'responds with headers that are no list': (_next, _exchange, _request, _body, sink) =>
    sink.onHead({ ...OK, headers: { a: 'b' } as never }, NO_FLOW),
  'responds with status 99': (_next, _exchange, _request, _body, sink) => respond(sink, { status: 99 }),
  'responds with status 1000': (_next, _exchange, _request, _body, sink) => respond(sink, { status: 1000 }),
  'responds with status 101': (_next, _exchange, _request, _body, sink) => respond(sink, { status: 101 }),
  'responds with CR LF in the reason': (_next, _exchange, _request, _body, sink) =>
    sink.onHead({ ...OK, reason: 'a\r\nb: c' }, NO_FLOW),
  'responds with an invalid length': (_next, _exchange, _request, _body, sink) =>
    sink.onHead({ ...OK, bodyBytes: Number.NaN }, NO_FLOW),
  'sends data before a head': (_next, _exchange, _request, _body, sink) => void sink.onData(Buffer.from('x')),
  'ends without a head': (_next, _exchange, _request, _body, sink) => sink.onEnd(null),
  'sends a final status as an interim one': (_next, _exchange, _request, _body, sink) => sink.onInformational(OK),
  'sends 101 as an interim one': (_next, _exchange, _request, _body, sink) =>
    sink.onInformational({ ...OK, status: 101 }),
  'upgrades an ordinary request': (_next, _exchange, _request, _body, sink) =>
    sink.onUpgrade({ ...OK, status: 101 }, new PassThrough(), Buffer.alloc(0)),
  'throws in onHead': (next, exchange, request, body, sink) => next(exchange, request, body, throwing(sink, 'onHead')),
  'rejects in onHead': (next, exchange, request, body, sink) =>
    next(exchange, request, body, wrapSink(sink, { onHead: () => Promise.reject(new Error('by design')) as never })),
}

/** Breaks the response in the middle: the client sees it truncated. */
const AFTER: Readonly<Record<string, Handle>> = {
  'sends less than it announced': (_next, _exchange, _request, _body, sink) => {
    sink.onHead({ ...OK, bodyBytes: 10 }, NO_FLOW)
    sink.onData(Buffer.from('short'))
    sink.onEnd(null)
  },
  'sends more than it announced': (_next, _exchange, _request, _body, sink) => {
    sink.onHead({ ...OK, bodyBytes: 3 }, NO_FLOW)
    sink.onData(Buffer.from('long'))
  },
  'sends a second head': (_next, _exchange, _request, _body, sink) => {
    sink.onHead(OK, NO_FLOW)
    sink.onHead(OK, NO_FLOW)
  },
  'sends a string': (_next, _exchange, _request, _body, sink) => {
    sink.onHead(OK, NO_FLOW)
    sink.onData('text' as never)
  },
  'sends CR LF in a trailer': (_next, _exchange, _request, _body, sink) => {
    sink.onHead(OK, NO_FLOW)
    sink.onEnd(['X', 'a\r\nb: c'])
  },
  'throws in onData': (next, exchange, request, body, sink) => next(exchange, request, body, throwing(sink, 'onData')),
  'rejects in onData': (next, exchange, request, body, sink) =>
    next(exchange, request, body, wrapSink(sink, { onData: () => Promise.reject(new Error('by design')) as never })),
  'throws in onEnd': (next, exchange, request, body, sink) => next(exchange, request, body, throwing(sink, 'onEnd')),
}

function throwing(sink: ResponseSink, method: keyof ResponseSink): ResponseSink {
  return wrapSink(sink, {
    [method]: () => {
      throw new Error('by design')
    },
  })
}

for (const { name, run, isOurs } of [...ALL_FRONTS, HTTP2_COMPAT]) {
  for (const [what, handle] of Object.entries(BEFORE)) {
    test(`${name}: an interceptor that ${what} is ERR_PROXY_HOOK`, async () => {
      await using backend = await mockBackend()
      await using front = await run(through(backend, handle))
      const response = await fetch(front.url)
      assert.equal(response.status, 500)
      assert.equal(await response.text(), '500 Internal Server Error (ERR_PROXY_HOOK)\n')
      const record = await front.nextRecord()
      assert.equal(record.errorCode, 'ERR_PROXY_HOOK')
      assert.deepEqual(
        front.errors.map(({ code, phase, blamesBackend }) => [code, phase, blamesBackend]),
        [['ERR_PROXY_HOOK', 'intercept', false]],
      )
      assert.equal(front.pending(), 0)
      assert.deepEqual(backend.faults, [])
    })
  }

  for (const [what, handle] of Object.entries(AFTER)) {
    test(`${name}: an interceptor that ${what} truncates the response`, async () => {
      await using backend = await mockBackend({ chunks: ['a', 'b'] })
      await using front = await run(through(backend, handle))
      await assert.rejects(async () => (await fetch(front.url)).text())
      const record = await front.nextRecord()
      assert.deepEqual([record.outcome, record.errorCode], ['truncated', 'ERR_PROXY_HOOK'])
      assert.equal(front.pending(), 0)
    })
  }

  test(`${name}: a sink that throws in onError is ERR_PROXY_HOOK`, async () => {
    await using backend = await mockBackend((_request, reply) => reply.reset())
    const sinks: Handle = (next, exchange, request, body, sink) =>
      next(exchange, request, body, throwing(sink, 'onError'))
    await using front = await run(through(backend, sinks))
    assert.equal((await fetch(front.url)).status, 500)
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_HOOK')
  })

  test(`${name}: a sink of another interceptor that throws in a timer is ERR_PROXY_HOOK`, async () => {
    await using backend = await mockBackend()
    const outer = interceptor((next, exchange, request, body, sink) =>
      next(exchange, request, body, throwing(sink, 'onHead')),
    )
    const inner = interceptor((_next, _exchange, _request, _body, sink) => {
      setImmediate(() => respond(sink, { status: 200 }))
    })
    await using front = await run(through(backend, [outer, inner]))
    assert.equal((await fetch(front.url)).status, 500)
  })

  test(`${name}: responding twice changes nothing`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        respond(sink, { status: 200, body: 'first' })
        respond(sink, { status: 500, body: 'second' })
        next(exchange, request, body, sink)
      }),
    )
    for (let i = 0; i < 2; i++) {
      const response = await fetch(front.url)
      assert.deepEqual([response.status, await response.text()], [200, 'first'])
    }
    await front.nextRecord()
    await rounds()
    assert.deepEqual([front.errors, front.pending()], [[], 0])
  })

  test(`${name}: a sink has no effect after its exchange`, async () => {
    await using backend = await mockBackend()
    const sinks: ResponseSink[] = []
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        if (sinks.push(sink) === 1) return respond(sink, { status: 200, body: 'one' })
        // Of an exchange that has ended.
        respond(sinks[0] as ResponseSink, { status: 400, body: 'late' })
        sinks[0]?.onData(Buffer.from('late'))
        sinks[0]?.onInformational({ ...OK, status: 103 })
        next(exchange, request, body, sink)
      }),
    )
    const client = rawClient(front.port)
    client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('one')
    await front.nextRecord()
    client.write('GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await client.ended
    assert.match(client.text, /GET \/2$/)
    assert.doesNotMatch(client.text, /late|103/)
    assert.equal((await front.nextRecord()).outcome, 'answered')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a flow has no effect after its attempt`, async () => {
    await using backend = await mockBackend()
    let resume = (): void => {}
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        const onHead: typeof sink.onHead = (head, flow) => {
          resume()
          resume = () => flow.resume()
          sink.onHead(head, flow)
        }
        next(exchange, request, body, wrapSink(sink, { onHead }))
      }),
    )
    for (const path of ['/1', '/2', '/3']) assert.equal(await (await fetch(front.url + path)).text(), `GET ${path}`)
  })

  test(`${name}: an interceptor that does nothing is late after timeouts.intercept`, async () => {
    await using backend = await mockBackend()
    const clock = manualClock()
    const called = gate()
    await using front = await run(through(backend, () => called.open(), { clock, timeouts: { intercept: 500 } }))
    const response = fetch(front.url)
    await called.promise
    clock.advance(1000)
    await rounds()
    clock.advance(1000)
    assert.equal((await response).status, 504)
    assert.equal(await (await response).text(), '504 Gateway Timeout (ERR_PROXY_INTERCEPT_TIMEOUT)\n')
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.errorCode], ['local', 'ERR_PROXY_INTERCEPT_TIMEOUT'])
    assert.equal(front.errors[0]?.phase, 'intercept')
  })

  test(`${name}: an interceptor that keeps the end of a response is late after timeouts.idle`, async () => {
    await using backend = await mockBackend({ chunks: ['a', 'b'] })
    const clock = manualClock()
    const ended = gate()
    const options = { clock, timeouts: { intercept: 500, idle: 20_000 } }
    await using front = await run(
      through(
        backend,
        (next, exchange, request, body, sink) =>
          next(exchange, request, body, wrapSink(sink, { onEnd: () => ended.open() })),
        options,
      ),
    )
    const text = (await fetch(front.url)).text()
    text.catch(() => {})
    await ended.promise
    clock.advance(19_000)
    await rounds()
    assert.deepEqual(front.errors, [])
    clock.advance(2000)
    await rounds()
    clock.advance(2000)
    await assert.rejects(text)
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_INTERCEPT_TIMEOUT')
  })

  test(`${name}: timeouts.total holds while an interceptor waits`, async () => {
    await using backend = await mockBackend()
    const clock = manualClock()
    const called = gate()
    const options = { clock, timeouts: { intercept: 0, total: 5000 } }
    await using front = await run(through(backend, () => called.open(), options))
    const response = fetch(front.url)
    await called.promise
    clock.advance(6000)
    await rounds()
    clock.advance(6000)
    assert.equal((await response).status, 504)
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_TOTAL_TIMEOUT')
  })

  test(`${name}: a client that goes while an interceptor waits aborts exchange.signal`, async () => {
    await using backend = await mockBackend()
    const called = gate()
    const aborted = gate()
    const late = gate()
    await using front = await run(
      through(backend, async (next, exchange, request, body, sink) => {
        exchange.signal.addEventListener('abort', () => aborted.open())
        called.open()
        await late.promise
        next(exchange, request, body, sink)
        exchange.signal.throwIfAborted()
      }),
    )
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await called.promise
    client.socket.resetAndDestroy()
    await aborted.promise
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.status, record.errorCode], ['aborted', 499, 'ERR_PROXY_CLIENT_GONE'])
    late.open()
    await rounds()
    assert.deepEqual([front.pending(), backend.requests.length, front.errors.length], [0, 0, 1])
  })

  test(`${name}: close() waits for an interceptor no longer than drainTimeoutMs`, async () => {
    await using backend = await mockBackend()
    const called = gate()
    let records = 0
    await using front = await run(
      through(backend, async (next, exchange, request, body, sink) => {
        called.open()
        await new Promise((resolve) => exchange.signal.addEventListener('abort', resolve))
        next(exchange, request, body, sink)
      }),
    )
    front.proxy.on('finish', () => records++)
    const response = fetch(front.url).then(
      (one) => one.status,
      () => 'closed',
    )
    await called.promise
    await front.proxy.close()
    // Our own listener closes its connections at the same time.
    const status = await response
    assert.ok(status === 503 || (isOurs && status === 'closed'), `${status}`)
    await rounds()
    assert.deepEqual([records, front.pending(), backend.requests.length], [1, 0, 0])
  })

  test(`${name}: close() waits for an interceptor that sends the request on in time`, async () => {
    await using backend = await mockBackend()
    const called = gate()
    const go = gate()
    const handle: Handle = async (next, exchange, request, body, sink) => {
      called.open()
      await go.promise
      next(exchange, request, body, sink)
    }
    await using front = await run(through(backend, handle, { drainTimeoutMs: 10_000 }))
    const response = fetch(front.url)
    await called.promise
    const closed = front.proxy.close()
    go.open()
    assert.equal(await (await response).text(), 'GET /')
    await closed
  })
}

test('wrap() that returns no function is refused when the proxy is made', async () => {
  await using backend = await mockBackend()
  const options = through(backend, [{ name: 'wrong', wrap: () => undefined as never }])
  await assert.rejects(async () => FRONTS[0]?.run(options), /interceptor wrong/)
})
