import assert from 'node:assert/strict'
import http, { type RequestListener } from 'node:http'
import { createRequire } from 'node:module'
import net from 'node:net'
import { duplexPair, Writable } from 'node:stream'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import compression from 'compression'
import express5, { type RequestHandler } from 'express'
import session, { MemoryStore, type SessionData } from 'express-session'
import * as expressWinston from 'express-winston'
import morgan from 'morgan'
import winston from 'winston'
import { createProxy, type Interceptor, type Proxy, wrapSink } from '../../src/index.ts'
import { type MockHandler, mockBackend } from '../../src/testing/index.ts'
import { interceptor } from '../support/interceptors.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, listening, queue } from '../support/running-proxy.ts'

const express4: typeof express5 = createRequire(import.meta.url)('express4')

const CLIENTS = 50
const ROUNDS = 1

/** A body that names its owner in every 16 bytes. */
function bodyOf(path: string, bytes: number): string {
  return `owner ${path.slice(1).padStart(9, '0')}\n`.repeat(Math.ceil(bytes / 16))
}

/** The number at the end of a path; what is before it says how its answer comes. */
const answerByPath: MockHandler = (request, reply) => {
  const [, kind = '', , bytes = ''] = /^\/([a-z]+)(\d+)-(\d+)$/.exec(request.path) ?? []
  const body = bodyOf(request.path, Number(bytes))
  const headers = ['Content-Type', 'text/plain']
  if (kind === 'c') return reply.send({ headers, chunks: body.match(/[\s\S]{1,5000}/g) ?? [] })
  return reply.send({ headers, body })
}

/** A whole response on a connection of its own. */
function get(
  port: number,
  path: string,
  headers: http.OutgoingHttpHeaders,
): Promise<{ res: http.IncomingMessage; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const req = http.get({ host: '127.0.0.1', port, path, headers, agent: false }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject)
      res.on('end', () => resolve({ res, body: Buffer.concat(chunks) }))
    })
    req.on('error', reject)
  })
}

/** Passes everything on later, and the length as unknown. */
function late(): Interceptor {
  return interceptor(async (next, exchange, request, body, sink) => {
    await new Promise(setImmediate)
    next(
      exchange,
      request,
      body,
      wrapSink(sink, { onHead: (head, flow) => sink.onHead({ ...head, bodyBytes: -1 }, flow) }),
    )
  })
}

/** The ways in which an application's handler comes to have a response of ours. */
const WAYS = [
  {
    way: 'an application server',
    isIntercepted: false,
    async listen(_proxy: Proxy, server: http.Server) {
      return { port: await listening(server), close: () => server.close() }
    },
  },
  {
    way: 'an application server, through interceptors',
    isIntercepted: true,
    async listen(_proxy: Proxy, server: http.Server) {
      return { port: await listening(server), close: () => server.close() }
    },
  },
  {
    way: 'listen({ fallback })',
    isIntercepted: false,
    async listen(_proxy: Proxy, fallback: http.Server) {
      // Has no route for anything, so that everything goes to the application, which has a proxy of its own.
      const outer = createProxy({
        target: 'http://127.0.0.1:1',
        routes: [{ host: 'nobody.invalid' }],
        drainTimeoutMs: 100,
      })
      const { port } = await outer.listen({ port: 0, host: '127.0.0.1', fallback })
      return { port, close: () => outer.close() }
    },
  },
] as const

/** A store that takes its time, so that the end of the response waits for it. */
class SlowStore extends MemoryStore {
  override set(id: string, data: SessionData, done?: (error?: unknown) => void): void {
    setImmediate(() => setImmediate(() => super.set(id, data, done)))
  }
}

interface Middleware {
  readonly name: string
  make(): { readonly handlers: RequestHandler[]; check?(): void }
  readonly headers?: http.OutgoingHttpHeaders
}

