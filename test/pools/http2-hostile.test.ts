import assert from 'node:assert/strict'
import net from 'node:net'
import { describe, mock, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FLAG, FRAME, SETTING } from '../../src/http2/protocol.ts'
import { Session } from '../../src/http2/session.ts'
import { data, frame, uint32 } from '../http2/wire.ts'
import { greet, head, poolStats, runRaw } from './raw-backend.ts'

describe('DATA where a head must be', () => {
  for (const [name, frames] of [
    ['DATA', (id: number) => [data(id, 'x')]],
    ['DATA, and a head', (id: number) => [data(id, 'x'), head(id, 200, [], true)]],
    ['DATA with END_STREAM', (id: number) => [data(id, 'x', FLAG.END_STREAM)]],
    ['empty DATA with END_STREAM', (id: number) => [data(id, '', FLAG.END_STREAM)]],
    ['DATA after a 103', (id: number) => [head(id, 103), data(id, 'x', FLAG.END_STREAM)]],
  ] as const) {
    for (const method of ['GET', 'POST', 'HEAD']) {
      test(`${name}, ${method}: 502`, async () => {
        await using raw = await runRaw(
          async (connection) => {
            greet(connection)
            const { id } = await connection.request()
            connection.send(...frames(id))
          },
          { retry: false },
        )
        const body = method === 'POST' ? { body: 'a' } : {}
        const response = await fetch(raw.front.url, { method, ...body, signal: AbortSignal.timeout(2_000) })
        assert.equal(response.status, 502)
        assert.equal((await raw.front.nextRecord()).errorCode, 'ERR_PROXY_BAD_RESPONSE')
        assert.equal(poolStats(raw.front.proxy).streams, 0)
      })
    }
  }
})

for (const [name, bytes] of [
  ['DATA', data(0, 'x')],
  ['RST_STREAM', frame(FRAME.RST_STREAM, 0, 0, uint32(8))],
] as const) {
  test(`${name} on stream 0 ends the connection`, async () => {
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        await connection.request()
        connection.send(bytes)
      },
      { retry: false },
    )
    assert.equal((await fetch(raw.front.url, { signal: AbortSignal.timeout(2_000) })).status, 502)
    assert.equal((await raw.front.nextRecord()).errorCode, 'ERR_PROXY_BAD_RESPONSE')
  })
}

/** So many requests of clients that go away before they have their responses. */
async function cancelled(port: number, count: number): Promise<void> {
  for (let done = 0; done < count; done += 50) {
    const all = Array.from({ length: 50 }, () => net.connect(port, '127.0.0.1'))
    for (const socket of all) socket.on('error', () => {}).write('GET /cancelled HTTP/1.1\r\nHost: a\r\n\r\n')
    await sleep(40)
    for (const socket of all) socket.resetAndDestroy()
    await sleep(10)
  }
}

for (const [name, late] of [
  ['heads', (id: number) => [head(id, 200, [], true)]],
  ['small pieces', (id: number) => [...new Array(64).fill(data(id, 'x'.repeat(512))), data(id, '', FLAG.END_STREAM)]],
] as const) {
  test(`${name} of responses that many clients have cancelled do not end those of others`, async () => {
    const ids: number[] = []
    let kept = 0
    await using raw = await runRaw(
      async (connection) => {
        greet(connection)
        for (;;) {
          const { id, fields } = await connection.request()
          if (fields[':path'] === '/kept') {
            kept = id
            connection.send(head(id, 200))
          } else {
            if (name !== 'heads') connection.send(head(id, 200))
            ids.push(id)
          }
        }
      },
      { pool: { maxConnections: 1 } },
    )
    const response = await fetch(`${raw.front.url}/kept`)
    await cancelled(raw.front.port, 300)
    const [connection] = raw.backend.connections
    for (const id of ids) connection?.send(...late(id))
    await sleep(50)
    connection?.send(data(kept, 'whole', FLAG.END_STREAM))
    assert.equal(await response.text(), 'whole')
    assert.equal(raw.backend.connections.length, 1)
    for (let i = 0; i < 200 && poolStats(raw.front.proxy).streams !== 0; i++) await sleep(10)
    assert.equal(poolStats(raw.front.proxy).streams, 0)
  })
}

test('a backend that allows no streams does not get connections without end', async () => {
  await using raw = await runRaw((connection) => greet(connection, [SETTING.MAX_CONCURRENT_STREAMS, 0]), {
    timeouts: { acquire: 300 },
    retry: false,
  })
  const response = await fetch(raw.front.url)
  assert.equal(response.status, 504)
  assert.equal((await raw.front.nextRecord()).errorCode, 'ERR_PROXY_ACQUIRE_TIMEOUT')
  assert.equal(raw.backend.connections.length, 1)
})

test('a connection on which nothing comes any more gets no more requests', async () => {
  await using raw = await runRaw(
    async (connection) => {
      greet(connection)
      const isSilent = raw.backend.connections.length === 1
      for (let i = 0; ; i++) {
        const { id } = await connection.request()
        if (!isSilent || i === 0) connection.send(head(id, 200, [], true))
      }
    },
    { timeouts: { headers: 1_100 }, retry: false },
  )
  const statuses: number[] = []
  for (let i = 0; i < 4; i++) statuses.push((await fetch(raw.front.url)).status)
  assert.deepEqual(statuses, [200, 504, 200, 200])
  assert.equal(raw.backend.connections.length, 2)
})

test('a connection whose stream identifiers are used up gets no more requests', async () => {
  await using raw = await runRaw(async (connection) => {
    greet(connection)
    for (;;) connection.send(head((await connection.request()).id, 200, [], true))
  })
  const isUsedUp = mock.getter(Session.prototype, 'isUsedUp', () => true)
  for (let i = 1; i <= 3; i++) {
    assert.equal((await fetch(raw.front.url)).status, 200)
    assert.equal(raw.backend.connections.length, i)
  }
  isUsedUp.mock.restore()
})

test('heads do not pile up for a backend that does not read', async () => {
  await using raw = await runRaw(
    (connection) => {
      greet(connection)
      connection.socket.pause()
    },
    { pool: { maxConnections: 1 }, timeouts: { headers: 100, acquire: 100 }, retry: false },
  )
  const value = 'v'.repeat(12_000)
  const codes: (string | null)[] = []
  for (let i = 0; i < 10; i++) {
    const all = Array.from({ length: 100 }, (_, j) => fetch(raw.front.url, { headers: { 'x-a': `${i}.${j}${value}` } }))
    for (const { status } of await Promise.all(all)) assert.ok(status === 504 || status === 503, String(status))
  }
  for (let i = 0; i < 1_000; i++) codes.push((await raw.front.nextRecord()).errorCode)
  // What the kernel takes, and a quarter of a MiB.
  const sent = codes.filter((code) => code === 'ERR_PROXY_HEADERS_TIMEOUT').length
  assert.ok(sent > 0 && sent < 900, `${sent} were sent`)
  assert.ok(codes.includes('ERR_PROXY_ACQUIRE_TIMEOUT'), 'others wait')
})
