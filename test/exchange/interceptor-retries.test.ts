import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstAvailable, type Handler, type ResponseSink, respond, wrapSink } from '../../src/index.ts'
import { deadPort, mockBackend, neverAnswer } from '../../src/testing/index.ts'
import { randomBytes } from '../support/bytes.ts'
import { type Handle, through } from '../support/interceptors.ts'
import { ALL_FRONTS, gate, rounds } from '../support/running-proxy.ts'

/** Sends the request again, once, after 503. */
const retryOn503: Handle = (next, exchange, request, body, sink) => {
  const first = new AbortController()
  const onHead: ResponseSink['onHead'] = (head, flow) => {
    if (head.status !== 503) return sink.onHead(head, flow)
    first.abort()
    next(exchange, request, body, sink)
  }
  next(exchange, { ...request, signal: first.signal }, body, wrapSink(sink, { onHead }))
}

/** Sends the request again, once, after an error. */
const retryOnError: Handle = (next, exchange, request, body, sink) => {
  const onError = (): void => next(exchange, request, body, sink)
  next(exchange, request, body, wrapSink(sink, { onError }))
}

/** Passes on the response of the call of `next` that responds first, and cancels the others. */
function race(count: number): Handle {
  return (next, exchange, request, body, sink) => {
    const calls = Array.from({ length: count }, () => new AbortController())
    for (const [i, call] of calls.entries()) {
      const onHead: ResponseSink['onHead'] = (head, flow) => {
        for (const other of calls) if (other !== call) other.abort()
        sink.onHead(head, flow)
      }
      const headers = [...request.headers, 'X-Call', `${i}`]
      next(exchange, { ...request, headers, signal: call.signal }, body, wrapSink(sink, { onHead }))
    }
  }
}