const MIDDLEWARE: readonly Middleware[] = [
  {
    name: 'compression',
    make: () => ({ handlers: [compression({ threshold: 0 })] }),
    headers: { 'accept-encoding': 'gzip' },
  },
  {
    name: 'express-session',
    make: () => ({
      handlers: [
        session({ secret: 'x', resave: true, saveUninitialized: true, store: new SlowStore() }),
        (req, _res, next) => {
          Object.assign(req.session, { path: req.url })
          next()
        },
      ],
    }),
  },
  {
    name: 'express-winston',
    make() {
      const logged: { body: string; url: string }[] = []
      const transport = new winston.transports.Stream({
        stream: new Writable({
          objectMode: true,
          write(info, _encoding, done) {
            const { meta } = info as { meta: { req: { url: string }; res: { body: unknown } } }
            logged.push({ url: meta.req.url, body: String(meta.res.body) })
            done()
          },
        }),
      })
      expressWinston.responseWhitelist.push('body')
      return {
        handlers: [expressWinston.logger({ transports: [transport], responseWhitelist: ['statusCode', 'body'] })],
        check() {
          assert.equal(logged.length, 2 * CLIENTS * ROUNDS)
          // It logs the chunk of the end: whatever it has, it is of the right one.
          for (const { url, body } of logged) {
            const whole = bodyOf(url, Number(url.split('-')[1]))
            assert.ok(body === 'undefined' || whole.endsWith(body), `${url}: ${body.slice(-40)}`)
          }
        },
      }
    },
  },
  { name: 'morgan', make: () => ({ handlers: [morgan('tiny', { stream: { write() {} } })] }) },
  {
    name: 'a wrapper that keeps the chunks and returns nothing',
    make() {
      const bad: string[] = []
      const keep: RequestHandler = (req, res, next) => {
        const { write, end } = res as { write: (...args: unknown[]) => unknown; end: (...args: unknown[]) => unknown }
        const kept: Buffer[] = []
        const note = (chunk: unknown, encoding: unknown): void => {
          if (typeof chunk === 'string') kept.push(Buffer.from(chunk, encoding as BufferEncoding))
          else if (chunk instanceof Buffer) kept.push(chunk)
        }
        res.write = ((...args: unknown[]) => {
          note(args[0], args[1])
          write.apply(res, args)
        }) as never
        res.end = ((...args: unknown[]) => {
          note(args[0], args[1])
          end.apply(res, args)
        }) as never
        const { url } = req
        res.on('close', () => {
          const [, bytes] = url.split('-')
          if (Buffer.concat(kept).toString() !== bodyOf(url, Number(bytes))) bad.push(url)
        })
        next()
      }
      return { handlers: [keep], check: () => assert.deepEqual(bad, []) }
    },
  },
]

