import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import grpc from '@grpc/grpc-js'
import { CODE, FRAME } from '../../src/http2/protocol.ts'
import { type ProxyOptions, workerThreads } from '../../src/index.ts'
import { deadPort } from '../../src/testing/index.ts'
import { data, frame, uint32 } from '../http2/wire.ts'
import { greet, head, type RawBackend, rawBackend } from '../pools/raw-backend.ts'
import { certificate, key } from '../support/certificates.ts'
import { queue, runBoth } from '../support/running-proxy.ts'
import { codeOf, type EchoClient, echoClient, echoServer } from './service.ts'

const { status } = grpc

function to(port: number, more: ProxyOptions = {}): ProxyOptions {
  return { backends: [h2(port)], routes: [{ grpc: true }], ...more }
}

function h2(port: number, scheme = 'http') {
  return { url: `${scheme}://127.0.0.1:${port}`, protocol: 'h2' } as const
}

async function codesOf(client: EchoClient, calls: number, atOnce: number): Promise<Map<number, number>> {
  const codes = new Map<number, number>()
  let left = calls
  const run = async (): Promise<void> => {
    while (left-- > 0) {
      const { code } = await client.unary()
      codes.set(code, (codes.get(code) ?? 0) + 1)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, run))
  return codes
}

describe('gRPC through the proxy, with @grpc/grpc-js on both sides', () => {
  test('a unary call, with metadata in text and bytes, in both directions', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port))
    await using client = echoClient(front.port)
    const bytes = Buffer.from([0, 1, 2, 254, 255])
    const { code, head, trailers, message } = await client.unary({ 'x-text': 'a b', 'x-data-bin': bytes })
    assert.deepEqual([code, String(message)], [status.OK, 'hello'])
    assert.deepEqual([head?.get('where'), head?.get('x-text'), head?.get('x-data-bin')], [['head'], ['a b'], [bytes]])
    assert.deepEqual([trailers.get('where'), trailers.get('x-data-bin')], [['trail'], [bytes]])
    const record = await front.nextRecord()
    assert.deepEqual([record.status, record.grpcStatus, record.httpVersion], [200, 0, '2.0'])
  })

  test('a failed call: status, details and metadata of the server', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port))
    await using client = echoClient(front.port)
    const { code, details, trailers } = await client.unary({ do: 'fail' })
    assert.deepEqual([code, details], [status.FAILED_PRECONDITION, 'as asked: ü 50%'])
    assert.deepEqual([trailers.get('why'), trailers.get('why-bin')], [['asked'], [Buffer.from([0, 1, 255])]])
    assert.equal((await front.nextRecord()).grpcStatus, status.FAILED_PRECONDITION)
  })

  test('a message of 5 MiB, both ways', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port))
    await using client = echoClient(front.port)
    const large = Buffer.alloc(5 << 20, 'large')
    const { code, message } = await client.unary({}, large)
    assert.equal(code, status.OK)
    assert.ok(message?.equals(large))
  })

  test('streams: of the client, of the server, and both ways by turns', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port))
    await using client = echoClient(front.port)
    assert.equal(await client.up(Array.from({ length: 300 }, () => Buffer.alloc(10_000))), '300 3000000')
    const down = client.down({ count: '500', size: '3000' })
    let bytes = 0
    down.on('data', (message: Buffer) => {
      bytes += message.length
    })
    assert.deepEqual([await codeOf(down), bytes], [status.OK, 1_500_000])
    const both = client.both()
    for (let i = 0; i < 100; i++) {
      both.write(Buffer.from(`message ${i}`))
      assert.equal(String((await once(both, 'data'))[0]), `message ${i}`)
    }
    both.end()
    assert.equal(await codeOf(both.resume()), status.OK)
  })

  test('a cancelled call is cancelled at the backend', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port))
    await using client = echoClient(front.port)
    const cancels = async (call: grpc.ClientUnaryCall): Promise<void> => {
      await server.hanging()
      call.cancel()
    }
    assert.equal((await client.unary({ do: 'hang' }, undefined, {}, cancels)).code, status.CANCELLED)
    assert.equal(await server.cancelled(), '/test.Echo/Unary')
    const down = client.down({ do: 'forever', count: '3' })
    await once(down, 'data')
    down.cancel()
    assert.equal(await codeOf(down.resume()), status.CANCELLED)
    assert.equal(await server.cancelled(), '/test.Echo/Down')
    assert.equal((await front.nextRecord()).grpcStatus, status.CANCELLED)
    assert.equal((await client.unary()).code, status.OK)
  })

  test('a deadline ends the call here and at the backend', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port))
    await using client = echoClient(front.port)
    const { code } = await client.unary({ do: 'hang' }, undefined, { deadline: Date.now() + 200 })
    assert.equal(code, status.DEADLINE_EXCEEDED)
    assert.equal(await server.cancelled(), '/test.Echo/Unary')
  })

  test('a stream that nobody reads does not hold up other calls of its connection', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port))
    await using client = echoClient(front.port)
    const stalled = client.down({ count: '200', size: '100000' })
    await once(stalled, 'metadata')
    stalled.pause()
    for (let i = 0; i < 20; i++) assert.equal((await client.unary()).code, status.OK)
    let messages = 0
    stalled.on('data', () => messages++).resume()
    assert.deepEqual([await codeOf(stalled), messages], [status.OK, 200])
  })

  test('no backend, none that can be reached, and no route', async () => {
    const { port } = await deadPort()
    const told = async (options: ProxyOptions): Promise<[number, string]> => {
      await using front = await runBoth(options)
      await using client = echoClient(front.port)
      const { code, details } = await client.unary()
      return [code, details]
    }
    assert.deepEqual(await told(to(port)), [status.UNAVAILABLE, '502 Bad Gateway (ERR_PROXY_CONNECT)'])
    assert.deepEqual(await told({ backends: [] }), [
      status.UNAVAILABLE,
      '503 Service Unavailable (ERR_PROXY_NO_BACKEND)',
    ])
    const elsewhere = to(port, { routes: [{ path: '/other.Service' }] })
    assert.deepEqual(await told(elsewhere), [status.UNIMPLEMENTED, '404 Not Found (ERR_PROXY_NO_ROUTE)'])
  })

  test('a backend that ends its connections again and again loses no call', async () => {
    const age = { 'grpc.max_connection_age_ms': 50, 'grpc.max_connection_age_grace_ms': 5000 }
    await using server = await echoServer(age)
    // A busy machine may lose several connections in a row to a call, each of which refuses it.
    const retry = { maxRetries: 20, budgetPercent: 1000 }
    await using front = await runBoth(to(server.port, { retry }))
    let refused = 0
    front.proxy.on('retry', (_exchange, { code }) => {
      if (code === 'ERR_PROXY_REFUSED') refused++
    })
    await using client = echoClient(front.port)
    assert.deepEqual(await codesOf(client, 3000, 20), new Map([[status.OK, 3000]]))
    assert.ok(refused > 0)
  })

  test('a backend that shuts down beside another loses no call', async () => {
    await using first = await echoServer()
    await using second = await echoServer()
    await using front = await runBoth({ backends: [h2(first.port), h2(second.port)], routes: [{ grpc: true }] })
    await using client = echoClient(front.port)
    const codes = codesOf(client, 2000, 20)
    while (first.calls < 300) await new Promise(setImmediate)
    await new Promise((resolve) => first.server.tryShutdown(resolve))
    assert.deepEqual(await codes, new Map([[status.OK, 2000]]))
    assert.ok(second.calls > 300)
  })

  test('over TLS on both sides', async () => {
    const pair = [{ private_key: Buffer.from(key), cert_chain: Buffer.from(certificate) }]
    await using server = await echoServer({}, grpc.ServerCredentials.createSsl(null, pair))
    const backend = { ...h2(server.port, 'https'), tls: { ca: certificate } }
    await using front = await runBoth({ backends: [backend] }, { tls: { key, cert: certificate } })
    await using client = echoClient(front.port, grpc.credentials.createSsl(Buffer.from(certificate)))
    const { code, details } = await client.unary()
    assert.deepEqual([code, details], [status.OK, 'OK'])
  })

  test('several threads', async () => {
    await using server = await echoServer()
    await using front = await runBoth(to(server.port, { executor: workerThreads({ threads: 2 }) }))
    const threads = new Set<number>()
    for (let i = 0; threads.size < 2; i++) {
      assert.ok(i < 100, `all connections went to thread ${[...threads]}`)
      await using client = echoClient(front.port)
      assert.equal((await client.unary({ do: 'fail' })).code, status.FAILED_PRECONDITION)
      const { thread, grpcStatus } = await front.nextRecord()
      assert.equal(grpcStatus, status.FAILED_PRECONDITION)
      threads.add(thread)
    }
  })

  test('its health service is probed', async () => {
    await using server = await echoServer()
    const probe = { type: 'grpc', intervalMs: 10, rise: 1, fall: 1 } as const
    await using front = await runBoth(to(server.port, { healthCheck: { probe } }))
    const changes = queue<string>()
    front.proxy.on('unhealthy', (_backend, reason) => changes.push(reason))
    front.proxy.on('healthy', () => changes.push('healthy'))
    server.servingStatus = 2
    assert.equal(await changes.next(), '"" is NOT_SERVING')
    server.servingStatus = 1
    assert.equal(await changes.next(), 'healthy')
  })
})

