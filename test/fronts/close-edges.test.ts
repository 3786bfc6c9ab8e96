import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import tls from 'node:tls'
import { createProxy, type ListenOptions } from '../../src/index.ts'
import { answerAfter, mockBackend } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { rawClient, untilRefused } from '../support/raw-client.ts'
import { gate, rounds } from '../support/running-proxy.ts'
import { runSocketServer } from '../support/running-socket-server.ts'

const GET = 'GET /late HTTP/1.1\r\nHost: a\r\n\r\n'
const POST = 'POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi'
/** What the socket server leaves to node's server behind it. */
const BEHIND = 'GET http://a/late HTTP/1.1\r\nHost: a\r\n\r\n'

interface Client {
  readonly socket: net.Socket
  text: string
}

/** Connects, also to TLS; resolves when connected. */
async function connect(where: net.NetConnectOpts, isSecure: boolean): Promise<Client> {
  const socket = isSecure ? tls.connect({ ...where, ca: certificate, servername: 'localhost' }) : net.connect(where)
  const client = { socket, text: '' }
  socket.on('data', (bytes) => {
    client.text += bytes.toString('latin1')
  })
  socket.on('error', () => {})
  await once(socket, isSecure ? 'secureConnect' : 'connect')
  return client
}

async function until(client: Client, mark: string): Promise<void> {
  while (!client.text.includes(mark)) {
    assert.equal(client.socket.destroyed, false, `ended before ${mark}: ${client.text}`)
    await Promise.race([next(client.socket, 'data'), next(client.socket, 'close')])
  }
}

async function ended({ socket }: Client): Promise<void> {
  if (!socket.closed) await next(socket, 'close')
}

/**
 * `once()` of node rejects if there is an error. A client has one if its own last bytes, such as the closing alert of TLS, come to a
 * connection that is closed already; it may have read everything.
 */
function next(socket: net.Socket, event: 'data' | 'close'): Promise<void> {
  return new Promise((resolve) => socket.once(event, () => resolve()))
}

function unixPath(t: TestContext): string {
  const directory = fs.mkdtempSync(join(tmpdir(), 'heddle-close-'))
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'socket')
}

const PLACES: readonly (readonly [name: string, listen: (t: TestContext) => ListenOptions])[] = [
  ['a port', () => ({ port: 0, host: '127.0.0.1' })],
  ['a port with TLS', () => ({ port: 0, host: '127.0.0.1', tls: { key, cert: certificate } })],
  ['a unix socket', (t) => ({ path: unixPath(t) })],
  [
    'a port with a fallback',
    () => ({ port: 0, host: '127.0.0.1', fallback: http.createServer((req, res) => res.end(`fallback ${req.url}`)) }),
  ],
]

for (const [place, listen] of PLACES) {
  for (const [kind, request] of [
    ['GET', GET],
    ['POST', POST],
    ['GET that node reads', BEHIND],
  ] as const) {
    test(`close() answers what was sent on kept connections before it: ${kind}, on ${place}`, async (t) => {
      await using backend = await mockBackend(Array(40).fill({ body: 'served' }))
      const proxy = createProxy({ logger: 'silent', target: backend.url, drainTimeoutMs: 10_000 })
      const where = listen(t)
      const { port } = await proxy.listen(where)
      const to = where.path === undefined ? { port, host: '127.0.0.1' } : { path: where.path }
      const clients = await Promise.all(Array.from({ length: 10 }, () => connect(to, where.tls !== undefined)))
      for (const { socket } of clients) socket.write('GET /first HTTP/1.1\r\nHost: a\r\n\r\n')
      for (const client of clients) await until(client, 'served')
      for (const client of clients) client.text = ''
      for (const { socket } of clients) socket.write(request)
      const closed = proxy.close()
      for (const client of clients) {
        await until(client, 'served')
        assert.match(client.text, /^HTTP\/1\.1 200 OK\r\n/)
      }
      await Promise.all(clients.map(ended))
      await closed
    })
  }

  test(`close() serves the connections that wait to be accepted, on ${place}`, async (t) => {
    await using backend = await mockBackend(Array(40).fill({ body: 'served' }))
    const proxy = createProxy({ logger: 'silent', target: backend.url, drainTimeoutMs: 10_000 })
    const where = listen(t)
    const { port } = await proxy.listen(where)
    const to = where.path === undefined ? { port, host: '127.0.0.1' } : { path: where.path }
    // The kernel has taken them all when this turn ends; the proxy has accepted none.
    const clients = Array.from({ length: 10 }, () => connect(to, where.tls !== undefined))
    const closed = proxy.close()
    const serve = async (client: Client): Promise<void> => {
      client.socket.write(POST)
      await until(client, 'served')
      await ended(client)
    }
    await Promise.all(clients.map((client) => client.then(serve)))
    await closed
  })

  test(`after close() an idle connection has time for a request, and is told that it was the last, on ${place}`, async (t) => {
    await using backend = await mockBackend(Array(40).fill({ body: 'served' }))
    const proxy = createProxy({ logger: 'silent', target: backend.url, drainTimeoutMs: 10_000 })
    const where = listen(t)
    const { port } = await proxy.listen(where)
    const to = where.path === undefined ? { port, host: '127.0.0.1' } : { path: where.path }
    const isSecure = where.tls !== undefined
    const clients = await Promise.all([GET, POST, BEHIND].map(() => connect(to, isSecure)))
    const closed = proxy.close()
    await untilRefused(where.path ?? port)
    for (const [index, request] of [GET, POST, BEHIND].entries()) clients[index]?.socket.write(request)
    for (const client of clients) {
      await until(client, 'served')
      assert.match(client.text, /\r\nConnection: close\r\n/i)
      await ended(client)
    }
    await closed
  })
}