for (const [version, express] of [
  ['Express 5', express5],
  ['Express 4', express4],
] as const) {
  for (const { way, isIntercepted, listen } of WAYS) {
    for (const { name, make, headers = {} } of MIDDLEWARE) {
      test(`${version}, ${name}, ${way}: each of 50 clients gets its own bytes`, async () => {
        await using backend = await mockBackend(answerByPath)
        await using proxy = createProxy({
          target: backend.url,
          routes: [{ interceptors: isIntercepted ? [late(), late()] : [] }],
          pool: { maxConnections: 8 },
          drainTimeoutMs: 100,
        })
        const errors: string[] = []
        proxy.on('error', (error) => errors.push(error.message))
        const { handlers, check } = make()
        const app = express()
        for (const handler of handlers) app.use(handler)
        app.use(proxy.middleware())
        const server = http.createServer(app as RequestListener)
        const { port, close } = await listen(proxy, server)
        try {
          for (let round = 0; round < ROUNDS; round++) {
            await Promise.all(
              Array.from({ length: 2 * CLIENTS }, async (_, i) => {
                // Small ones, those of one read, and those of several; with a length and in chunks.
                const bytes = [100, 20_000, 150_000][i % 3]
                const path = `/${i % 2 === 0 ? 'l' : 'c'}${round * 1000 + i}-${bytes}`
                const { res, body } = await get(port, path, headers)
                const plain = res.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
                assert.equal(name === 'compression', res.headers['content-encoding'] === 'gzip')
                assert.ok(plain.toString() === bodyOf(path, Number(bytes)), `${path} has other bytes`)
              }),
            )
          }
          assert.deepEqual(errors, [])
          check?.()
        } finally {
          await close()
          server.closeAllConnections()
        }
      })
    }
  }

  test(`${version}: cookies of a session reach the client with those of the backend, through interceptors`, async () => {
    await using backend = await mockBackend({
      headers: ['Set-Cookie', 'backend=1', 'Vary', 'Origin'],
      body: 'x'.repeat(2000),
    })
    await using proxy = createProxy({ target: backend.url, routes: [{ interceptors: [late()] }], drainTimeoutMs: 100 })
    const app = express()
    app.use(compression({ threshold: 0, filter: () => true }))
    app.use(session({ secret: 'x', resave: true, saveUninitialized: true, store: new SlowStore() }))
    app.use((_req, res, next) => {
      res.cookie('own', '1')
      next()
    }, proxy.middleware())
    const server = http.createServer(app as RequestListener)
    const port = await listening(server)
    const response = await fetch(`http://127.0.0.1:${port}`, { headers: { 'accept-encoding': 'gzip' } })
    const names = response.headers.getSetCookie().map((cookie) => cookie.split('=', 1)[0])
    assert.deepEqual(names.sort(), ['backend', 'connect.sid', 'own'])
    assert.equal(response.headers.get('vary'), 'Origin, Accept-Encoding')
    assert.equal(await response.text(), 'x'.repeat(2000))
    server.close()
    server.closeAllConnections()
  })

  test(`${version}: events go through compression at once`, async () => {
    const heard = queue<string>()
    const next = gate()
    await using backend = await mockBackend(async (_request, reply) => {
      reply.head({ headers: { 'content-type': 'text/event-stream' } })
      reply.chunk('data: 1\n\n')
      await next.promise
      reply.chunk('data: 2\n\n')
      reply.end()
    })
    await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
    const app = express()
    app.use(compression({ threshold: 0, filter: () => true }), proxy.middleware())
    const server = http.createServer(app as RequestListener)
    const port = await listening(server)
    const response = await fetch(`http://127.0.0.1:${port}`, { headers: { 'accept-encoding': 'gzip' } })
    assert.equal(response.headers.get('content-encoding'), 'gzip')
    const reading = (async () => {
      for await (const chunk of response.body ?? []) heard.push(Buffer.from(chunk).toString())
    })()
    assert.equal(await heard.next(), 'data: 1\n\n')
    next.open()
    assert.equal(await heard.next(), 'data: 2\n\n')
    await reading
    server.close()
    server.closeAllConnections()
  })
}

/** Middleware with one way each to get the bytes of a response. */
const WRAPPERS: readonly [string, (res: http.ServerResponse, keep: (bytes: Buffer) => void) => void][] = [
  [
    'res.write',
    (res, keep) => {
      const write = res.write as (...args: unknown[]) => boolean
      res.write = ((...args: unknown[]) => {
        if (args[0] instanceof Buffer) keep(args[0])
        return write.apply(res, args)
      }) as never
    },
  ],
  [
    'res.end',
    (res, keep) => {
      const end = res.end as (...args: unknown[]) => http.ServerResponse
      res.end = ((...args: unknown[]) => {
        if (args[0] instanceof Buffer) keep(args[0])
        return end.apply(res, args)
      }) as never
    },
  ],
  [
    'the write of the socket',
    (res, keep) => {
      const socket = res.socket as net.Socket
      const write = socket.write as (...args: unknown[]) => boolean
      socket.write = ((...args: unknown[]) => {
        if (args[0] instanceof Buffer) keep(args[0])
        return write.apply(socket, args)
      }) as never
    },
  ],
]