for (const { name, run } of ALL_FRONTS) {
  for (const [kind, body] of [
    ['no body', undefined],
    ['a body', 'the body'],
    ['a large body', randomBytes(50_000)],
  ] as const) {
    test(`${name}: an interceptor retries after 503, with ${kind}`, async () => {
      await using backend = await mockBackend([{ status: 503, body: 'busy' }, { body: 'fine' }])
      await using front = await run(through(backend, retryOn503))
      const response = await fetch(front.url, { method: 'POST', ...(body !== undefined && { body }) })
      assert.deepEqual([response.status, await response.text()], [200, 'fine'])
      const bodies = [await backend.nextRequest(), await backend.nextRequest()].map(({ bodyBytes }) => bodyBytes)
      for (const sent of bodies) assert.deepEqual(sent, Buffer.from(body ?? ''))
      const record = await front.nextRecord()
      assert.deepEqual([record.attempts, record.status, record.outcome], [2, 200, 'answered'])
      assert.equal(front.pending(), 0)
      assert.deepEqual(front.errors, [])
    })

    test(`${name}: an interceptor retries after a reset, with ${kind}`, async () => {
      await using backend = await mockBackend([
        async (request, reply) => {
          await request.body()
          reply.reset()
        },
        { body: 'fine' },
      ])
      await using front = await run(through(backend, retryOnError))
      const response = await fetch(front.url, { method: 'POST', ...(body !== undefined && { body }) })
      assert.deepEqual([response.status, await response.text()], [200, 'fine'])
      assert.deepEqual((await backend.nextRequest()).bodyBytes, Buffer.from(body ?? ''))
      assert.deepEqual((await front.nextRecord()).attempts, 2)
      assert.equal(front.pending(), 0)
    })
  }

  test(`${name}: an interceptor responds while a backend is asked`, async () => {
    const closed = gate()
    await using backend = await mockBackend((_request, reply) => {
      reply.closed.then(() => closed.open())
    })
    let respondNow = (): void => {}
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        respondNow = () => respond(sink, { status: 504, body: 'too slow' })
        next(exchange, request, body, sink)
      }),
    )
    const response = fetch(front.url)
    await backend.nextRequestHead()
    respondNow()
    assert.equal(await (await response).text(), 'too slow')
    await closed.promise
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.status, record.errorCode], ['answered', 504, null])
    assert.equal(front.pending(), 0)
  })

  test(`${name}: an interceptor responds in place of our own error`, async () => {
    await using backend = await mockBackend((_request, reply) => reply.reset())
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        const onError: ResponseSink['onError'] = ({ code }) => respond(sink, { status: 502, body: `sorry: ${code}` })
        next(exchange, request, body, wrapSink(sink, { onError }))
      }),
    )
    const response = await fetch(front.url, { method: 'POST' })
    assert.deepEqual([response.status, await response.text()], [502, 'sorry: ERR_PROXY_RESET'])
    const record = await front.nextRecord()
    assert.deepEqual([record.outcome, record.status, record.attempts], ['failed', 502, 1])
    assert.equal(record.errorCode, 'ERR_PROXY_RESET')
  })

  test(`${name}: an interceptor retries after a refused connection`, async () => {
    await using backend = await mockBackend()
    const { url } = await deadPort()
    const options = {
      backends: [url, backend.url],
      balancer: firstAvailable(),
      healthCheck: { consecutiveFailures: 1 },
    }
    const { target: _, ...rest } = through(backend, retryOnError)
    await using front = await run({ ...rest, ...options })
    const body = randomBytes(200_000)
    assert.equal((await fetch(front.url, { method: 'POST', body })).status, 200)
    assert.deepEqual((await backend.nextRequest()).bodyBytes, body)
  })

  for (const handle of [retryOn503, retryOnError]) {
    test(`${name}: a body that is not kept cannot be sent again (${handle.name})`, async () => {
      await using backend = await mockBackend([
        async (request, reply) => {
          await request.body()
          if (handle === retryOn503) reply.send({ status: 503 })
          else reply.reset()
        },
        {},
      ])
      await using front = await run(through(backend, handle, { limits: { replayBytes: 1000 } }))
      const response = await fetch(front.url, { method: 'POST', body: randomBytes(5000) })
      assert.equal(response.status, 500)
      assert.equal(await response.text(), '500 Internal Server Error (ERR_PROXY_BODY_CONSUMED)\n')
      const record = await front.nextRecord()
      assert.deepEqual([record.errorCode, record.outcome], ['ERR_PROXY_BODY_CONSUMED', 'failed'])
      assert.equal(front.errors[0]?.blamesBackend, false)
      assert.equal(front.pending(), 0)
    })
  }

  test(`${name}: a body that still comes is sent from its start after an early 503`, async () => {
    const received = gate()
    await using backend = await mockBackend([
      (_request, reply) => {
        reply.send({ status: 503 })
        received.open()
      },
      { body: 'fine' },
    ])
    await using front = await run(through(backend, retryOn503))
    let rest: ReadableStreamDefaultController | undefined
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('first '))
        rest = controller
      },
    })
    const response = fetch(front.url, { method: 'POST', body, duplex: 'half' } as RequestInit)
    await received.promise
    await rounds()
    rest?.enqueue(Buffer.from('rest'))
    rest?.close()
    assert.equal(await (await response).text(), 'fine')
    assert.equal((await backend.nextRequest()).bodyText, 'first rest')
    assert.equal(front.pending(), 0)
  })

  test(`${name}: of two calls of next the first head wins, and the other is cancelled`, async () => {
    const lost = gate()
    await using backend = await mockBackend((request, reply) => {
      if (request.header('x-call') === '1') return reply.send({ body: 'second' })
      reply.closed.then(() => lost.open())
    })
    await using front = await run(through(backend, race(2)))
    const ends: unknown[] = []
    front.proxy.on('attempt', (_exchange, { id }) => ends.push(id))
    const response = await fetch(front.url)
    assert.deepEqual([response.status, await response.text()], [200, 'second'])
    await lost.promise
    const record = await front.nextRecord()
    assert.deepEqual([record.attempts, record.outcome, record.errorCode], [2, 'answered', null])
    assert.equal(ends.length, 2)
    assert.equal(front.pending(), 0)
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: a loser that nobody cancels ends with its exchange, and is no evidence`, async () => {
    const lost = gate()
    const outcomes: string[] = []
    await using backend = await mockBackend((request, reply) => {
      if (request.header('x-call') === '1') return reply.send({ body: 'second' })
      reply.closed.then(() => lost.open())
    })
    const handle: Handle = (next, exchange, request, body, sink) => {
      for (const call of ['0', '1']) {
        const headers = [...request.headers, 'X-Call', call]
        next(exchange, { ...request, headers }, body, sink)
      }
    }
    const balancer = {
      ...firstAvailable(),
      onEnd: (_backend: unknown, { kind }: { kind: string }) => void outcomes.push(kind),
    }
    await using front = await run(through(backend, handle, { balancer }))
    assert.equal(await (await fetch(front.url)).text(), 'second')
    await lost.promise
    await front.nextRecord()
    assert.deepEqual(outcomes, ['answered', 'aborted'])
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a small body is sent by both of two calls`, async () => {
    await using backend = await mockBackend(async (request, reply) => {
      const body = await request.body()
      if (request.header('x-call') === '1') reply.send({ body })
    })
    const second = gate()
    let call: (() => void) | undefined
    const handle: Handle = (next, exchange, request, body, sink) => {
      const send = (index: string): void => {
        next(exchange, { ...request, headers: [...request.headers, 'X-Call', index] }, body, sink)
      }
      send('0')
      call = () => send('1')
      second.open()
    }
    await using front = await run(through(backend, handle))
    const response = fetch(front.url, { method: 'POST', body: 'small' })
    await second.promise
    await (await backend.nextRequestHead()).body()
    call?.()
    assert.equal(await (await response).text(), 'small')
    await front.nextRecord()
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a body that still comes goes to the later call, and the earlier one fails at once`, async () => {
    await using backend = await mockBackend(async (request, reply) => {
      const body = await request.body()
      reply.send({ body })
    })
    const failures: unknown[] = []
    let call: (() => void) | undefined
    const handle: Handle = (next, exchange, request, body, sink) => {
      next(
        exchange,
        request,
        body,
        wrapSink(sink, { onError: ({ code, blamesBackend }) => failures.push(code, blamesBackend) }),
      )
      call = () => next(exchange, request, body, sink)
    }
    await using front = await run(through(backend, handle))
    let rest: ReadableStreamDefaultController | undefined
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('first '))
        rest = controller
      },
    })
    const response = fetch(front.url, { method: 'POST', body, duplex: 'half' } as RequestInit)
    await backend.nextRequestHead()
    call?.()
    await backend.nextRequestHead()
    rest?.enqueue(Buffer.from('rest'))
    rest?.close()
    assert.equal(await (await response).text(), 'first rest')
    assert.deepEqual(failures, ['ERR_PROXY_BODY_CONSUMED', false])
    await front.nextRecord()
    assert.equal(front.pending(), 0)
  })

  test(`${name}: a call of next whose signal is aborted sends nothing`, async () => {
    await using backend = await mockBackend()
    const handle: Handle = (next, exchange, request, body, sink) => {
      next(exchange, { ...request, signal: AbortSignal.abort() }, body, sink)
      next(exchange, request, body, sink)
    }
    await using front = await run(through(backend, handle))
    assert.equal(await (await fetch(front.url)).text(), 'GET /')
    await front.nextRecord()
    assert.deepEqual([backend.requests.length, front.pending()], [1, 0])
  })

  test(`${name}: a call of next that is aborted by a listener for 'retry' is not sent again`, async () => {
    await using backend = await mockBackend([(_request, reply) => reply.reset(), { body: 'fine' }])
    const first = new AbortController()
    const handle: Handle = (next, exchange, request, body, sink) => {
      first.signal.addEventListener('abort', () => next(exchange, request, body, sink), { once: true })
      next(exchange, { ...request, signal: first.signal }, body, sink)
    }
    await using front = await run(through(backend, handle, { retry: {} }))
    front.proxy.on('retry', () => first.abort())
    assert.equal(await (await fetch(front.url)).text(), 'fine')
    await front.nextRecord()
    assert.deepEqual([backend.requests.length, front.pending()], [2, 0])
  })

  test(`${name}: a signal that lives on keeps no exchange`, async () => {
    await using backend = await mockBackend()
    const { signal } = new AbortController()
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => next(exchange, { ...request, signal }, body, sink)),
    )
    for (let i = 0; i < 3; i++) await (await fetch(front.url)).text()
    assert.equal(listeners, 0)
  })

  test(`${name}: a GET that an interceptor has made a POST of is not sent twice`, async () => {
    await using backend = await mockBackend((_request, reply) => reply.reset())
    const asPost = (next: Handler, ...[exchange, request, body, sink]: Parameters<Handler>): void =>
      next(exchange, { ...request, method: 'POST' }, body, sink)
    await using front = await run({ ...through(backend, asPost), retry: { maxRetries: 3 } })
    assert.equal((await fetch(front.url)).status, 502)
    assert.equal(backend.requests.length, 1)
  })

  test(`${name}: close() ends a retry of an interceptor that never stops`, async () => {
    await using backend = await mockBackend(neverAnswer)
    const forever: Handle = (next, exchange, request, body, sink) => {
      const again = (): void =>
        next(exchange, request, body, wrapSink(sink, { onError: () => void setImmediate(again) }))
      again()
    }
    await using front = await run(through(backend, forever))
    const response = fetch(front.url).catch(() => null)
    await backend.nextRequestHead()
    await front.proxy.close()
    await response
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CLOSED')
    assert.equal(front.pending(), 0)
  })
}
