import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { FLAG, FRAME, SETTING } from '../../../src/http2/protocol.ts'
import type { ProxyOptions } from '../../../src/index.ts'
import { manualClock, mockBackend } from '../../../src/testing/index.ts'
import * as misbehaviour from '../../../src/testing/misbehaviour.ts'
import { data, type Frame, frame, headers, POST } from '../../http2/wire.ts'
import { runBoth } from '../../support/running-proxy.ts'
import { http2Client } from './client.ts'
import { rawClient } from './raw-client.ts'

const run = (options: ProxyOptions) => runBoth({ drainTimeoutMs: 100, ...options })

const is =
  (type: number, id = 0) =>
  (one: Frame) =>
    one.type === type && one.id === id
const PING = frame(FRAME.PING, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8])
const OPEN = 4

/** The value of one of our settings. */
function setting({ payload }: Frame, name: number): number | undefined {
  for (let i = 0; i < payload.length; i += 6) {
    if (payload.readUInt16BE(i) === name) return payload.readUInt32BE(i + 2)
  }
  return undefined
}

describe('limits.http2', () => {
  test('maxStreams: one more is refused', async () => {
    await using backend = await mockBackend(misbehaviour.neverAnswer)
    await using front = await run({ target: backend.url, limits: { http2: { maxStreams: 2 } } })
    await using client = rawClient(front.port)
    assert.equal(setting(await client.until(is(FRAME.SETTINGS)), SETTING.MAX_CONCURRENT_STREAMS), 2)
    client.send(headers(1), headers(3), headers(5))
    const { id, payload } = await client.until((one) => one.type === FRAME.RST_STREAM)
    assert.deepEqual([id, payload.readUInt32BE(0)], [5, 7])
  })

  test('maxStreams: 128 by default', async () => {
    await using front = await run({ target: 'http://127.0.0.1:1' })
    await using client = rawClient(front.port)
    assert.equal(setting(await client.until(is(FRAME.SETTINGS)), SETTING.MAX_CONCURRENT_STREAMS), 128)
  })

  for (const [windowBytes, end] of [
    [65_535, 3],
    [131_072, undefined],
  ] as const) {
    test(`windowBytes: ${windowBytes}, and 180,000 bytes that nobody reads`, async () => {
      await using backend = await mockBackend()
      // Nobody reads the bodies.
      const never: ProxyOptions['routes'] = [{ interceptors: [{ name: 'never', wrap: () => () => {} }] }]
      await using front = await run({ target: backend.url, routes: never, limits: { http2: { windowBytes } } })
      await using client = rawClient(front.port)
      client.send(headers(1, POST, OPEN), headers(3, POST, OPEN), headers(5, POST, OPEN))
      const piece = Buffer.alloc(10_000)
      for (let i = 0; i < 6; i++) client.send(data(1, piece), data(3, piece), data(5, piece))
      client.send(PING)
      const answer = await client.until((one) => one.type === FRAME.GOAWAY || one.type === FRAME.PING)
      assert.equal(answer.type === FRAME.GOAWAY ? answer.payload.readUInt32BE(4) : undefined, end)
    })
  }

  for (const [maxDemerits, most] of [
    [20, 20],
    [undefined, 300],
  ] as const) {
    test(`maxDemerits: ${maxDemerits ?? 'by default'}`, async () => {
      const clock = manualClock()
      await using front = await run({
        target: 'http://127.0.0.1:1',
        clock,
        limits: { http2: { maxDemerits } },
      })
      await using client = rawClient(front.port)
      for (let i = 0; i < 1000; i++) client.send(PING)
      const { payload } = await client.until(is(FRAME.GOAWAY))
      assert.equal(payload.readUInt32BE(4), 11)
      assert.ok(client.frames.filter(is(FRAME.PING)).length <= most + 1)
    })
  }

  test('maxDemerits: each response that the client has taken makes up for one', async () => {
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url, clock: manualClock(), limits: { http2: { maxDemerits: 20 } } })
    await using client = rawClient(front.port)
    for (let i = 0; i < 40; i++) {
      client.send(headers(2 * i + 1), PING)
      await client.until((one) => is(FRAME.DATA, 2 * i + 1)(one) && (one.flags & FLAG.END_STREAM) !== 0)
    }
    assert.ok(!client.frames.some(is(FRAME.GOAWAY)))
  })
})

describe('limits.maxConnectionAgeMs', () => {
  test('running streams finish, and the connection ends', async () => {
    const clock = manualClock()
    const held: (() => void)[] = []
    await using backend = await mockBackend((_request, reply) => void held.push(() => reply.send({ body: 'late' })))
    await using front = await run({ target: backend.url, clock, limits: { maxConnectionAgeMs: 10_000 } })
    await using client = rawClient(front.port)
    client.send(headers(1))
    await backend.nextRequest()
    clock.advance(8_900)
    client.send(PING)
    await client.until(is(FRAME.PING))
    assert.ok(!client.frames.some(is(FRAME.GOAWAY)))
    clock.advance(2_200)
    await client.until(is(FRAME.GOAWAY))
    clock.advance(1_100)
    await client.until((one) => one.type === FRAME.GOAWAY && one.payload.readUInt32BE(0) === 1)
    held[0]?.()
    assert.equal(String((await client.until(is(FRAME.DATA, 1))).payload), 'late')
    assert.equal(await client.closed, 'end')
  })

  test('an idle connection ends', async () => {
    const clock = manualClock()
    await using backend = await mockBackend()
    await using front = await run({ target: backend.url, clock, limits: { maxConnectionAgeMs: 10_000 } })
    await using client = http2Client(front.port)
    assert.equal((await client.ask({ ':path': '/' })).status, 200)
    const closed = new Promise((resolve) => client.session.once('close', resolve))
    const told = new Promise((resolve) => client.session.once('goaway', resolve))
    clock.advance(11_100)
    assert.equal(await told, 0)
    clock.advance(1_100)
    await closed
  })
})
