import assert from 'node:assert/strict'
import http, { type IncomingMessage } from 'node:http'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, test } from 'node:test'
import type { Services } from '../../src/exchange/services.ts'
import { respondToClientError } from '../../src/fronts/node/client-error.ts'
import type { Proxy } from '../../src/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import { rawClient } from '../support/raw-client.ts'
import { type RunningProxy, rounds, runInServer } from '../support/running-proxy.ts'
import { SlowStream } from '../support/slow-stream.ts'
import { rawBackend, upgradeRequest } from '../support/upgrade-backends.ts'

/** The client's end of a pair, and what it has read. */
function reading(stream: Duplex): { readonly text: string; until(mark: string): Promise<void>; ended: Promise<void> } {
  let text = ''
  stream.on('data', (bytes: Buffer) => {
    text += bytes.toString('latin1')
  })
  stream.on('error', () => {})
  const ended = new Promise<void>((resolve) => stream.on('end', () => resolve()))
  return {
    get text() {
      return text
    },
    async until(mark) {
      while (!text.includes(mark)) await rounds(1)
    },
    ended,
  }
}

/** A server whose connections are no sockets. */
const SERVERS: Record<string, (proxy: Proxy) => http.Server> = {
  'proxy.attach(server)': (proxy) => {
    const server = http.createServer()
    proxy.attach(server)
    return server
  },
  "on('upgrade', proxy.ws)": (proxy) => http.createServer(proxy.web).on('upgrade', proxy.ws),
}

describe('a server of streams that are no sockets', () => {
  for (const [name, serverOf] of Object.entries(SERVERS)) {
    async function connected(
      target: string,
      use: (client: Duplex, read: ReturnType<typeof reading>, running: RunningProxy) => Promise<void>,
    ): Promise<void> {
      let server!: http.Server
      await using running = await runInServer({ target, retry: false }, (proxy) => {
        server = serverOf(proxy)
        return server
      })
      const [client, ours] = duplexPair()
      server.emit('connection', ours)
      const read = reading(client)
      await use(client, read, running)
      await rounds()
      assert.equal(running.pending(), 0)
      assert.equal(running.proxy.stats().active, 0)
    }

    for (const [ends, how] of Object.entries({
      'the backend ends': (_client: Duplex, backend: Duplex) => backend.end(),
      'the backend closes at once': (_client: Duplex, backend: Duplex) => backend.destroy(),
      'the client ends': (client: Duplex) => client.end(),
    })) {
      test(`${name}: an upgrade is carried; ${ends}`, async () => {
        await using backend = await rawBackend((upgrade) => upgrade.accept('foo', 'hello'))
        await connected(backend.url, async (client, read, running) => {
          client.on('end', () => client.end())
          client.write(`${upgradeRequest()}early`)
          const upgrade = await backend.nextUpgrade()
          await read.until('hello')
          await upgrade.until('early')
          how(client, upgrade.socket)
          assert.equal((await running.nextRecord()).outcome, 'upgraded')
          await upgrade.closed
        })
      })
    }

    test(`${name}: a refusal, a failure and an ordinary request are answered`, async () => {
      const { url } = await deadPort()
      await using backend = await mockBackend({ status: 403, body: 'no' })
      for (const [target, request, expected] of [
        [backend.url, upgradeRequest(), /^HTTP\/1\.1 403 [\s\S]*\r\n\r\nno$/],
        [url, upgradeRequest(), /^HTTP\/1\.1 502 [\s\S]*ERR_PROXY_CONNECT/],
        [backend.url, upgradeRequest({ protocol: 'h2c' }), /^HTTP\/1\.1 403 [\s\S]*no$/],
        [
          backend.url,
          upgradeRequest({ extra: 'Content-Length: 5\r\n', body: 'hello' }),
          /^HTTP\/1\.1 400 [\s\S]*ERR_PROXY_BAD_REQUEST/,
        ],
      ] as const) {
        await connected(target, async (client, read) => {
          client.write(request)
          await read.ended
          client.end()
          assert.match(read.text, expected)
        })
      }
    })
  }
})

