import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { FLAG, FRAME, SETTING } from '../../../src/http2/protocol.ts'
import { createProxy, type ProxyOptions } from '../../../src/index.ts'
import { mockBackend } from '../../../src/testing/index.ts'
import { block, data, frame, GET, headers, POST, settings, uint32 } from '../../http2/wire.ts'
import { MIB } from '../../support/bytes.ts'
import { rounds } from '../../support/running-proxy.ts'
import { http2Client } from './client.ts'
import { type RawClient, rawClient } from './raw-client.ts'

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

/** Memory in use, bytes. */
function memory(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const CALM = 11
const OPEN = FLAG.END_HEADERS
const reset = (id: number): Buffer => frame(FRAME.RST_STREAM, 0, id, uint32(8))
const window = (id: number, grant: number): Buffer => frame(FRAME.WINDOW_UPDATE, 0, id, uint32(grant))
const PING = frame(FRAME.PING, 0, 0, Buffer.alloc(8))
/** The path of responses that are too large for any buffer. */
const LARGE: typeof GET = [...GET.slice(0, 3), [':path', '/large']]

interface Flood {
  /** The first frames. */
  readonly first?: readonly Buffer[]
  readonly next: (i: number) => readonly Buffer[]
  /** How often `next`. */
  readonly times: number
  /** Most exchanges that it may begin. */
  readonly exchanges: number
  /** Most memory that it may take, MiB; what the test itself keeps is part of it. */
  readonly mebibytes: number
  readonly settings?: Buffer
}

const FLOODS: Readonly<Record<string, Flood>> = {
  'rapid reset (CVE-2023-44487)': {
    next: (i) => [headers(2 * i + 1), reset(2 * i + 1)],
    times: 20_000,
    exchanges: 400,
    // Both ends of the connections to the backend, which is in this process, too.
    mebibytes: 24,
  },
  'resets that the server is made to send (CVE-2025-8671)': {
    next: (i) => [headers(2 * i + 1), window(2 * i + 1, 0)],
    times: 20_000,
    exchanges: 200,
    mebibytes: 24,
  },
  'malformed requests': {
    next: (i) => [headers(2 * i + 1, [...GET, ['te', 'gzip']])],
    times: 20_000,
    exchanges: 0,
    mebibytes: 6,
  },
  'HEADERS on a stream that was reset': {
    first: [headers(1, [...GET, ['te', 'gzip']])],
    next: () => [headers(1, [['a', '1']])],
    times: 20_000,
    exchanges: 0,
    mebibytes: 6,
  },
  'CONTINUATION without end (CVE-2024-27316)': {
    first: [headers(1, GET, FLAG.END_STREAM)],
    next: () => [frame(FRAME.CONTINUATION, 0, 1, block([['x', 'x'.repeat(100)]]))],
    times: 20_000,
    exchanges: 0,
    mebibytes: 6,
  },
  'CONTINUATION without content': {
    first: [headers(1, GET, FLAG.END_STREAM)],
    next: () => [frame(FRAME.CONTINUATION, 0, 1)],
    times: 20_000,
    exchanges: 0,
    mebibytes: 6,
  },
  PING: { next: () => [PING], times: 20_000, exchanges: 0, mebibytes: 6 },
  SETTINGS: { next: () => [settings([SETTING.MAX_FRAME_SIZE, 16_384])], times: 20_000, exchanges: 0, mebibytes: 6 },
  'empty DATA': {
    first: [headers(1, POST, OPEN)],
    next: () => [data(1, '')],
    times: 40_000,
    exchanges: 1,
    mebibytes: 6,
  },
  'WINDOW_UPDATE of 1': { next: () => [window(0, 1)], times: 40_000, exchanges: 0, mebibytes: 6 },
  PRIORITY: { next: () => [frame(FRAME.PRIORITY, 0, 1, [...uint32(3), 1])], times: 40_000, exchanges: 0, mebibytes: 6 },
  'an HPACK bomb': {
    first: [frame(FRAME.HEADERS, OPEN | FLAG.END_STREAM, 1, bombEntry())],
    // Each reference to the entry is one byte.
    next: (i) => [frame(FRAME.HEADERS, OPEN | FLAG.END_STREAM, 2 * i + 3, Buffer.alloc(8_000, 0xbe))],
    times: 100,
    exchanges: 1,
    mebibytes: 6,
  },
  '2,000 streams whose responses the client does not take': {
    settings: settings([SETTING.INITIAL_WINDOW_SIZE, 0]),
    next: (i) => [headers(2 * i + 1, LARGE)],
    times: 2_000,
    exchanges: 128,
    mebibytes: 48,
  },
}

/** A request whose last field enters the table with almost all the room there. */
function bombEntry(): Buffer {
  const value = 'x'.repeat(3_900)
  const length = [0x7f, ...varint(value.length - 127)]
  return Buffer.concat([block(GET), Buffer.from([0x40, 1, 97, ...length]), Buffer.from(value)])
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]
}

