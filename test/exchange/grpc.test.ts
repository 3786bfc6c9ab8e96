import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type Interceptor, type Pool, ProxyError, type ProxyOptions, respond } from '../../src/index.ts'
import { deadPort, type MockHandler, mockBackend, mockPool } from '../../src/testing/index.ts'
import { cutMidBody, garbage, neverAnswer, resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { type Answer, type Http2Client, http2Client } from '../fronts/http2/client.ts'
import { gate, type RunningProxy, runBoth } from '../support/running-proxy.ts'

const CALL = { ':method': 'POST', ':path': '/shop.Orders/Get', 'content-type': 'application/grpc', te: 'trailers' }
const MESSAGE = Buffer.from([0, 0, 0, 0, 0])

function call(client: Http2Client, more: Record<string, string> = {}): Promise<Answer> {
  return client.ask({ ...CALL, ...more }, MESSAGE)
}

/** Calls once. @returns the answer and the record. */
async function callThrough(options: ProxyOptions, more: Record<string, string> = {}) {
  await using front = await runBoth(options)
  await using client = http2Client(front.port)
  const answer = await call(client, more)
  return { answer, record: await front.nextRecord(), errors: front.errors }
}

/** A response of gRPC over HTTP/1.1: enough for everything but HTTP/2 itself. */
const answers =
  (status: string): MockHandler =>
  async (request, reply) => {
    await request.body()
    reply.send({
      headers: ['content-type', 'application/grpc', 'trailer', 'grpc-status'],
      body: 'a message',
      trailers: ['grpc-status', status],
    })
  }

async function refusal(options: ProxyOptions, more: Record<string, string> = {}): Promise<unknown[]> {
  const { answer, record, errors } = await callThrough(options, more)
  const { status, headers, body, trailers, code } = answer
  // Trailers-Only: everything is in the head, which ends the stream, and there is nothing else.
  assert.deepEqual([status, body, trailers, code], [200, '', {}, 0])
  assert.deepEqual(Object.keys(headers).sort(), [':status', 'content-type', 'date', 'grpc-message', 'grpc-status'])
  assert.equal(headers['content-type'], 'application/grpc')
  assert.equal(record.status, 200)
  assert.equal(String(record.grpcStatus), headers['grpc-status'])
  assert.equal(
    headers['grpc-message'],
    `${errors[0]?.status} ${MEANINGS[errors[0]?.status ?? 0]} (${record.errorCode})`,
  )
  return [Number(headers['grpc-status']), record.errorCode]
}

const MEANINGS: Record<number, string> = {
  400: 'Bad Request',
  404: 'Not Found',
  413: 'Payload Too Large',
  414: 'URI Too Long',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
}

describe("the proxy's own responses to gRPC calls", () => {
  test('no route: UNIMPLEMENTED', async () => {
    const none = { target: 'http://127.0.0.1:1', routes: [{ path: '/other' }] }
    assert.deepEqual(await refusal(none), [12, 'ERR_PROXY_NO_ROUTE'])
  })

  test('no backend, and none that can be reached: UNAVAILABLE', async () => {
    assert.deepEqual(await refusal({ backends: [] }), [14, 'ERR_PROXY_NO_BACKEND'])
    const dead = await deadPort()
    assert.deepEqual(await refusal({ target: `http://127.0.0.1:${dead.port}` }), [14, 'ERR_PROXY_CONNECT'])
  })

  test('a reset, and garbage, in place of a response', async () => {
    await using backend = await mockBackend([resetOnRequest, garbage])
    assert.deepEqual(await refusal({ target: backend.url }), [14, 'ERR_PROXY_RESET'])
    assert.deepEqual(await refusal({ target: backend.url }), [13, 'ERR_PROXY_BAD_RESPONSE'])
  })

  test('time limits of the proxy', async () => {
    await using backend = await mockBackend(neverAnswer)
    const target = backend.url
    assert.deepEqual(await refusal({ target, timeouts: { headers: 50 } }), [14, 'ERR_PROXY_HEADERS_TIMEOUT'])
    assert.deepEqual(await refusal({ target, timeouts: { total: 50 } }), [4, 'ERR_PROXY_TOTAL_TIMEOUT'])
  })

  test('too large a target, head and body', async () => {
    await using backend = await mockBackend(answers('0'))
    const target = backend.url
    const limits = { maxTargetBytes: 1024, maxHeadBytes: 4096, maxBodyBytes: 4 }
    assert.deepEqual(await refusal({ target, limits }), [8, 'ERR_PROXY_BODY_TOO_LARGE'])
    const path = `/${'p'.repeat(2000)}`
    assert.deepEqual(await refusal({ target, limits }, { ':path': path }), [8, 'ERR_PROXY_TARGET_TOO_LONG'])
  })

  test('a hook that throws: INTERNAL', async () => {
    const transforms = [
      {
        name: 'broken',
        request() {
          throw new Error('ü 50%')
        },
      },
    ]
    const target = 'http://127.0.0.1:1'
    assert.deepEqual(await refusal({ target, routes: [{ transforms }] }), [13, 'ERR_PROXY_HOOK'])
  })

  test('other requests get plain HTTP', async () => {
    await using front = await runBoth({ backends: [] })
    await using client = http2Client(front.port)
    const web = await call(client, { 'content-type': 'application/grpc-web+proto' })
    const get = await client.ask({ ...CALL, ':method': 'GET' })
    assert.deepEqual([web.status, get.status], [503, 503])
    const response = await fetch(`http://127.0.0.1:${front.port}/`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc' },
    })
    assert.equal(response.status, 503)
    for (let i = 0; i < 3; i++) assert.equal((await front.nextRecord()).grpcStatus, null)
  })

  test('a response of an interceptor stays as it is', async () => {
    const guard: Interceptor = {
      name: 'guard',
      wrap: () => (_exchange, _head, _body, sink) => respond(sink, { status: 401 }),
    }
    const { answer, record } = await callThrough({ target: 'http://127.0.0.1:1', routes: [{ interceptors: [guard] }] })
    assert.deepEqual([answer.status, answer.headers['grpc-status'], record.grpcStatus], [401, undefined, null])
  })
})

