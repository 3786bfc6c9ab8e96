import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import http from 'node:http'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { headerView, type Interceptor, respond, wrapSink } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { interceptor, NO_FLOW, through } from '../support/interceptors.ts'
import { converse, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, gate, runInServer } from '../support/running-proxy.ts'

for (const { name, run } of ALL_FRONTS) {
  test(`${name}: an interceptor refuses after it has asked somebody`, async () => {
    await using backend = await mockBackend()
    const options = through(backend, async (next, exchange, request, body, sink) => {
      await turn()
      if (exchange.header('authorization') !== undefined) return next(exchange, request, body, sink)
      respond(sink, { status: 401, headers: ['WWW-Authenticate', 'Bearer'], body: 'who are you?\n' })
    })
    await using front = await run(options)
    const refused = await fetch(front.url)
    assert.equal(refused.status, 401)
    assert.equal(refused.headers.get('www-authenticate'), 'Bearer')
    assert.equal(refused.headers.get('content-length'), '13')
    assert.equal(await refused.text(), 'who are you?\n')
    const record = await front.nextRecord()
    assert.deepEqual(
      [record.outcome, record.status, record.attempts, record.backend, record.responseBytes, record.errorCode],
      ['local', 401, 0, null, 13, null],
    )
    assert.equal(await (await fetch(front.url, { headers: { authorization: 'x' } })).text(), 'GET /')
    assert.equal((await front.nextRecord()).outcome, 'answered')
    assert.equal(backend.requests.length, 1)
    assert.deepEqual(front.errors, [])
  })

  test(`${name}: interceptors stand in their order, the first one outermost`, async () => {
    await using backend = await mockBackend()
    const order: string[] = []
    const one = (label: string) =>
      interceptor((next, exchange, request, body, sink) => {
        order.push(`> ${label}`)
        const headers = [...request.headers, 'X-Way', label]
        const onHead: typeof sink.onHead = (head, flow) => {
          order.push(`< ${label}`)
          sink.onHead({ ...head, headers: [...head.headers, 'X-Way', label] }, flow)
        }
        next(exchange, { ...request, headers }, body, wrapSink(sink, { onHead }))
      }, label)
    await using front = await run(through(backend, [one('a'), one('b'), one('c')]))
    const response = await fetch(front.url)
    assert.equal(response.headers.get('x-way'), 'c, b, a')
    assert.equal(await response.text(), 'GET /')
    assert.deepEqual(order, ['> a', '> b', '> c', '< c', '< b', '< a'])
    const { headers } = await backend.nextRequest()
    assert.deepEqual(
      headers.filter((_, i) => headers[i - 1] === 'X-Way'),
      ['a', 'b', 'c'],
    )
  })

  test(`${name}: wrap() is called once a route`, async () => {
    await using backend = await mockBackend()
    let wraps = 0
    const counts: Interceptor = {
      name: 'counts',
      wrap(next) {
        wraps++
        return next
      },
    }
    await using front = await run(through(backend, [counts]))
    for (let i = 0; i < 3; i++) await (await fetch(front.url)).text()
    assert.equal(wraps, 1)
  })

  test(`${name}: an interceptor changes method, path and headers of the request`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        const headers = [...request.headers]
        headerView(headers).set('X-User', 'alice')
        next(exchange, { ...request, method: 'PUT', path: '/other?a=1', headers }, body, sink)
        // It has been sent as it was.
        headers.length = 0
        headers.push('X-Evil', 'a\r\nb: c')
      }),
    )
    assert.equal(await (await fetch(front.url)).text(), 'PUT /other?a=1')
    const request = await backend.nextRequest()
    assert.equal(request.header('x-user'), 'alice')
    assert.equal(request.header('x-evil'), undefined)
  })

  test(`${name}: a body is rewritten while it streams`, async () => {
    const done = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: { 'Content-Length': '10', ETag: '"1"' } })
      reply.chunk('first')
      await done.promise
      reply.chunk('other')
      reply.end()
    })
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        const onHead: typeof sink.onHead = (head, flow) => {
          headerView(head.headers).delete('etag')
          sink.onHead({ ...head, bodyBytes: -1 }, flow)
        }
        const onData = (chunk: Buffer) => sink.onData(Buffer.from(`<${chunk}>`))
        next(exchange, request, body, wrapSink(sink, { onHead, onData }))
      }),
    )
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('<first>')
    done.open()
    const text = await client.until('<other>')
    assert.match(text, /Transfer-Encoding: chunked/i)
    assert.doesNotMatch(text, /content-length|etag/i)
    client.socket.destroy()
  })

  test(`${name}: an interceptor keeps the chunks that it gets`, async () => {
    const pieces = Array.from({ length: 40 }, (_, i) => `${i}`.padStart(20_000, '.'))
    await using backend = await mockBackend({ chunks: pieces })
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) => {
        const kept: Buffer[] = []
        const onData = (chunk: Buffer) => kept.push(chunk) > 0
        const onEnd = (): void => {
          sink.onData(Buffer.concat(kept))
          sink.onEnd(null)
        }
        next(exchange, request, body, wrapSink(sink, { onData, onEnd }))
      }),
    )
    assert.equal(await (await fetch(front.url)).text(), pieces.join(''))
  })

  test(`${name}: what is written in an event of its own is flushed`, async () => {
    await using backend = await mockBackend()
    const more = gate()
    await using front = await run(
      through(backend, async (_next, _exchange, _request, _body, sink) => {
        sink.onHead({ status: 200, reason: '', headers: ['x-a', '1'], bodyBytes: -1 }, NO_FLOW)
        await more.promise
        sink.onData(Buffer.from('event 1'))
        await turn()
      }),
    )
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('x-a: 1')
    more.open()
    await client.until('event 1')
    client.socket.resetAndDestroy()
    assert.equal((await front.nextRecord()).outcome, 'aborted')
  })

  test(`${name}: HEAD, 204 and 304 of interceptors have no body`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, (_next, _exchange, request, _body, sink) => {
        const status = Number(request.path.slice(1))
        respond(sink, { status, headers: ['x-status', `${status}`], ...(status === 200 && { body: 'a body' }) })
      }),
    )
    const client = rawClient(front.port)
    client.write('HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\n')
    const head = await client.until('x-status: 200')
    assert.match(await client.until('\r\n\r\n'), /content-length: 6/i)
    for (const status of [204, 304]) {
      client.write(`GET /${status} HTTP/1.1\r\nHost: a\r\n\r\n`)
      await client.until(`x-status: ${status}`)
    }
    client.write('GET /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await client.ended
    const text = client.text.slice(head.length)
    assert.equal(client.text.match(/a body/g)?.length, 1)
    assert.equal(text.match(/content-length/gi)?.length, 1, text)
    assert.doesNotMatch(text, /transfer-encoding/i)
  })

  test(`${name}: HEAD of a rewritten response has no Content-Length of the old bytes`, async () => {
    await using backend = await mockBackend({ body: 'five!' })
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) =>
        next(
          exchange,
          request,
          body,
          wrapSink(sink, { onHead: (head, flow) => sink.onHead({ ...head, bodyBytes: -1 }, flow) }),
        ),
      ),
    )
    const response = await fetch(front.url, { method: 'HEAD' })
    assert.equal(response.headers.get('content-length'), null)
    assert.equal(await (await fetch(front.url)).text(), 'five!')
  })

  test(`${name}: an HTTP/1.0 client gets a rewritten response up to the end of the connection`, async () => {
    await using backend = await mockBackend({ body: 'five!' })
    await using front = await run(
      through(backend, (next, exchange, request, body, sink) =>
        next(
          exchange,
          request,
          body,
          wrapSink(sink, { onHead: (head, flow) => sink.onHead({ ...head, bodyBytes: -1 }, flow) }),
        ),
      ),
    )
    const { text, ending } = await converse(front.port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    assert.match(text, /\r\n\r\nfive!$/)
    assert.doesNotMatch(text, /transfer-encoding|content-length/i)
    assert.equal(ending, 'end')
  })

  test(`${name}: an interim response of an interceptor is passed on`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, async (next, exchange, request, body, sink) => {
        sink.onInformational({ status: 103, reason: 'Early Hints', headers: ['Link', '</a.css>'], bodyBytes: 0 })
        await turn()
        next(exchange, request, body, sink)
      }),
    )
    const { text } = await converse(front.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a\.css>\r\n\r\nHTTP\/1\.1 200 OK\r\n/i)
  })

  test(`${name}: events tell of a response of an interceptor`, async () => {
    await using backend = await mockBackend()
    await using front = await run(
      through(backend, (_next, _exchange, _request, _body, sink) => respond(sink, { status: 429 })),
    )
    const seen: unknown[] = []
    front.proxy
      .on('request', () => seen.push('request'))
      .on('attempt', () => seen.push('attempt'))
      .on('response', (_exchange, status) => seen.push(status))
      .on('finish', (_exchange, { outcome }) => seen.push(outcome))
    assert.equal((await fetch(front.url)).status, 429)
    await front.nextRecord()
    assert.deepEqual(seen, ['request', 429, 'local'])
  })
}

test('handlers and sinks run in the async context of their request', async () => {
  await using backend = await mockBackend()
  const context = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const options = through(backend, async (next, exchange, request, body, sink) => {
    const note = (what: string): void => void seen.push([what, context.getStore()])
    note('handler')
    await turn()
    note('later')
    const noted = wrapSink(sink, {
      onHead(head, flow) {
        note('onHead')
        sink.onHead(head, flow)
      },
      onData(chunk) {
        note('onData')
        return sink.onData(chunk)
      },
      onEnd(trailers) {
        note('onEnd')
        sink.onEnd(trailers)
      },
    })
    next(exchange, request, body, noted)
  })
  const serve = (proxy: { web: http.RequestListener }) =>
    http.createServer((req, res) => context.run(req.url ?? '', () => proxy.web(req, res)))
  await using front = await runInServer(options, serve as never)
  for (const path of ['/a', '/b']) {
    seen.length = 0
    await (await fetch(front.url + path)).text()
    assert.deepEqual(
      seen,
      ['handler', 'later', 'onHead', 'onData', 'onEnd'].map((what) => [what, path]),
    )
  }
})
