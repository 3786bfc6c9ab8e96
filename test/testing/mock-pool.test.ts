import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BodySource, Flow, Lease, ResponseSink } from '../../src/contracts/pool.ts'
import { Backend } from '../../src/model/backend.ts'
import { ProxyError } from '../../src/model/errors.ts'
import type { RequestHead } from '../../src/model/message.ts'
import type { Outcome } from '../../src/model/outcome.ts'
import { exchangeView } from '../../src/testing/exchange-view.ts'
import { mockPool } from '../../src/testing/mock-pool.ts'

const GET: RequestHead = { method: 'GET', path: '/', authority: 'a', headers: ['Host', 'a'], upgrade: null }
const DONE: Outcome = { kind: 'answered', status: 200, grpcStatus: null, error: null, firstByteMs: 1, totalMs: 2 }
const backend = new Backend('http://127.0.0.1:1')
const other = new Backend('http://127.0.0.1:2')

/** A sink that writes down its calls; `onChunk` answers for `onData`. */
function noting(onChunk: (chunk: Buffer) => boolean = () => true): {
  sink: ResponseSink
  calls: string[]
  done: Promise<void>
  /** Of the response. */
  own: { flow: Flow }
} {
  const calls: string[] = []
  const own = { flow: { resume() {}, retain() {} } }
  let finish = (): void => {}
  const done = new Promise<void>((resolve) => {
    finish = resolve
  })
  const sink: ResponseSink = {
    onInformational: ({ status, headers }) => void calls.push(`${status} ${headers.join(' ')}`.trim()),
    onHead: ({ status, reason, headers, bodyBytes }, flow) => {
      own.flow = flow
      calls.push(`${status} ${reason} [${headers.join(' ')}] ${bodyBytes}`)
    },
    onData(chunk) {
      calls.push(`data ${chunk}`)
      return onChunk(chunk)
    },
    onFlush: () => void calls.push('flush'),
    onUpgrade: () => void calls.push('upgrade'),
    onEnd(trailers) {
      calls.push(`end ${trailers?.join(' ') ?? ''}`.trim())
      finish()
    },
    onError(error) {
      calls.push(`error ${error.code}`)
      finish()
    },
  }
  return { sink, calls, done, own }
}

function lease(pool: ReturnType<typeof mockPool>, from = backend): Lease {
  const connection = pool.acquire(from, exchangeView())
  assert.ok(!(connection instanceof Promise))
  return connection
}

function bodyOf(text: string, expectsContinue = false): BodySource {
  return {
    bytes: text.length,
    expectsContinue,
    isReplayable: true,
    stop() {},
    start(sink) {
      for (const char of text) sink.onBody(Buffer.from(char))
      sink.onBodyEnd(['X-T', '1'])
    },
    resume() {},
  }
}

test('a response comes in order, and not from within send()', async () => {
  const pool = mockPool({
    informational: [{ status: 103, headers: ['Link', '</a>'] }],
    status: 201,
    reason: 'Made',
    headers: { 'X-A': '1' },
    chunks: ['a', 'b'],
    trailers: ['X-T', '2'],
  })
  const { sink, calls, done } = noting()
  lease(pool).send(GET, null, sink)
  assert.deepEqual(calls, [])
  await done
  assert.deepEqual(calls, [
    '103 Link </a>',
    '201 Made [X-A 1 Transfer-Encoding chunked] -1',
    'flush',
    'data a',
    'flush',
    'data b',
    'flush',
    'end X-T 2',
  ])
})

test('a body of known length is announced, and HEAD, 204 and 304 have none', async () => {
  for (const [method, status, expected] of [
    ['GET', 200, ['200  [Content-Length 5] 5', 'flush', 'data hello', 'flush', 'end']],
    ['HEAD', 200, ['200  [Content-Length 5] 0', 'end']],
    ['GET', 204, ['204  [] 0', 'end']],
    ['GET', 304, ['304  [] 0', 'end']],
  ] as const) {
    const { sink, calls, done } = noting()
    lease(mockPool({ status, body: 'hello' })).send({ ...GET, method }, null, sink)
    await done
    assert.deepEqual(calls, expected)
  }
})