describe('the time limit of a call', () => {
  test('grpc-timeout is passed on, and ends the call: DEADLINE_EXCEEDED', async () => {
    const left = gate()
    await using backend = await mockBackend((_request, reply) => void reply.closed.then(left.open))
    await using front = await runBoth({ target: backend.url })
    await using client = http2Client(front.port)
    const asked = call(client, { 'grpc-timeout': '150m' })
    const request = await backend.nextRequestHead()
    assert.equal(request.header('grpc-timeout'), '150m')
    assert.equal((await asked).headers['grpc-status'], '4')
    // The backend is told, and not blamed: the limit is the client's.
    await left.promise
    assert.match(front.errors[0]?.message ?? '', /more than 150 ms, which is its grpc-timeout$/)
    assert.equal(front.errors[0]?.blamesBackend, false)
  })

  test('the shorter limit holds', async () => {
    await using backend = await mockBackend(neverAnswer)
    const target = backend.url
    const { answer, errors } = await callThrough({ target, timeouts: { total: 100 } }, { 'grpc-timeout': '1H' })
    assert.equal(answer.headers['grpc-status'], '4')
    assert.match(errors[0]?.message ?? '', /more than 100 ms$/)
  })

  test('a malformed one is refused, and reaches no backend', async () => {
    await using backend = await mockBackend(answers('0'))
    for (const timeout of ['soon', '123456789S', '1']) {
      const { answer, record } = await callThrough({ target: backend.url }, { 'grpc-timeout': timeout })
      assert.deepEqual([answer.headers['grpc-status'], record.errorCode], ['13', 'ERR_PROXY_BAD_REQUEST'])
    }
    assert.equal(backend.requests.length, 0)
  })

  test('for other requests it means nothing', async () => {
    await using backend = await mockBackend(answers('0'))
    const more = { 'content-type': 'text/plain', 'grpc-timeout': 'soon' }
    assert.equal((await callThrough({ target: backend.url }, more)).answer.status, 200)
  })
})

