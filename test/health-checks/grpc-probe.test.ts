import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2, { type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo, Server, Socket } from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { type BackendInit, createProxy, type ProbeOptions } from '../../src/index.ts'
import { deadPort } from '../../src/testing/index.ts'
import { certificate, key } from '../support/certificates.ts'
import { queue } from '../support/running-proxy.ts'

type Answer = (stream: ServerHttp2Stream, message: Buffer) => void

interface HealthServer extends AsyncDisposable {
  readonly port: number
  /** Head and message of the calls that have come. */
  readonly calls: { readonly headers: http2.IncomingHttpHeaders; readonly message: string }[]
  answer: Answer
}

const HEAD = { ':status': 200, 'content-type': 'application/grpc' }

/** The status as grpc.health.v1 says it, and OK in the trailers. */
const says =
  (status: number, grpcStatus = '0'): Answer =>
  (stream) => {
    stream.respond(HEAD, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': grpcStatus }))
    stream.end(Buffer.from(status === 0 ? [0, 0, 0, 0, 0] : [0, 0, 0, 0, 2, 8, status]))
  }
const trailersOnly =
  (grpcStatus: string): Answer =>
  (stream) =>
    stream.respond({ ...HEAD, 'grpc-status': grpcStatus }, { endStream: true })

async function healthServer(answer: Answer, isSecure = false): Promise<HealthServer> {
  const server = isSecure ? http2.createSecureServer({ key, cert: certificate }) : http2.createServer()
  const sessions = new Set<http2.ServerHttp2Session>()
  const self = { port: 0, calls: [] as HealthServer['calls'], answer }
  server.on('session', (session) => {
    sessions.add(session)
    session.on('error', () => {})
  })
  server.on('stream', async (stream, headers) => {
    stream.on('error', () => {})
    const chunks: Buffer[] = []
    for await (const chunk of stream) chunks.push(chunk as Buffer)
    const message = Buffer.concat(chunks)
    self.calls.push({ headers, message: message.toString('hex') })
    self.answer(stream, message)
  })
  self.port = await listen(server)
  const dispose = async (): Promise<void> => {
    for (const session of sessions) session.destroy()
    server.close()
  }
  return Object.assign(self, { [Symbol.asyncDispose]: dispose })
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** A proxy that probes one backend. */
function probing(backend: BackendInit, options: ProbeOptions = {}) {
  const probe = { type: 'grpc', intervalMs: 10, rise: 1, fall: 1, timeoutMs: 2000, ...options } as const
  const proxy = createProxy({ backends: [backend], healthCheck: { probe }, logger: 'silent' })
  const changes = queue<string>()
  proxy.on('healthy', (_backend, reason) => changes.push(`healthy: ${reason}`))
  proxy.on('unhealthy', (_backend, reason) => changes.push(`unhealthy: ${reason}`))
  return { next: changes.next, [Symbol.asyncDispose]: () => proxy.close() }
}

test('SERVING is healthy; other statuses, and failures of the call, are not', async () => {
  await using server = await healthServer(says(2))
  await using watch = probing({ url: `http://127.0.0.1:${server.port}` })
  const turns: [Answer, RegExp][] = [
    [says(3), /^unhealthy: "" is SERVICE_UNKNOWN$/],
    [says(0), /^unhealthy: "" is UNKNOWN$/],
    [says(1, '14'), /^unhealthy: gRPC status 14$/],
    [trailersOnly('12'), /^unhealthy: gRPC status 12: the backend does not implement grpc.health.v1.Health$/],
    [trailersOnly('5'), /^unhealthy: gRPC status 5: the backend's health service does not know ""$/],
    [(stream) => stream.respond({ ...HEAD, ':status': 503 }, { endStream: true }), /^unhealthy: status 503$/],
    [(stream) => stream.respond(HEAD, { endStream: true }), /^unhealthy: the response has no grpc-status$/],
    [(stream) => stream.close(2), /^unhealthy: the backend has reset the stream: INTERNAL_ERROR$/],
    [(stream) => stream.session?.destroy(), /^unhealthy: the connection was closed/],
    [
      (stream) => {
        stream.respond(HEAD)
        stream.write(Buffer.alloc(2000))
      },
      /^unhealthy: the response is larger than 1024 bytes/,
    ],
  ]
  assert.equal(await watch.next(), 'unhealthy: "" is NOT_SERVING')
  for (const [answer, expected] of turns) {
    server.answer = says(1)
    assert.match(await watch.next(), /^healthy: /)
    server.answer = answer
    assert.match(await watch.next(), expected)
  }
})

test('it asks for a service, below the path of the backend', async () => {
  await using server = await healthServer(says(2))
  const options = { service: 'shop.Orders', host: 'shop.test' }
  await using watch = probing({ url: `http://127.0.0.1:${server.port}/base` }, options)
  assert.equal(await watch.next(), 'unhealthy: "shop.Orders" is NOT_SERVING')
  const { headers, message } = server.calls[0] ?? { headers: {}, message: '' }
  assert.equal(message, `000000000d0a0b${Buffer.from('shop.Orders').toString('hex')}`)
  assert.deepEqual(
    [headers[':method'], headers[':path'], headers[':authority'], headers['content-type'], headers.te],
    ['POST', '/base/grpc.health.v1.Health/Check', 'shop.test', 'application/grpc', 'trailers'],
  )
})

test('without a service the message is empty', async () => {
  await using server = await healthServer(says(2))
  await using watch = probing({ url: `http://127.0.0.1:${server.port}` })
  await watch.next()
  assert.equal(server.calls[0]?.message, '0000000000')
})

test('over TLS, by ALPN, with verification', async () => {
  await using server = await healthServer(says(2), true)
  const url = `https://127.0.0.1:${server.port}`
  await using watch = probing({ url, tls: { ca: certificate } })
  assert.equal(await watch.next(), 'unhealthy: "" is NOT_SERVING')
  server.answer = says(1)
  assert.match(await watch.next(), /^healthy: /)
  await using suspicious = probing({ url })
  assert.match(await suspicious.next(), /^unhealthy: .*self-signed certificate/)
})

test('a backend without HTTP/2, or without anything', async () => {
  // It answers 400 to the preface.
  const plain = http.createServer()
  const port = await listen(plain)
  await using watch = probing({ url: `http://127.0.0.1:${port}` })
  assert.match(await watch.next(), /^unhealthy: the response is not valid HTTP\/2: FRAME_SIZE_ERROR/)
  plain.close()
  const dead = await deadPort()
  await using other = probing({ url: `http://127.0.0.1:${dead.port}` })
  assert.match(await other.next(), /^unhealthy: .*ECONNREFUSED/)
})

test('a backend that speaks TLS, and no HTTP/2', async () => {
  const sockets = new Set<Socket>()
  const server = tls.createServer({ key, cert: certificate }, (socket) => sockets.add(socket.on('error', () => {})))
  await using watch = probing({ url: `https://127.0.0.1:${await listen(server)}`, tls: { ca: certificate } })
  assert.equal(await watch.next(), 'unhealthy: the backend does not offer HTTP/2 (ALPN h2), which gRPC needs')
  for (const socket of sockets) socket.destroy()
  server.close()
})

test('a backend that does not answer in time', async () => {
  await using server = await healthServer(() => {})
  await using watch = probing({ url: `http://127.0.0.1:${server.port}` }, { timeoutMs: 100 })
  assert.equal(await watch.next(), 'unhealthy: no response within 100 ms')
})

test('options of the other type are refused', () => {
  const mistakes = (probe: ProbeOptions): string => {
    try {
      createProxy({ backends: [], healthCheck: { probe } })
      return ''
    } catch (error) {
      return (error as Error).message
    }
  }
  const message = mistakes({ type: 'grpc', path: '/', method: 'GET', statuses: [200] })
  for (const name of ['path', 'method', 'statuses']) {
    assert.match(message, new RegExp(`healthCheck\\.probe\\.${name} cannot be used with a probe of type 'grpc'`))
  }
  assert.match(mistakes({ service: 'x' }), /healthCheck\.probe\.service cannot be used with a probe of type 'http'/)
  assert.match(mistakes({ type: 'grpc', service: 'x'.repeat(128) }), /healthCheck\.probe\.service/)
})