describe('a stream that the backend resets after its head', () => {
  /** By hand: node:http2 would end a stream before it resets it. */
  const resetting = (code: number): Promise<RawBackend> =>
    rawBackend(async (connection) => {
      greet(connection)
      const { id } = await connection.request()
      const message = data(id, Buffer.from([0, 0, 0, 0, 1, 120]))
      connection.send(
        head(id, 200, [['content-type', 'application/grpc']]),
        message,
        frame(FRAME.RST_STREAM, 0, id, uint32(code)),
      )
    })

  for (const [code, expected] of [
    [CODE.CANCEL, status.CANCELLED],
    [CODE.ENHANCE_YOUR_CALM, status.RESOURCE_EXHAUSTED],
    [CODE.NO_ERROR, status.INTERNAL],
    [CODE.REFUSED_STREAM, status.INTERNAL],
    [CODE.INTERNAL_ERROR, status.INTERNAL],
  ] as const) {
    test(`with code ${code}: ${status[expected]}`, async () => {
      await using backend = await resetting(code)
      await using front = await runBoth({ backends: [{ url: backend.url, protocol: 'h2' }] })
      await using client = echoClient(front.port)
      assert.equal(await codeOf(client.down({}).resume()), expected)
      assert.equal((await front.nextRecord()).outcome, 'truncated')
      assert.equal(front.errors[0]?.streamCode, code)
    })
  }

  test('a thread tells the code, too', async () => {
    await using backend = await resetting(CODE.CANCEL)
    const backends = [{ url: backend.url, protocol: 'h2' }] as const
    await using front = await runBoth({ backends, executor: workerThreads({ threads: 1 }) })
    await using client = echoClient(front.port)
    assert.equal(await codeOf(client.down({}).resume()), status.CANCELLED)
    await front.nextRecord()
    assert.equal(front.errors[0]?.streamCode, CODE.CANCEL)
  })
})