async function run(options: ProxyOptions = {}) {
  const backend = await mockBackend((request, reply) => {
    if (request.path === '/large') reply.send({ body: Buffer.alloc(MIB, 'l') })
    else if (request.path === '/well') reply.send({ body: 'well' })
  })
  const proxy = createProxy({ target: backend.url, drainTimeoutMs: 100, logger: 'silent', ...options })
  const { port } = await proxy.listen({ host: '127.0.0.1', port: 0, protocols: ['h2'] })
  return {
    proxy,
    port,
    /** Another client is served. */
    async assertWell() {
      await using other = http2Client(port)
      assert.equal((await other.ask({ ':path': '/well' })).body, 'well')
    },
    async [Symbol.asyncDispose]() {
      await proxy.close()
      await backend.close()
    },
  }
}

/** Sends as long as the server takes it. @returns the most memory that was seen, bytes. */
async function flood(client: RawClient, { first = [], next, times }: Flood): Promise<number> {
  let most = 0
  client.send(...first)
  for (let i = 0; i < times && !client.socket.destroyed; i++) {
    client.send(...next(i))
    if (i % 1_000 !== 999) continue
    await rounds(3)
    most = Math.max(most, memory())
  }
  return Math.max(most, memory())
}

describe('floods end their connection, and nothing else', () => {
  for (const [what, attack] of Object.entries(FLOODS)) {
    test(what, async () => {
      await using front = await run()
      await front.assertWell()
      await using client = rawClient(front.port, attack.settings)
      // What was made once is not the flood's.
      const before = memory()
      const most = await flood(client, attack)
      const { payload } = await client.until((one) => one.type === FRAME.GOAWAY)
      assert.equal(payload.readUInt32BE(4), CALM)
      await client.closed
      assert.ok(front.proxy.stats().exchanges <= attack.exchanges + 1, `${front.proxy.stats().exchanges} exchanges`)
      const taken = (most - before) / MIB
      assert.ok(taken <= attack.mebibytes, `${taken.toFixed(1)} MiB`)
      while (front.proxy.stats().active > 0) await rounds(1)
      await front.assertWell()
    })
  }

  test('PING by a client that never reads: it is not read any more', async () => {
    await using front = await run({ limits: { http2: { maxDemerits: 1_000_000 } } })
    await front.assertWell()
    await using client = rawClient(front.port)
    await client.until((one) => one.type === FRAME.SETTINGS)
    client.socket.pause()
    const before = memory()
    const many = Buffer.concat(new Array(4_096).fill(PING))
    const most = 64 * MIB
    let sent = 0
    while (sent < most) {
      client.socket.write(many)
      sent += many.length
      for (let i = 0; i < 300 && client.socket.writableNeedDrain; i++) await rounds(1)
      if (client.socket.writableNeedDrain) break
    }
    assert.ok(sent < most, 'the server goes on to read')
    const taken = (memory() - before) / MIB
    assert.ok(taken < 3, `${taken.toFixed(1)} MiB`)
    await front.assertWell()
  })
})
