import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ManualClock } from '../../src/testing/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { MIB } from '../support/bytes.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, type RunningProxy, rounds } from '../support/running-proxy.ts'

/** So much that what has been taken makes up for milliseconds only: what is left is the grace of 5 s. */
const RATE = 2 ** 30
const OPTIONS = { limits: { minReadBytesPerSecond: RATE }, timeouts: { idle: 1_000_000 } }

/** Sends as much as is taken, and counts it. */
function flood(length: number) {
  const flood = { sent: 0, handler: (async () => {}) as MockHandler }
  flood.handler = async (_request, reply) => {
    reply.head({ headers: ['Content-Length', String(length)] })
    while (flood.sent < length && !reply.isClosed) {
      flood.sent += MIB
      if (!reply.chunk(Buffer.alloc(MIB))) await reply.drained()
    }
    reply.end()
  }
  return flood
}

/** All buffers on the way are full. */
async function untilBlocked(source: { readonly sent: number }, more: number): Promise<void> {
  const from = source.sent
  for (let before = -1; before !== source.sent || source.sent < from + more; ) {
    before = source.sent
    await rounds(100)
  }
}

function ask(front: RunningProxy): RawClient {
  const client = rawClient(front.port)
  client.socket.pause()
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  return client
}

async function assertCut(front: RunningProxy, clock: ManualClock, left: number): Promise<void> {
  clock.advance(left - 100)
  await rounds()
  assert.equal(front.proxy.stats().active, 1)
  clock.advance(1000)
  const record = await front.nextRecord()
  assert.deepEqual([record.errorCode, record.outcome, record.status], ['ERR_PROXY_CLIENT_TIMEOUT', 'truncated', 200])
  const [error] = front.errors
  assert.equal(error?.side, 'client')
  assert.match(error?.message ?? '', /took less than 1073741824 bytes a second/)
  assert.equal(front.pending(), 0)
  assert.equal(front.proxy.stats().groups[0]?.backends[0]?.status, 'available')
}

for (const { name, run } of ALL_FRONTS) {
  test(`limits.minReadBytesPerSecond cuts a response that the client does not take, and blames no backend, ${name}`, async () => {
    const clock = manualClock()
    const source = flood(256 * MIB)
    await using backend = await mockBackend(source.handler)
    const healthCheck = { consecutiveFailures: 1, maxEjectedPercent: 100 }
    await using front = await run({ target: backend.url, clock, healthCheck, ...OPTIONS })
    const client = ask(front)
    await untilBlocked(source, MIB)
    await assertCut(front, clock, 5000)
    await backend.untilOpenConnections(0)
    client.socket.destroy()
  })

  test(`limits.minReadBytesPerSecond adds up the times in which the client takes nothing, ${name}`, async () => {
    const clock = manualClock()
    const source = flood(256 * MIB)
    await using backend = await mockBackend(source.handler)
    await using front = await run({ target: backend.url, clock, ...OPTIONS })
    const client = ask(front)
    await untilBlocked(source, MIB)
    clock.advance(3000)
    client.socket.resume()
    while (client.socket.bytesRead < 32 * MIB) await rounds(1)
    client.socket.pause()
    await untilBlocked(source, 0)
    await assertCut(front, clock, 2000)
    client.socket.destroy()
  })

  test(`limits.minReadBytesPerSecond does not count the time in which the backend sends nothing, ${name}`, async () => {
    const clock = manualClock()
    await using backend = await mockBackend((_request, reply) => {
      reply.head()
      reply.chunk('half')
    })
    await using front = await run({ target: backend.url, clock, ...OPTIONS })
    const client = rawClient(front.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.until('half')
    clock.advance(100_000)
    await rounds()
    assert.equal(front.proxy.stats().active, 1)
    client.socket.resetAndDestroy()
    assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CLIENT_GONE')
  })
}