describe('the outcome of a call', () => {
  test('the status in the trailers is in the record, the events and the access log', async () => {
    await using backend = await mockBackend(answers('5'))
    const lines: string[] = []
    const statuses: (number | null)[] = []
    const { answer, record } = await callThrough({
      target: backend.url,
      accessLog: { format: 'json', write: (line) => void lines.push(line) },
      observers: [{ name: 'mine', onAttemptEnd: (_attempt, { grpcStatus }) => void statuses.push(grpcStatus) }],
    })
    assert.equal(answer.trailers['grpc-status'], '5')
    assert.deepEqual([record.status, record.grpcStatus, record.outcome], [200, 5, 'answered'])
    assert.deepEqual(statuses, [5])
    assert.equal(JSON.parse(lines[0] ?? '').grpcStatus, 5)
  })

  test('Trailers-Only: the status in the head', async () => {
    await using backend = await mockBackend({ headers: ['content-type', 'application/grpc', 'grpc-status', '7'] })
    const { answer, record } = await callThrough({ target: backend.url })
    assert.deepEqual([answer.headers['grpc-status'], record.grpcStatus], ['7', 7])
  })

  test('a backend that says UNAVAILABLE is ejected, if 503 counts', async () => {
    await using ill = await mockBackend(answers('14'))
    await using well = await mockBackend(answers('0'))
    await using front = await runBoth({
      backends: [ill.url, well.url],
      balancer: 'first-available',
      healthCheck: { consecutiveFailures: 2, statuses: [503] },
    })
    await using client = http2Client(front.port)
    const statuses = []
    for (let i = 0; i < 4; i++) statuses.push((await call(client)).trailers['grpc-status'])
    assert.deepEqual(statuses, ['14', '14', '0', '0'])
  })

  test('a client that cancels: CANCELLED', async () => {
    await using backend = await mockBackend(neverAnswer)
    await using front = await runBoth({ target: backend.url })
    await using client = http2Client(front.port)
    const stream = client.session.request(CALL, { endStream: false })
    stream.on('error', () => {})
    stream.write(MESSAGE)
    await backend.nextRequestHead()
    stream.close(8)
    const { status, grpcStatus, errorCode } = await front.nextRecord()
    assert.deepEqual([status, grpcStatus, errorCode], [499, 1, 'ERR_PROXY_CLIENT_GONE'])
  })

  test('a response that is cut ends with INTERNAL_ERROR', async () => {
    await using backend = await mockBackend(cutMidBody)
    const { answer, record } = await callThrough({ target: backend.url })
    assert.deepEqual([answer.code, record.outcome, record.grpcStatus], [2, 'truncated', 13])
  })

  for (const [streamCode, sent, sentToOthers] of [
    [8, 8, 2],
    [11, 11, 2],
    [0, 2, 2],
    [7, 2, 2],
    [1, 2, 2],
  ] as const) {
    test(`the backend's code ${streamCode} becomes ${sent}, and for other requests ${sentToOthers}`, async () => {
      const error = new ProxyError('ERR_PROXY_TRUNCATED', 'the backend has reset the stream', { streamCode })
      const pool = (): Pool => mockPool({ chunks: ['part'], error })
      const { answer } = await callThrough({ target: 'http://127.0.0.1:1', pool: pool() })
      const other = await callThrough({ target: 'http://127.0.0.1:1', pool: pool() }, { 'content-type': 'text/plain' })
      assert.deepEqual([answer.code, other.answer.code], [sent, sentToOthers])
    })
  }
})

describe('a route with grpc: true', () => {
  const quiet: MockHandler = async (request, reply) => {
    const path = request.path
    await request.body()
    if (path === '/late-head') await pause(400)
    reply.head({ headers: ['content-type', 'application/grpc'] } as never)
    reply.chunk('one')
    await pause(400)
    reply.chunk('two')
    reply.end(['grpc-status', '0'])
  }

  test('a call may be quiet for longer than the limits of the proxy', async () => {
    await using backend = await mockBackend(quiet)
    const timeouts = { idle: 100, headers: 100 }
    const routes = [{ path: '/late-head', grpc: true }, { path: '/stream', grpc: true }, {}]
    await using front = await runBoth({ target: backend.url, timeouts, routes })
    await using client = http2Client(front.port)
    assert.equal((await call(client, { ':path': '/late-head' })).body, 'onetwo')
    assert.equal((await call(client, { ':path': '/stream' })).body, 'onetwo')
    assert.equal((await call(client, { ':path': '/other' })).code, 2)
  })

  test('limits of its own hold', async () => {
    await using backend = await mockBackend(neverAnswer)
    const routes = [{ grpc: true, timeouts: { headers: 50 } }]
    const { record } = await callThrough({ target: backend.url, routes })
    assert.equal(record.errorCode, 'ERR_PROXY_HEADERS_TIMEOUT')
  })

  test('limits.requestTimeoutMs does not end a stream of messages', async () => {
    const end = async (front: RunningProxy): Promise<unknown[]> => {
      await using client = http2Client(front.port)
      const body = new PassThrough()
      const asked = client.ask(CALL, body)
      body.write(MESSAGE)
      await pause(500)
      body.end(MESSAGE)
      const { headers, trailers } = await asked
      return [headers['grpc-status'], trailers['grpc-status']]
    }
    await using backend = await mockBackend(answers('0'))
    const options = { target: backend.url, limits: { requestTimeoutMs: 100 } }
    await using front = await runBoth({ ...options, routes: [{ grpc: true }] })
    assert.deepEqual(await end(front), [undefined, '0'])
    await using other = await runBoth(options)
    assert.deepEqual(await end(other), ['14', undefined])
  })
})