test('the stream that is given is written to and read, not the socket that the request came on', async () => {
  await using backend = await rawBackend((upgrade) => upgrade.accept('foo', 'to the stream'))
  const [other, given] = duplexPair()
  await using running = await runInServer({ target: backend.url }, (proxy) =>
    http.createServer().on('upgrade', (req, _socket, head) => proxy.ws(req, given, head)),
  )
  const client = rawClient(running.port)
  client.write(upgradeRequest())
  const read = reading(other)
  await read.until('to the stream')
  other.write('from the stream')
  const upgrade = await backend.nextUpgrade()
  await upgrade.until('from the stream')
  assert.equal(client.text, '')
  other.end()
  await upgrade.closed
  assert.equal((await running.nextRecord()).outcome, 'upgraded')
  client.socket.destroy()
})

describe('a stream that throws ends its own exchange, and nothing else', () => {
  for (const [what, method, backendSays] of [
    ['on the head of a 101', 'write', 'HTTP/1.1 101 Sw\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'],
    ['on the response', 'write', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'],
    ['on the end', 'end', 'HTTP/1.1 101 Sw\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nFIN'],
    ['on being resumed', 'resume', 'HTTP/1.1 101 Sw\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'],
    ['on being destroyed', 'destroy', 'HTTP/1.1 101 Sw\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nFIN'],
    ['on being listened to', 'on', ''],
    ['on being held back', 'pause', 'HTTP/1.1 101 Sw\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'],
  ] as const) {
    test(what, async () => {
      const thrown: unknown[] = []
      const onUncaught = (error: unknown): void => void thrown.push(error)
      process.on('uncaughtException', onUncaught)
      await using backend = await rawBackend(({ socket }) => {
        if (backendSays !== '') socket.write(backendSays)
        if (backendSays.endsWith('FIN')) socket.end()
      })
      const errors: string[] = []
      const log = { debug() {}, info() {}, warn() {}, error: (_fields: object, text: string) => errors.push(text) }
      const clock = manualClock()
      const stream = new SlowStream()
      let isBroken = false
      const own = stream[method] as (...args: unknown[]) => unknown
      Object.assign(stream, {
        [method](...args: unknown[]) {
          if (isBroken) throw new Error('broken')
          return own.apply(stream, args)
        },
      })
      await using running = await runInServer({ target: backend.url, clock, logger: log as never }, (proxy) =>
        http.createServer().on('upgrade', (req: IncomingMessage, socket: Duplex) => {
          isBroken = true
          socket.on('error', () => {})
          proxy.ws(req, stream, Buffer.from('early'))
        }),
      )
      let records = 0
      running.proxy.on('finish', () => records++)
      const client = rawClient(running.port)
      client.write(upgradeRequest())
      while (errors.length === 0) {
        clock.advance(1_000)
        await rounds(2)
      }
      isBroken = false
      stream.destroy()
      await rounds(50)
      assert.deepEqual(thrown, [])
      process.off('uncaughtException', onUncaught)
      assert.match(errors.join('\n'), /broken/)
      assert.ok(records <= 1)
      assert.equal(running.pending(), 0)
      assert.equal(running.proxy.stats().active, 0)
      client.socket.destroy()
    })
  }
})

test('a stream that throws as a bad request is answered is destroyed, and the log is told', () => {
  const errors: string[] = []
  const parts = {
    clock: manualClock(),
    observers: { notify() {}, has: () => false },
    failures: { tell() {} },
    accessLog: null,
    logger: { debug() {}, error: (_fields: object, text: string) => errors.push(text) },
  } as unknown as Services
  const stream = new SlowStream()
  Object.assign(stream, {
    end() {
      throw new Error('broken')
    },
  })
  respondToClientError(parts, new Error('no request'), stream)
  assert.match(errors.join('\n'), /could not be answered: broken/)
  assert.ok(stream.destroyed)
})
