import assert from 'node:assert/strict'
import { types } from 'node:util'
import type { BackendPoolStats, BodySource, Flow, Lease, Pool, ResponseSink } from '../contracts/pool.ts'
import { Backend } from '../model/backend.ts'
import { ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { ExchangeView, HeaderList } from '../model/exchange-view.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import type { Outcome } from '../model/outcome.ts'
import { exchangeView } from './exchange-view.ts'
import {
  badChunk,
  closeIdleInRace,
  cutMidBody,
  cutOnRequest,
  garbage,
  longBody,
  neverAnswer,
  resetMidBody,
  resetOnRequest,
  shortBody,
  twoFramings,
} from './misbehaviour.ts'
import { deadPort, type MockBackend, mockBackend } from './mock-backend.ts'
import type { MockScript } from './mock-script.ts'
import type { SuiteRunner } from './suite-runner.ts'

/** The abilities of a pool beyond the minimum of the contract. */
export interface PoolTraits {
  /** Connections are reused for further requests. Default true. */
  readonly keepsAlive?: boolean | undefined
  /** Trailers of responses are delivered. Default true. */
  readonly trailers?: boolean | undefined
  /** 1xx heads are delivered, and `expectsContinue` is honoured. Default true. */
  readonly informational?: boolean | undefined
  /** Creates a pool with these bounds for each backend. Without it the tests of bounds are skipped. */
  readonly bounded?: ((bounds: { maxConnections: number; maxWaiting: number }) => Pool) | undefined
}

/**
 * Registers the tests that every {@link Pool} must pass; they run against real servers on loopback.
 * Call it in a test file: `poolSuite('my pool', () => myPool(), { test, describe })`.
 * @param factory creates a pool for each test; the suite destroys it.
 * @param runner functions of your test runner.
 * @param traits abilities of the pool beyond the contract; `false` skips the tests of an ability.
 */
export function poolSuite(
  name: string,
  factory: () => Pool,
  { test, describe }: SuiteRunner,
  traits: PoolTraits = {},
): void {
  const { keepsAlive = true, trailers = true, informational = true, bounded } = traits

  /** Registers a test with its own backend and pool, which are closed at its end. */
  function wire(
    what: string,
    script: MockScript | undefined,
    body: (scene: Scene) => Promise<void>,
    make = factory,
  ): void {
    test(what, async () => {
      const pool = make()
      await using server = await mockBackend(script)
      const limit = gate()
      const timer = setTimeout(() => limit.fail(new Error(`the pool did not finish within ${LIMIT} ms`)), LIMIT)
      try {
        await Promise.race([body({ pool, server, backend: new Backend(server.url) }), limit.opened])
      } finally {
        clearTimeout(timer)
        pool.destroy()
      }
    })
  }

  describe(`${name} is a Pool`, () => {
    wire(
      'it sends the head as given and delivers the response as received',
      {
        status: 203,
        reason: 'As You Like',
        headers: ['X-Odd-CASE', '1', 'set-cookie', 'a=1', 'Set-Cookie', 'b=2'],
        body: 'hello',
      },
      async ({ pool, server, backend }) => {
        const headers = ['Host', 'example.com', 'x-TWO', '1', 'Cookie', 'c', 'X-two', '2']
        const got = await run(pool, backend, { path: '/p?q=1', headers })
        const request = await server.nextRequest()
        assert.deepEqual([request.method, request.path, request.version], ['GET', '/p?q=1', '1.1'])
        const sent = request.headers.filter((_, i) => !/^connection$/i.test(request.headers[i - (i % 2)] ?? ''))
        assert.deepEqual(sent, headers, 'only Connection may be added, and no header changed or moved')
        assert.equal(got.error, null)
        assert.deepEqual([got.head?.status, got.head?.reason, got.head?.bodyBytes], [203, 'As You Like', 5])
        const received = ['X-Odd-CASE', '1', 'set-cookie', 'a=1', 'Set-Cookie', 'b=2', 'Content-Length', '5']
        assert.deepEqual(got.head?.headers, received)
        assert.equal(got.body, 'hello')
        assert.equal(got.trailers, null)
        assert.deepEqual(server.faults, [])
      },
    )

    wire(
      'it responds after send() has returned, the head first and the end last',
      { body: 'hello' },
      async ({ pool, backend }) => {
        const connection = await pool.acquire(backend, view())
        const sink = collector()
        connection.send(GET, null, sink)
        assert.deepEqual(sink.calls, [])
        await sink.done
        assert.equal(sink.calls[0], 'head')
        assert.equal(sink.calls.at(-1), 'end')
        connection.release(ANSWERED)
      },
    )

    wire('a body of known length is sent with that length', undefined, async ({ pool, server, backend }) => {
      const body = bodyOf(['hello', ' ', 'world'], { bytes: 11 })
      await run(pool, backend, { method: 'POST', body })
      const request = await server.nextRequest()
      assert.equal(request.header('content-length'), '11')
      assert.equal(request.header('transfer-encoding'), undefined)
      assert.equal(request.wireBytes.toString(), 'hello world')
      assert.deepEqual(server.faults, [])
    })

    wire('a body of unknown length is sent in chunks', undefined, async ({ pool, server, backend }) => {
      await run(pool, backend, { method: 'PUT', body: bodyOf(['hello', ' world'], { bytes: -1 }) })
      const request = await server.nextRequest()
      assert.equal(request.header('content-length'), undefined)
      assert.equal(request.header('transfer-encoding')?.toLowerCase(), 'chunked')
      assert.equal(request.bodyText, 'hello world')
      assert.deepEqual(server.faults, [])
    })

    wire('an empty body is framed as such', undefined, async ({ pool, server, backend }) => {
      await run(pool, backend, { method: 'POST', body: bodyOf([], { bytes: 0 }) })
      assert.equal((await server.nextRequest()).header('content-length'), '0')
      await run(pool, backend, { method: 'POST', body: bodyOf([], { bytes: -1 }) })
      const request = await server.nextRequest()
      assert.deepEqual([request.isComplete, request.bodyText], [true, ''])
    })

    wire(
      'a slow backend pauses the body',
      (request) => request.pause(),
      async ({ pool, server, backend }) => {
        const total = 64
        const body = bodyOf(
          Array.from({ length: total }, () => Buffer.alloc(1024 * 1024)),
          { bytes: total * 1024 * 1024 },
        )
        const connection = await pool.acquire(backend, view())
        connection.send({ ...GET, method: 'POST' }, body, collector())
        const request = await server.nextRequestHead()
        await body.held
        assert.ok(body.delivered < total, 'the whole body was taken at once')
        request.resume()
        assert.equal((await request.body()).length, total * 1024 * 1024)
        connection.release(ABORTED)
      },
    )

    wire(
      'a chunked response has no length and is decoded',
      { chunks: ['a', 'bc', 'def'] },
      async ({ pool, backend }) => {
        const got = await run(pool, backend)
        assert.equal(got.head?.bodyBytes, -1)
        assert.equal(got.body, 'abcdef')
        assert.equal(got.trailers, null)
      },
    )

    wire(
      'a response that ends with its connection is complete',
      { untilClose: true, body: 'to the end' },
      async ({ pool, server, backend }) => {
        const got = await run(pool, backend)
        assert.equal(got.head?.bodyBytes, -1)
        assert.deepEqual([got.body, got.calls.at(-1)], ['to the end', 'end'])
        await server.untilOpenConnections(0)
      },
    )

    wire(
      'HEAD, 204 and 304 have no body, whatever their heads announce',
      [{ body: 'hello' }, { status: 204 }, { status: 304, headers: ['Content-Length', '5'] }, { body: 'after' }],
      async ({ pool, backend }) => {
        const head = await run(pool, backend, { method: 'HEAD' })
        assert.deepEqual([head.head?.bodyBytes, head.body, head.calls.at(-1)], [0, '', 'end'])
        for (const status of [204, 304]) {
          const got = await run(pool, backend)
          assert.deepEqual([got.head?.status, got.head?.bodyBytes, got.body], [status, 0, ''])
        }
        assert.equal((await run(pool, backend)).body, 'after')
      },
    )

    wire(
      'a response that comes before the body was read is delivered',
      (_request, reply) => {
        reply.send({ status: 413, headers: ['Connection', 'close'] })
      },
      async ({ pool, backend }) => {
        const body = bodyOf([], { bytes: 10, isEndless: true })
        assert.equal((await run(pool, backend, { method: 'POST', body })).head?.status, 413)
      },
    )

    wire('received data is flushed before more arrives', undefined, async ({ pool, server, backend }) => {
      const first = gate()
      server.use(async (_request, reply) => {
        reply.head()
        reply.chunk('early')
        await first.opened
        reply.chunk('late')
        reply.end()
      })
      const connection = await pool.acquire(backend, view())
      const sink = collector()
      // The backend continues only after the early piece was flushed; otherwise this test times out.
      sink.afterFlush = () => {
        if (sink.body() === 'early') first.open()
      }
      connection.send(GET, null, sink)
      await sink.done
      assert.equal(sink.body(), 'earlylate')
      connection.release(ANSWERED)
    })

    wire(
      'after onData returned false nothing is delivered until resume()',
      { body: Buffer.alloc(4 * 1024 * 1024, 'x') },
      async ({ pool, backend }) => {
        const connection = await pool.acquire(backend, view())
        const sink = collector()
        const stopped = gate()
        sink.onChunk = () => {
          stopped.open()
          return false
        }
        connection.send(GET, null, sink)
        await stopped.opened
        const before = sink.body().length
        // Meanwhile another exchange completes. A pool that does not stop has delivered more by then.
        await run(pool, backend, { method: 'HEAD' })
        assert.equal(sink.body().length, before)
        assert.ok(before < 4 * 1024 * 1024)
        sink.onChunk = () => true
        sink.flow.resume()
        await sink.done
        assert.equal(sink.body().length, 4 * 1024 * 1024)
        connection.release(ANSWERED)
      },
    )

    wire(
      'a retained chunk is not overwritten',
      { chunks: Array.from({ length: 200 }, (_, i) => `${i}`.padEnd(5000, '.')) },
      async ({ pool, backend }) => {
        const connection = await pool.acquire(backend, view())
        const sink = collector()
        const kept: Buffer[] = []
        const copies: string[] = []
        sink.onChunk = (chunk) => {
          sink.flow.retain()
          kept.push(chunk)
          copies.push(chunk.toString())
          return true
        }
        connection.send(GET, null, sink)
        await sink.done
        assert.deepEqual(kept.map(String), copies)
        connection.release(ANSWERED)
      },
    )

    for (const [what, script] of [
      ['RST', resetOnRequest],
      ['FIN', cutOnRequest],
    ] as const) {
      wire(`${what} before a response is a reset, reported once`, script, async ({ pool, backend }) => {
        const got = await run(pool, backend)
        assert.deepEqual(got.calls, ['error'])
        assertError(got.error, backend, 'ERR_PROXY_RESET')
      })
    }

    for (const [what, script] of [
      ['RST in the middle of a body', resetMidBody],
      ['FIN in the middle of a chunked body', cutMidBody],
      ['FIN in the middle of a body of known length', shortBody],
      ['a malformed chunk', badChunk],
    ] as const) {
      wire(`${what} truncates the response, it does not end it`, script, async ({ pool, backend }) => {
        const got = await run(pool, backend)
        assert.equal(got.calls[0], 'head')
        assert.equal(got.calls.filter((call) => call === 'error' || call === 'end').join(), 'error')
        assertError(got.error, backend, 'ERR_PROXY_TRUNCATED')
      })
    }

    for (const [what, script] of [
      ['anything but HTTP', garbage],
      ['a response with two framings', twoFramings],
    ] as const) {
      wire(`${what} is a bad response`, script, async ({ pool, server, backend }) => {
        const got = await run(pool, backend)
        assert.deepEqual(got.calls, ['error'])
        assertError(got.error, backend, 'ERR_PROXY_BAD_RESPONSE')
        await server.untilOpenConnections(0)
      })
    }

    wire('a refused connection is a connect error', undefined, async ({ pool }) => {
      const backend = new Backend((await deadPort()).url)
      const got = await run(pool, backend)
      assertError(got.error, backend, 'ERR_PROXY_CONNECT')
      // instanceof does not work with jest, which gives each test file its own Error.
      assert.ok(types.isNativeError(got.error?.cause), 'the cause is kept')
    })

    wire(
      'bytes after a response end its connection and reach no other exchange',
      [longBody, { body: 'clean' }],
      async ({ pool, server, backend }) => {
        const got = await run(pool, backend)
        if (got.error === null) assert.equal(got.body, '0123456789')
        await server.untilOpenConnections(0)
        assert.equal((await run(pool, backend)).body, 'clean')
      },
    )

    wire(
      'release() before the end closes the connection and stops its calls',
      neverAnswer,
      async ({ pool, server, backend }) => {
        const connection = await pool.acquire(backend, view())
        const sink = collector()
        connection.send(GET, null, sink)
        await server.nextRequest()
        connection.release(ABORTED)
        connection.release(ABORTED)
        await server.untilOpenConnections(0)
        assert.deepEqual(sink.calls, [])
      },
    )

    wire('release() without send() returns the connection to the pool', undefined, async ({ pool, backend }) => {
      const unused = await pool.acquire(backend, view())
      unused.release(ABORTED)
      assert.equal((await run(pool, backend)).body, 'GET /')
    })

    wire(
      'a connection with an announced close is not reused',
      [{ headers: ['Connection', 'close'] }, { body: 'fresh' }],
      async ({ pool, server, backend }) => {
        await run(pool, backend)
        const got = await run(pool, backend)
        assert.deepEqual([got.isReused, got.body, server.connections], [false, 'fresh', 2])
      },
    )

    if (keepsAlive) {
      wire('a connection is reused, by one exchange at a time', undefined, async ({ pool, server, backend }) => {
        const first = await run(pool, backend)
        assert.equal(first.isReused, false)
        const reused = await pool.acquire(backend, view())
        assert.equal(reused.isReused, true)
        const other = await pool.acquire(backend, view())
        assert.equal(other.isReused, false)
        reused.release(ABORTED)
        other.release(ABORTED)
        assert.ok(server.connections <= 2)
      })

      wire('a repeated release() has no effect', undefined, async ({ pool, backend }) => {
        const connection = await pool.acquire(backend, view())
        const sink = collector()
        connection.send(GET, null, sink)
        await sink.done
        connection.release(ANSWERED)
        connection.release(ANSWERED)
        const [a, b] = [await pool.acquire(backend, view()), await pool.acquire(backend, view())]
        assert.deepEqual([a.isReused, b.isReused], [true, false])
        a.release(ABORTED)
        b.release(ABORTED)
      })

      for (const how of ['reset', 'fin'] as const) {
        wire(
          `a ${how} that crosses the next request is a reset of a reused connection`,
          closeIdleInRace(how),
          async ({ pool, backend }) => {
            await run(pool, backend)
            const got = await run(pool, backend)
            assert.deepEqual([got.isReused, got.calls], [true, ['error']])
            assertError(got.error, backend, 'ERR_PROXY_RESET')
            assert.equal((await run(pool, backend)).body, 'GET /')
          },
        )
      }

      wire('a connection that was closed while idle is not leased', undefined, async ({ pool, server, backend }) => {
        await run(pool, backend)
        server.closeIdle()
        await server.untilOpenConnections(0)
        const got = await run(pool, backend)
        assert.deepEqual([got.isReused, got.body], [false, 'GET /'])
      })

      wire('backends do not share connections', undefined, async ({ pool, server, backend }) => {
        await using elsewhere = await mockBackend({ body: 'elsewhere' })
        await run(pool, backend)
        const got = await run(pool, new Backend(elsewhere.url))
        assert.deepEqual([got.isReused, got.body, server.requests.length], [false, 'elsewhere', 1])
      })

      wire('stats() counts open, idle, new and reused connections', undefined, async ({ pool, backend }) => {
        const figures = (): number[] => {
          const { connections, idle, waiting, opened, reused } = figuresOf(pool, backend)
          return [connections, idle, waiting, opened, reused]
        }
        await run(pool, backend)
        assert.deepEqual(figures(), [1, 1, 0, 1, 0])
        const connection = await pool.acquire(backend, view())
        assert.deepEqual(figures(), [1, 0, 0, 1, 1])
        connection.release(ABORTED)
      })

      wire(
        'drain() closes idle connections at once, and leased ones after their release',
        [neverAnswer, { body: 'a' }],
        async ({ pool, server, backend }) => {
          const connection = await pool.acquire(backend, view())
          connection.send(GET, null, collector())
          await server.nextRequest()
          await run(pool, backend)
          let isDrained = false
          const drained = pool.drain(backend).then(() => {
            isDrained = true
          })
          assert.equal(figuresOf(pool, backend).idle, 0)
          await server.untilOpenConnections(1)
          assert.equal(isDrained, false)
          connection.release(ABORTED)
          await drained
          await server.untilOpenConnections(0)
        },
      )

      wire('close() closes idle connections', undefined, async ({ pool, server, backend }) => {
        await run(pool, backend)
        const closed = pool.close()
        assert.equal(figuresOf(pool, backend).idle, 0)
        await closed
        await server.untilOpenConnections(0)
      })
    }

    if (trailers) {
      wire(
        'trailers are delivered at the end',
        { chunks: ['a'], trailers: ['X-Sum', '1', 'x-more', '2'] },
        async ({ pool, backend }) => {
          assert.deepEqual((await run(pool, backend)).trailers, ['X-Sum', '1', 'x-more', '2'])
        },
      )
    }

    if (informational) {
      wire(
        '1xx heads are delivered before the head',
        (_request, reply) => {
          reply.informational(103, ['Link', '</a>'])
          reply.informational(103, ['Link', '</b>'])
          reply.send({ body: 'x' })
        },
        async ({ pool, backend }) => {
          const got = await run(pool, backend)
          assert.deepEqual(got.calls.slice(0, 3), ['103', '103', 'head'])
          assert.deepEqual(
            got.informational.map((head) => head.headers),
            [
              ['Link', '</a>'],
              ['Link', '</b>'],
            ],
          )
        },
      )

      wire('a body that expects 100 Continue is not read before it', undefined, async ({ pool, server, backend }) => {
        const body = bodyOf(['hello'], { bytes: 5, expectsContinue: true })
        server.use(async (request, reply) => {
          assert.equal(body.isStarted, false)
          reply.continue()
          await request.body()
          reply.send({ body: 'thanks' })
        })
        const got = await run(pool, backend, { method: 'POST', headers: EXPECT, body })
        assert.deepEqual([got.body, server.requests[0]?.bodyText], ['thanks', 'hello'])
      })

      wire(
        'a final response in place of 100 Continue leaves the body unread',
        (_request, reply) => {
          reply.send({ status: 417 })
        },
        async ({ pool, server, backend }) => {
          const body = bodyOf(['hello'], { bytes: 5, expectsContinue: true })
          const got = await run(pool, backend, { method: 'POST', headers: EXPECT, body })
          assert.deepEqual([got.head?.status, body.isStarted], [417, false])
          // The request was sent without its body, so the connection cannot be reused.
          await server.untilOpenConnections(0)
        },
      )
    }

    if (bounded !== undefined) {
      wire(
        'over the limits, exchanges first wait in order and are then refused',
        undefined,
        async ({ pool, backend }) => {
          const held = await pool.acquire(backend, view())
          const second = pool.acquire(backend, view())
          const third = pool.acquire(backend, view())
          const fourth = pool.acquire(backend, view())
          await assert.rejects(Promise.resolve(fourth), { code: 'ERR_PROXY_POOL_FULL', status: 503 })
          const order: string[] = []
          const finish = (name: string) => (connection: Lease) => {
            order.push(name)
            const { connections, connecting } = figuresOf(pool, backend)
            assert.ok(connections + connecting <= 1)
            connection.release(ABORTED)
          }
          const waits = [Promise.resolve(second).then(finish('second')), Promise.resolve(third).then(finish('third'))]
          await new Promise(setImmediate)
          assert.deepEqual(order, [])
          held.release(ABORTED)
          await Promise.all(waits)
          assert.deepEqual(order, ['second', 'third'])
        },
        () => bounded({ maxConnections: 1, maxWaiting: 2 }),
      )

      wire(
        'an aborted exchange stops waiting and frees its place in the queue',
        undefined,
        async ({ pool, backend }) => {
          const held = await pool.acquire(backend, view())
          const abort = new AbortController()
          const waiting = Promise.resolve(pool.acquire(backend, view(abort.signal)))
          abort.abort()
          await assert.rejects(waiting, ProxyError)
          const next = pool.acquire(backend, view())
          held.release(ABORTED)
          const connection = await next
          connection.release(ABORTED)
        },
        () => bounded({ maxConnections: 1, maxWaiting: 1 }),
      )
    }

    wire(
      'close() refuses new leases and waits for current ones',
      [{ body: 'last' }],
      async ({ pool, server, backend }) => {
        const connection = await pool.acquire(backend, view())
        let isClosed = false
        const closed = pool.close().then(() => {
          isClosed = true
        })
        await assert.rejects(async () => pool.acquire(backend, view()), { code: 'ERR_PROXY_CLOSED' })
        const sink = collector()
        connection.send(GET, null, sink)
        await sink.done
        assert.deepEqual([sink.body(), isClosed], ['last', false])
        connection.release(ANSWERED)
        await closed
        await server.untilOpenConnections(0)
      },
    )

    wire(
      'destroy() fails current exchanges and closes all connections',
      neverAnswer,
      async ({ pool, server, backend }) => {
        const connection = await pool.acquire(backend, view())
        const sink = collector()
        connection.send(GET, null, sink)
        await server.nextRequest()
        pool.destroy()
        await sink.done
        assert.deepEqual(sink.calls, ['error'])
        assert.ok(sink.error instanceof ProxyError)
        connection.release(ABORTED)
        await server.untilOpenConnections(0)
        await pool.close()
      },
    )
  })
}

interface Scene {
  readonly pool: Pool
  readonly server: MockBackend
  readonly backend: Backend
}

const GET: RequestHead = { method: 'GET', path: '/', authority: 'a', headers: ['Host', 'a'], upgrade: null }
const EXPECT = ['Host', 'a', 'Expect', '100-continue']
const ANSWERED: Outcome = { kind: 'answered', status: 200, grpcStatus: null, error: null, firstByteMs: 1, totalMs: 1 }
const ABORTED: Outcome = { kind: 'aborted', status: 0, grpcStatus: null, error: null, firstByteMs: -1, totalMs: 1 }
/** Time limit of a test, ms: a broken pool must not hang for ever. */
const LIMIT = 10_000

/** An exchange, as a pool sees it. */
function view(signal = new AbortController().signal): ExchangeView {
  return exchangeView({
    headers: GET.headers,
    timeouts: { connect: LIMIT, acquire: LIMIT, headers: LIMIT, idle: LIMIT, total: 0, upgradeIdle: 0, intercept: 0 },
    signal,
  })
}

/** The result of one exchange. */
interface Result {
  readonly calls: readonly string[]
  readonly isReused: boolean
  readonly informational: readonly ResponseHead[]
  readonly head: ResponseHead | null
  readonly body: string
  readonly trailers: HeaderList | null
  readonly error: ProxyError | null
}

/** Runs one exchange: lease, send, wait for the end, release. */
async function run(
  pool: Pool,
  backend: Backend,
  options: Partial<RequestHead> & { body?: BodySource } = {},
): Promise<Result> {
  const { body = null, ...head } = options
  const sink = collector()
  let connection: Lease
  try {
    connection = await pool.acquire(backend, view())
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error
    return { calls: ['error'], isReused: false, informational: [], head: null, body: '', trailers: null, error }
  }
  const { isReused } = connection
  connection.send({ ...GET, ...head }, body, sink)
  await sink.done
  const { calls, informational, head: got, trailers, error } = sink
  connection.release({ ...ANSWERED, kind: error === null ? 'answered' : 'failed', error })
  return { calls, isReused, informational, head: got, body: sink.body(), trailers, error }
}

function figuresOf(pool: Pool, backend: Backend): Omit<BackendPoolStats, 'backend'> {
  const none = { connections: 0, idle: 0, connecting: 0, waiting: 0, opened: 0, reused: 0 }
  return pool.stats().backends.find((stats) => stats.backend === backend.id) ?? none
}

function assertError(error: ProxyError | null, backend: Backend, code: ProxyErrorCode): void {
  assert.ok(error instanceof ProxyError, 'no ProxyError was reported')
  assert.equal(error.code, code)
  assert.equal(error.side, 'backend')
  assert.equal(error.backend, backend)
}

/** A sink that records its calls, and checks their order. */
interface Collector extends ResponseSink {
  readonly calls: string[]
  readonly informational: ResponseHead[]
  head: ResponseHead | null
  flow: Flow
  trailers: HeaderList | null
  error: ProxyError | null
  /** Resolves after `onEnd` or `onError`; rejects for a call out of order. */
  readonly done: Promise<void>
  body(): string
  onChunk: (chunk: Buffer) => boolean
  afterFlush: () => void
}

function collector(): Collector {
  const chunks: Buffer[] = []
  const end = gate()
  let isOver = false
  function record(call: string, isInOrder: boolean): void {
    if (isOver || !isInOrder) end.fail(new Error(`${call} came after ${sink.calls.join(', ') || 'nothing'}`))
    if (call !== 'flush') sink.calls.push(call)
  }
  const sink: Collector = {
    calls: [],
    informational: [],
    head: null,
    flow: { resume() {}, retain() {} },
    trailers: null,
    error: null,
    done: end.opened,
    body: () => Buffer.concat(chunks).toString(),
    onChunk: () => true,
    afterFlush: () => {},
    onInformational(head) {
      record(String(head.status), sink.head === null)
      // A pool may handle 100 Continue itself.
      if (head.status !== 100) sink.informational.push(head)
    },
    onHead(head, flow) {
      record('head', sink.head === null)
      sink.head = head
      sink.flow = flow
    },
    onData(chunk) {
      record('data', sink.head !== null)
      // A copy, since the chunk is valid only during the call.
      chunks.push(Buffer.from(chunk))
      return sink.onChunk(chunk)
    },
    onFlush() {
      record('flush', true)
      sink.afterFlush()
    },
    onEnd(trailers) {
      record('end', sink.head !== null)
      isOver = true
      sink.trailers = trailers
      end.open()
    },
    onUpgrade(_head, stream) {
      record('upgrade', false)
      stream.destroy()
    },
    onError(error) {
      record('error', true)
      isOver = true
      sink.error = error
      end.open()
    },
  }
  return sink
}

/** A request body from memory. */
interface TestBody extends BodySource {
  readonly isStarted: boolean
  /** Number of pieces delivered. */
  readonly delivered: number
  /** Resolves when the reader asks to stop, for the first time. */
  readonly held: Promise<void>
}

function bodyOf(
  pieces: readonly (string | Buffer)[],
  options: { bytes: number; expectsContinue?: boolean; isEndless?: boolean },
): TestBody {
  const { bytes, expectsContinue = false, isEndless = false } = options
  const held = gate()
  let sink: Parameters<BodySource['start']>[0] | null = null
  let delivered = 0
  let isOver = false
  function deliver(): void {
    if (sink === null || isOver) return
    while (delivered < pieces.length) {
      if (sink.onBody(Buffer.from(pieces[delivered++] as string))) continue
      held.open()
      return
    }
    if (isEndless) return
    isOver = true
    sink.onBodyEnd(null)
  }
  return {
    bytes,
    expectsContinue,
    isReplayable: false,
    held: held.opened,
    get isStarted() {
      return sink !== null
    },
    get delivered() {
      return delivered
    },
    start(reader) {
      sink = reader
      deliver()
    },
    resume: deliver,
    stop() {
      sink = null
    },
  }
}

/** A promise with the functions that settle it. */
function gate(): { opened: Promise<void>; open: () => void; fail: (error: Error) => void } {
  let open = (): void => {}
  let fail = (_error: Error): void => {}
  const opened = new Promise<void>((resolve, reject) => {
    open = resolve
    fail = reject
  })
  // Nobody may be waiting: avoids an unhandled rejection.
  opened.catch(() => {})
  return { opened, open, fail }
}
