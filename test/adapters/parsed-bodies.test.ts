import assert from 'node:assert/strict'
import http, { type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import express5, { type RequestHandler } from 'express'
import Koa, { type Middleware as KoaMiddleware } from 'koa'
import { proxyMiddleware as expressMiddleware } from '../../src/adapters/express.ts'
import { proxyMiddleware as koaMiddleware } from '../../src/adapters/koa.ts'
import { type Interceptor, type Proxy, respond, wrapSink } from '../../src/index.ts'
import { mockBackend } from '../../src/testing/index.ts'
import { interceptor } from '../support/interceptors.ts'
import { runInServer } from '../support/running-proxy.ts'
import { consume } from './serving.ts'

const express4: typeof express5 = createRequire(import.meta.url)('express4')

type Parsed = IncomingMessage & { body?: unknown; rawBody?: unknown }
type Change = (parsed: { body?: unknown; rawBody?: unknown }, req: IncomingMessage) => void

interface Sent {
  readonly type: string
  readonly body: string | Buffer
  readonly headers?: Record<string, string>
}

/** Frameworks with body parsers before the proxy, and code between the two. */
const FRAMEWORKS: readonly [string, (proxy: Proxy, change: Change) => Server][] = [
  ...(
    [
      ['Express 5', express5],
      ['Express 4', express4],
    ] as const
  ).map(([name, express]): [string, (proxy: Proxy, change: Change) => Server] => [
    name,
    (proxy, change) => {
      const app = express()
      const keep = (req: IncomingMessage, _res: unknown, bytes: Buffer): void => {
        if (req.url === '/raw') Object.assign(req, { rawBody: bytes })
      }
      app.use(express.json({ verify: keep }), express.urlencoded({ extended: true }), express.text(), express.raw())
      const between: RequestHandler = (req, _res, next) => {
        change(req as Parsed, req)
        next()
      }
      app.use(between, expressMiddleware({ proxy }))
      return http.createServer(app as RequestListener)
    },
  ]),
  [
    'Koa',
    (proxy, change) => {
      const parser: KoaMiddleware = async (ctx, next) => {
        const text = await consume(ctx.req)
        const type = ctx.request.type
        if (type === 'application/json') Object.assign(ctx.request, { body: JSON.parse(text) })
        else if (type === 'text/plain') Object.assign(ctx.request, { body: text })
        else if (type === 'application/octet-stream') Object.assign(ctx.request, { body: Buffer.from(text) })
        else if (text !== '') Object.assign(ctx.request, { body: Object.fromEntries(new URLSearchParams(text)) })
        if (ctx.path === '/raw') Object.assign(ctx.request, { rawBody: text })
        change(ctx.request as Parameters<Change>[0], ctx.req)
        await next()
      }
      return http.createServer(new Koa().use(parser).use(koaMiddleware({ proxy })).callback())
    },
  ],
]

const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'

const BODIES: readonly [what: string, path: string, sent: Sent, expected: string][] = [
  ['JSON', '/', { type: JSON_TYPE, body: '{ "a" : "\u00e4" }' }, '{"a":"\u00e4"}'],
  ['JSON of which rawBody is kept', '/raw', { type: JSON_TYPE, body: '{ "a" : 1 }' }, '{ "a" : 1 }'],
  ['a form', '/', { type: FORM_TYPE, body: 'a=1&b=x+y' }, 'a=1&b=x+y'],
  ['text', '/', { type: 'text/plain', body: 'gr\u00f6\u00dfer' }, 'gr\u00f6\u00dfer'],
  ['bytes', '/', { type: 'application/octet-stream', body: 'bytes' }, 'bytes'],
]

const LATE = interceptor(async (next, ...args) => {
  await new Promise(setImmediate)
  next(...args)
})
const WRAPS = interceptor((next, exchange, request, body, sink) =>
  next(
    exchange,
    request,
    body && {
      bytes: body.bytes,
      expectsContinue: body.expectsContinue,
      isReplayable: body.isReplayable,
      start: (reader) =>
        body.start({
          onBody: (chunk) => reader.onBody(Buffer.from(chunk)),
          onBodyEnd: (trailers) => reader.onBodyEnd(trailers),
        }),
      resume: () => body.resume(),
      stop: () => body.stop(),
    },
    sink,
  ),
)
/** Reads all of the body, and sends it on. */
const READS = interceptor((next, exchange, request, body, sink) => {
  const chunks: Buffer[] = []
  const send = (): void => {
    const all = Buffer.concat(chunks)
    next(
      exchange,
      request,
      {
        ...{ bytes: all.length, expectsContinue: false, isReplayable: true, resume() {}, stop() {} },
        start(reader) {
          reader.onBody(all)
          reader.onBodyEnd(null)
        },
      },
      sink,
    )
  }
  body?.start({ onBody: (chunk) => chunks.push(chunk) > 0, onBodyEnd: send })
})
/** Sends it again after the first response. */
const REPEATS = interceptor((next, exchange, request, body, sink) => {
  const first = new AbortController()
  const again = wrapSink(sink, {
    onHead() {
      first.abort()
      next(exchange, request, body, sink)
    },
  })
  next(exchange, { ...request, signal: first.signal }, body, again)
})
const REFUSES = interceptor((_next, _exchange, _request, _body, sink) => respond(sink, { status: 401, body: 'no' }))

for (const [name, serve] of FRAMEWORKS) {
  async function send(
    interceptors: Interceptor[],
    { type, body, headers }: Sent,
    path = '/',
    change: Change = () => {},
  ) {
    await using backend = await mockBackend()
    await using front = await runInServer(
      { target: backend.url, healthCheck: false, retry: false, routes: [{ interceptors }] },
      (proxy) => serve(proxy, change),
    )
    const options = { method: 'POST', body, headers: { 'content-type': type, ...headers } }
    const statuses: number[] = []
    // The second one shows that the first one has left the connection in order.
    for (let i = 0; i < 2; i++) statuses.push((await fetch(front.url + path, options)).status)
    assert.equal(statuses[0], statuses[1])
    return { status: statuses[0], requests: backend.requests, errors: front.errors }
  }

  for (const [how, one, times] of [
    ['an interceptor that waits', LATE, 1],
    ['an interceptor that wraps the body', WRAPS, 1],
    ['an interceptor that reads the body', READS, 1],
    ['an interceptor that sends it twice', REPEATS, 2],
  ] as const) {
    test(`${name}: a body that was parsed before passes ${how}`, async () => {
      for (const [what, path, sent, expected] of BODIES) {
        const { status, requests } = await send([one], sent, path)
        assert.equal(status, 200, what)
        assert.deepEqual(
          requests.map(({ bodyText }) => bodyText),
          Array.from({ length: 2 * times }, () => expected),
          what,
        )
        for (const request of requests) {
          assert.equal(request.header('content-length'), String(Buffer.byteLength(expected)))
          assert.equal(request.header('content-type'), sent.type)
        }
      }
    })
  }

  test(`${name}: an interceptor refuses a request whose body was parsed before`, async () => {
    const { status, requests } = await send([REFUSES], { type: JSON_TYPE, body: '{}' })
    assert.deepEqual([status, requests.length], [401, 0])
  })

  test(`${name}: a body that the application changes, with its type, is sent as it is then`, async () => {
    for (const [type, body, expected] of [
      [JSON_TYPE, { b: 2 }, '{"b":2}'],
      [[JSON_TYPE], { b: 2 }, '{"b":2}'],
      ['text/plain', 'text', 'text'],
      ['application/octet-stream', Buffer.from('bytes'), 'bytes'],
    ] as const) {
      const { status, requests } = await send([LATE], { type: FORM_TYPE, body: 'a=1' }, '/', (parsed, req) => {
        Object.assign(parsed, { body })
        // As others do it. Of the length nothing counts.
        Object.assign(req.headers, { 'content-type': type, 'content-length': '1' })
      })
      assert.equal(status, 200)
      assert.equal(requests[0]?.bodyText, expected)
      assert.equal(requests[0]?.header('content-type'), String(type))
      assert.equal(requests[0]?.header('content-length'), String(expected.length))
    }
  })

  test(`${name}: a form is compared with the length that was received`, async () => {
    const { status, requests } = await send([], { type: FORM_TYPE, body: 'a=1&b=2' }, '/', (_parsed, { headers }) => {
      delete headers['content-length']
      headers['content-encoding'] = undefined
    })
    assert.deepEqual([status, requests[0]?.bodyText], [200, 'a=1&b=2'])
    const lost = await send([LATE], { type: FORM_TYPE, body: 'a=1&b=2' }, '/', (parsed, { headers }) => {
      Object.assign(parsed, { body: { a: '1' } })
      headers['content-length'] = '3'
    })
    assert.deepEqual([lost.status, lost.requests.length], [500, 0])
    assert.equal(lost.errors[0]?.code, 'ERR_PROXY_BODY_CONSUMED')
  })

  test(`${name}: a coding that the application gives to its own bytes is announced`, async () => {
    const bytes = gzipSync('{"a":1}')
    const { requests } = await send([LATE], { type: JSON_TYPE, body: '{"a":1}' }, '/', (parsed, { headers }) => {
      Object.assign(parsed, { rawBody: bytes })
      headers['content-encoding'] = 'gzip'
    })
    assert.deepEqual(requests[0]?.bodyBytes, bytes)
    assert.equal(requests[0]?.header('content-encoding'), 'gzip')
  })

  test(`${name}: a content type that cannot be sent is 500, and the connection goes on`, async () => {
    for (const type of [7, { json: true }, 'a\r\nb', Symbol('type')]) {
      const { status } = await send([LATE], { type: JSON_TYPE, body: '{}' }, '/', (_parsed, { headers }) =>
        Object.assign(headers, { 'content-type': type }),
      )
      assert.equal(status, 500, String(type))
    }
  })
}