test('close() with several listeners serves what was sent on each', async () => {
  await using backend = await mockBackend(Array(40).fill({ body: 'served' }))
  const proxy = createProxy({ logger: 'silent', target: backend.url, drainTimeoutMs: 10_000 })
  const clients: Client[] = []
  for (let i = 0; i < 3; i++) {
    const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
    clients.push(await connect({ port, host: '127.0.0.1' }, false))
  }
  for (const { socket } of clients) socket.write(POST)
  const closed = proxy.close()
  for (const client of clients) await until(client, 'served')
  await closed
})

test('a socket server on hold reads nothing, not from new connections either, and then all', async () => {
  await using backend = await mockBackend(Array(9).fill({ body: 'served' }))
  await using run = await runSocketServer({ target: backend.url })
  const before = rawClient(run.port)
  await once(run.server, 'connection')
  const goOn = run.server.holdReading()
  const later = rawClient(run.port)
  await once(run.server, 'connection')
  for (const client of [before, later]) client.write(GET)
  await rounds()
  assert.equal(backend.requests.length, 0)
  goOn()
  for (const client of [before, later]) await client.until('served')
})

test('a connection that is handed over while the socket server is on hold is read there', async () => {
  const answered = gate()
  let count = 0
  await using backend = await mockBackend(async (_request, reply) => {
    if (++count > 1) return reply.send({ body: 'second' })
    await answered.promise
    reply.send({ body: 'first' })
  })
  await using run = await runSocketServer({ target: backend.url })
  const client = rawClient(run.port)
  // Of the second request, which is for node's server, a part comes later.
  client.write(GET + BEHIND.slice(0, -2))
  await backend.nextRequest()
  await rounds()
  run.server.holdReading()
  answered.open()
  await client.until('first')
  client.write('\r\n')
  await client.until('second')
})

test('an answer that had begun before close() leaves its connection time for one more request', async () => {
  const goOn = gate()
  await using backend = await mockBackend([
    async (_request, reply) => {
      reply.head()
      reply.chunk('begun')
      await goOn.promise
      reply.end()
    },
    { body: 'another' },
  ])
  const proxy = createProxy({ logger: 'silent', target: backend.url, drainTimeoutMs: 10_000 })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const client = rawClient(port)
  client.write(GET)
  await client.until('begun')
  const closed = proxy.close()
  await untilRefused(port)
  goOn.open()
  await client.until('0\r\n\r\n')
  client.write(GET)
  assert.match(await client.until('another'), /\r\nConnection: close\r\n/)
  await closed
})

test('close() of a proxy without connections waits for nothing', async (t) => {
  const proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1', drainTimeoutMs: 3_600_000 })
  await proxy.listen({ port: 0, host: '127.0.0.1' })
  const looks = t.mock.method(globalThis, 'setTimeout').mock
  await proxy.close()
  // Besides that of the grace period, which it does not wait for.
  assert.ok(looks.callCount() <= 1)
})

test('a connection that is not used holds close() up for a moment, not for drainTimeoutMs', async () => {
  const proxy = createProxy({ logger: 'silent', target: 'http://127.0.0.1:1', drainTimeoutMs: 3_600_000 })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const client = rawClient(port)
  await once(client.socket, 'connect')
  await proxy.close()
  assert.equal(await client.ended, 'end')
})

test('drainTimeoutMs bounds close() whatever clients do', async () => {
  await using backend = await mockBackend(answerAfter(new Promise(() => {}), {}))
  const proxy = createProxy({ logger: 'silent', target: backend.url, drainTimeoutMs: 50 })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  const clients = ['', 'GET / HT', GET, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf'].map((bytes) => {
    const client = rawClient(port)
    client.write(bytes)
    return client
  })
  for (let i = 0; i < 2; i++) await backend.nextRequestHead()
  await proxy.close()
  for (const client of clients) await client.ended
  assert.equal(proxy.stats().active, 0)
})