for (const [what, wrap] of WRAPPERS) {
  for (const isChunked of [false, true]) {
    test(`bytes kept by ${what} are not overwritten, ${isChunked ? 'in chunks' : 'with a length'}`, async () => {
      const body = Buffer.from(bodyOf('/x', 400_000))
      const pieces = Array.from({ length: 20 }, (_, i) => body.subarray(i * 20_000, (i + 1) * 20_000))
      await using backend = await mockBackend((_request, reply) =>
        isChunked ? reply.send({ chunks: pieces }) : reply.send({ body: body.subarray(0, 400_000) }),
      )
      await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
      const kept: [Buffer, string][] = []
      const server = http.createServer((req, res) => {
        wrap(res, (bytes) => kept.push([bytes, bytes.toString('latin1')]))
        proxy.web(req, res)
      })
      const port = await listening(server)
      for (let i = 0; i < 3; i++) assert.equal((await get(port, '/', {})).body.length, 400_000)
      assert.ok(kept.length > 0 || (what === 'res.end' && isChunked))
      for (const [bytes, was] of kept) assert.equal(bytes.toString('latin1'), was)
      server.close()
      server.closeAllConnections()
    })
  }
}

test('a connection that is not a socket gets its own bytes', async () => {
  const body = bodyOf('/x', 300_000)
  await using backend = await mockBackend((_request, reply) => reply.send({ body }))
  await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
  const server = http.createServer(proxy.web)
  const [client, far] = duplexPair()
  server.emit('connection', far)
  const chunks: Buffer[] = []
  const done = gate()
  client.on('data', (chunk: Buffer) => {
    // What a Duplex has been given is read by reference.
    chunks.push(chunk)
    if (Buffer.concat(chunks).length >= 3 * body.length) done.open()
  })
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(3))
  await done.promise
  const text = Buffer.concat(chunks).toString()
  assert.equal(text.split('\r\n\r\n').filter((part) => part.startsWith(body.slice(0, 1000))).length, 3)
  assert.equal(text.split(body).length, 4)
  client.destroy()
})

for (const returned of [undefined, false, true]) {
  test(`a write that returns ${returned} does not stall a response whose client pauses`, async () => {
    const size = 8_000_000
    await using backend = await mockBackend((_request, reply) => reply.send({ body: Buffer.alloc(size, 'a') }))
    await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
    let toClient: net.Socket | null = null
    const server = http.createServer((req, res) => {
      const write = res.write as (...args: unknown[]) => boolean
      res.write = ((...args: unknown[]) => {
        write.apply(res, args)
        return returned
      }) as never
      toClient = res.socket
      proxy.web(req, res)
    })
    const port = await listening(server)
    const client = net.connect(port, '127.0.0.1')
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    client.pause()
    const isFull = (): boolean => ((toClient as net.Socket | null)?.writableLength ?? 0) > 0
    while (!isFull()) await new Promise((resolve) => setImmediate(resolve))
    let received = 0
    for await (const chunk of client) received += (chunk as Buffer).length
    assert.ok(received > size)
    server.close()
  })
}

test('pieces of one byte are written together', async () => {
  const pieces = Array.from({ length: 2000 }, (_, i) => String(i % 10))
  await using backend = await mockBackend((_request, reply) => reply.send({ chunks: pieces }))
  await using proxy = createProxy({ target: backend.url, drainTimeoutMs: 100 })
  let writes = 0
  const server = http.createServer((req, res) => {
    const { write, end } = res as { write: (...args: unknown[]) => unknown; end: (...args: unknown[]) => unknown }
    const count = (call: typeof write) =>
      ((...args: unknown[]) => {
        writes++
        return call.apply(res, args)
      }) as never
    Object.assign(res, { write: count(write), end: count(end) })
    proxy.web(req, res)
  })
  const port = await listening(server)
  const plain = await listening(http.createServer(proxy.web).unref())
  assert.equal((await get(port, '/', {})).body.toString(), pieces.join(''))
  // One for each read; how many reads there are is the kernel's.
  assert.ok(writes <= 5, String(writes))
  // Where node writes, a chunk is what it was given.
  const client = rawClient(plain)
  client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await client.ended
  assert.ok(client.text.length < 3000, String(client.text.length))
  server.close()
  server.closeAllConnections()
})