test('the script gets the request with its whole body', async () => {
  const pool = mockPool(({ head, body, trailers, backend }) => ({
    body: `${head.method} ${head.path} ${body} ${trailers} ${backend.id}`,
  }))
  const { sink, calls, done } = noting()
  const head = { ...GET, method: 'POST', path: '/p', headers: ['Host', 'a'] }
  lease(pool).send(head, bodyOf('body'), sink)
  // What the proxy does with its list afterwards is not seen.
  head.headers.push('Late', '1')
  await done
  assert.equal(calls[2], 'data POST /p body X-T,1 http://127.0.0.1:1')
  assert.deepEqual(
    pool.requests.map((request) => [request.head.headers, request.body.toString()]),
    [[['Host', 'a'], 'body']],
  )
})

test('a body that expects 100 gets it; an unread body never starts', async () => {
  const asked = noting()
  lease(mockPool({})).send(GET, bodyOf('b', true), asked.sink)
  await asked.done
  assert.equal(asked.calls[0], '100')
  const refused = noting()
  const body = { ...bodyOf('b', true), start: () => assert.fail('the body was started') }
  lease(mockPool({ status: 413 }, { readsBody: false })).send(GET, body, refused.sink)
  await refused.done
  assert.deepEqual(refused.calls, ['413  [Content-Length 0] 0', 'end'])
})

test('after onData returned false it waits for resume()', async () => {
  const { sink, calls, done, own } = noting((chunk) => String(chunk) !== 'a')
  lease(mockPool({ chunks: ['a', 'b'] })).send(GET, null, sink)
  await new Promise(setImmediate)
  assert.deepEqual(calls.slice(2), ['data a', 'flush'])
  own.flow.resume()
  await done
  assert.deepEqual(calls.slice(4), ['data b', 'flush', 'end'])
})

test('a chunk is overwritten after the call unless it is retained', async () => {
  const pool = mockPool({ chunks: ['aa', 'bb'] })
  const kept: Buffer[] = []
  const { sink, done, own } = noting((chunk) => {
    if (kept.length === 0) own.flow.retain()
    kept.push(chunk)
    return true
  })
  lease(pool).send(GET, null, sink)
  await done
  assert.deepEqual(
    kept.map((chunk) => chunk.toString('hex')),
    ['6161', 'dddd'],
  )
})

test('an error comes in place of a response, or after a part of it', async () => {
  const reset = new ProxyError('ERR_PROXY_RESET', 'reset', { backend })
  const cut = new ProxyError('ERR_PROXY_TRUNCATED', 'cut', { backend })
  const pool = mockPool([reset, { chunks: ['a'], error: cut }, { body: 'fine' }])
  const all: string[][] = []
  for (let i = 0; i < 4; i++) {
    const { sink, calls, done } = noting()
    lease(pool).send(GET, null, sink)
    await done
    all.push(calls)
  }
  assert.deepEqual(all[0], ['error ERR_PROXY_RESET'])
  assert.deepEqual(all[1]?.slice(1), ['flush', 'data a', 'flush', 'error ERR_PROXY_TRUNCATED'])
  assert.equal(all[2]?.at(-1), 'end')
  assert.deepEqual(all[3], all[2])
})

test('a promise delays the response; after release() nothing comes', async () => {
  let answer = (): void => {}
  const slow = new Promise<object>((resolve) => {
    answer = () => resolve({ body: 'late' })
  })
  const pool = mockPool(() => slow)
  const kept = noting()
  const released = noting()
  lease(pool).send(GET, null, kept.sink)
  const connection = lease(pool)
  connection.send(GET, null, released.sink)
  await new Promise(setImmediate)
  connection.release(DONE)
  answer()
  await kept.done
  await new Promise(setImmediate)
  assert.equal(kept.calls.at(-1), 'end')
  assert.deepEqual(released.calls, [])
})

