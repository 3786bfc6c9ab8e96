import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CODE, FLAG, FRAME, SETTING } from '../../src/http2/protocol.ts'
import { Backend, type Flow, type Lease, type PoolOptions, type ResponseSink, standardPool } from '../../src/index.ts'
import { exchangeView } from '../../src/testing/index.ts'
import { data, frame, uint32 } from '../http2/wire.ts'
import { type BackendConnection, greet, head, rawBackend } from './raw-backend.ts'

/** A pool, and its only backend. */
async function run(serve: (connection: BackendConnection) => unknown, options: PoolOptions = {}) {
  const raw = await rawBackend(serve)
  const pool = standardPool(options)
  const backend = new Backend({ url: raw.url, protocol: 'h2' })
  return {
    raw,
    pool,
    acquire: async (signal = new AbortController().signal): Promise<Lease> =>
      pool.acquire(backend, exchangeView({ signal })),
    drain: () => pool.drain(backend),
    stats() {
      const [stats] = pool.stats().backends
      assert.ok(stats)
      return stats
    },
    async [Symbol.asyncDispose]() {
      pool.destroy()
      await raw[Symbol.asyncDispose]()
    },
  }
}

/** Sends a GET, and releases its lease when it is over. @returns its status, or the code of its error. */
function get(lease: Lease, more: Partial<ResponseSink> = {}): Promise<number | string> {
  return new Promise((resolve) => {
    let status = 0
    const settle = (result: number | string): void => {
      lease.release({ kind: 'answered', status, grpcStatus: null, error: null, firstByteMs: 0, totalMs: 0 })
      resolve(result)
    }
    lease.send({ method: 'GET', path: '/', authority: 'a', headers: [], upgrade: null }, null, {
      onInformational() {},
      onHead: (response) => {
        status = response.status
      },
      onData: () => true,
      onFlush() {},
      onEnd: () => settle(status),
      onUpgrade() {},
      onError: ({ code }) => settle(code),
      ...more,
    })
  })
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await sleep(1)
}

test('a backend that has refused a stream beyond some gets as many again once it has none', async () => {
  await using pool = await run(async (connection) => {
    greet(connection)
    const [one, other] = [await connection.request(), await connection.request()]
    connection.send(frame(FRAME.RST_STREAM, 0, other.id, uint32(CODE.REFUSED_STREAM)))
    await refused
    connection.send(head(one.id, 200, [], true))
  })
  let go = (): void => {}
  const refused = new Promise<void>((resolve) => {
    go = resolve
  })
  const first = get(await pool.acquire())
  assert.equal(await get(await pool.acquire()), 'ERR_PROXY_REFUSED')
  assert.equal(pool.stats().maxStreams, 1)
  go()
  assert.equal(await first, 200)
  assert.equal(pool.stats().maxStreams, 100)
})

test('a connection that nobody needs any more when it is there is not kept longer than others', async () => {
  await using pool = await run(() => {}, { keepAliveMs: 20 })
  const client = new AbortController()
  const waiting = pool.acquire(client.signal)
  await until(() => pool.raw.connections.length === 1)
  client.abort()
  await assert.rejects(waiting)
  const [connection] = pool.raw.connections
  assert.ok(connection)
  greet(connection)
  await connection.next(FRAME.GOAWAY)
})

test('a pool that ends does not wait for the keep-alive of a connection that was being set up', async () => {
  await using pool = await run(() => {}, { keepAliveMs: 60_000 })
  const waiting = assert.rejects(pool.acquire())
  await until(() => pool.raw.connections.length === 1)
  const drained = pool.drain()
  await waiting
  const [connection] = pool.raw.connections
  assert.ok(connection)
  greet(connection)
  await connection.next(FRAME.GOAWAY)
  connection.socket.end()
  await drained
})

test('as many connections are set up at a time as the last one says that are needed', async () => {
  await using pool = await run((connection) => greet(connection, [SETTING.MAX_CONCURRENT_STREAMS, 2]))
  await pool.acquire()
  await pool.acquire()
  const more = Array.from({ length: 5 }, () => pool.acquire())
  assert.equal(pool.stats().connecting, 3)
  await Promise.all(more)
  assert.equal(pool.raw.connections.length, 4)
})

test('a connection that is lost is not given to those that wait for it', async () => {
  await using pool = await run(
    async (connection) => {
      greet(connection, [SETTING.MAX_CONCURRENT_STREAMS, 1])
      const { id } = await connection.request()
      if (pool.raw.connections.length === 1) connection.socket.resetAndDestroy()
      else connection.send(head(id, 200, [], true))
    },
    { maxConnections: 1 },
  )
  const first = await pool.acquire()
  const second = pool.acquire()
  assert.equal(pool.stats().waiting, 1)
  assert.equal(await get(first), 'ERR_PROXY_RESET')
  assert.equal(await get(await second), 200)
})

test('a sink that resumes within its own call is not called within it', async () => {
  await using pool = await run(async (connection) => {
    greet(connection)
    const { id } = await connection.request()
    connection.send(head(id, 200))
    for (let i = 0; i < 10; i++) connection.send(data(id, Buffer.alloc(2_000), i === 9 ? FLAG.END_STREAM : 0))
  })
  let flow: Flow | null = null
  let depth = 0
  let bytes = 0
  const answered = get(await pool.acquire(), {
    onHead(_, its) {
      flow = its
    },
    onData(chunk) {
      assert.equal(depth++, 0)
      const isFirst = bytes === 0
      bytes += chunk.length
      if (!isFirst) flow?.resume()
      depth--
      return false
    },
  })
  await until(() => bytes > 0)
  await sleep(50)
  ;(flow as Flow | null)?.resume()
  await answered
  assert.equal(bytes, 20_000)
})