test('release() within a callback ends the delivery there', async () => {
  const connection = lease(mockPool({ chunks: ['a', 'b'] }))
  const { sink, calls } = noting(() => {
    connection.release(DONE)
    return false
  })
  connection.send(GET, null, sink)
  await new Promise(setImmediate)
  assert.deepEqual(calls.slice(2), ['data a'])
})

test('leases, sends and releases are recorded in order; a repeated release is not', async () => {
  const pool = mockPool()
  const outcome = { ...DONE }
  const { sink, done } = noting()
  const a = lease(pool)
  const b = lease(pool, other)
  a.send(GET, null, sink)
  await done
  a.release(outcome)
  outcome.kind = 'failed'
  a.release(outcome)
  assert.deepEqual(
    pool.events.map(({ type, backend }) => `${type} ${backend.id}`),
    [
      'acquire http://127.0.0.1:1',
      'acquire http://127.0.0.1:2',
      'send http://127.0.0.1:1',
      'release http://127.0.0.1:1',
    ],
  )
  const last = pool.events.at(-1)
  assert.deepEqual(last?.type === 'release' && last.outcome, DONE)
  assert.equal(pool.leased, 1)
  b.release(DONE)
  assert.equal(pool.leased, 0)
})

test('isReused can be set, and counts in stats()', () => {
  const pool = mockPool()
  assert.equal(lease(pool).isReused, false)
  pool.isReused = true
  assert.equal(lease(pool).isReused, true)
  assert.deepEqual(pool.stats().backends, [
    { backend: backend.id, connections: 2, idle: 0, connecting: 0, waiting: 0, opened: 1, reused: 1 },
  ])
})

test('a lease can be refused or delayed, until the exchange ends', async () => {
  const full = new ProxyError('ERR_PROXY_POOL_FULL', 'full', { backend })
  const refusing = mockPool({}, { acquire: () => full })
  await assert.rejects(async () => refusing.acquire(backend, exchangeView()), full)
  let admit = (): void => {}
  const gate = new Promise<null>((resolve) => {
    admit = () => resolve(null)
  })
  const pool = mockPool({}, { acquire: () => gate })
  const abort = new AbortController()
  const aborted = pool.acquire(backend, exchangeView({ signal: abort.signal })) as Promise<Lease>
  const patient = pool.acquire(backend, exchangeView())
  assert.equal(pool.stats().backends[0]?.waiting, 2)
  abort.abort()
  await assert.rejects(aborted, { code: 'ERR_PROXY_CLIENT_GONE' })
  admit()
  await patient
  assert.deepEqual([pool.leased, pool.stats().backends[0]?.waiting], [1, 0])
})

test('misuse of a connection throws', () => {
  const pool = mockPool()
  const twice = lease(pool)
  twice.send(GET, null, noting().sink)
  assert.throws(() => twice.send(GET, null, noting().sink), /twice/)
  const late = lease(pool)
  late.release(DONE)
  assert.throws(() => late.send(GET, null, noting().sink), /after release/)
})

test('drain() and close() wait for leases; destroy() fails them', async () => {
  const pool = mockPool(() => new Promise(() => {}))
  const order: string[] = []
  const a = lease(pool)
  const b = lease(pool, other)
  const drained = pool.drain(backend).then(() => order.push('drained'))
  const closed = pool.close().then(() => order.push('closed'))
  await assert.rejects(async () => pool.acquire(backend, exchangeView()), { code: 'ERR_PROXY_CLOSED' })
  order.push('a')
  a.release(DONE)
  await drained
  const { sink, calls } = noting()
  b.send(GET, null, sink)
  pool.destroy()
  assert.deepEqual(calls, ['error ERR_PROXY_RESET'])
  order.push('b')
  b.release(DONE)
  await closed
  assert.deepEqual(order, ['a', 'drained', 'b', 'closed'])
})
