import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Exchange } from '../../../src/exchange/exchange.ts'
import { Http2Body, Http2Front, type Http2FrontOwner } from '../../../src/fronts/http2/front.ts'
import type { RequestFields } from '../../../src/http2/heads.ts'
import { FRAME, PREFACE, SETTING } from '../../../src/http2/protocol.ts'
import type { Http2Stream } from '../../../src/http2/stream.ts'
import type { ProxyOptions } from '../../../src/index.ts'
import type { Peer } from '../../../src/model/peer.ts'
import { type ManualClock, manualClock, mockBackend } from '../../../src/testing/index.ts'
import * as misbehaviour from '../../../src/testing/misbehaviour.ts'
import { type Frame, frame, GET, headers, settings, uint32 } from '../../http2/wire.ts'
import { runBoth } from '../../support/running-proxy.ts'
import { http2Client } from './client.ts'
import { rawClient } from './raw-client.ts'

const run = (options: ProxyOptions) => runBoth({ drainTimeoutMs: 1_000, ...options })

const is =
  (type: number, id = 0) =>
  (one: Frame) =>
    one.type === type && one.id === id
const reset = (id: number): Buffer => frame(FRAME.RST_STREAM, 0, id, uint32(8))
/** The tasks of a clock run after the sockets have been read. */
async function advance(clock: ManualClock, ms: number): Promise<void> {
  await sleep(50)
  for (let i = 0; i < ms; i += 100) clock.advance(100)
  await sleep(50)
}

const PING = frame(FRAME.PING, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8])

/** How the connection ends, within so many ms. */
const within = (ms: number, closed: Promise<string>): Promise<string> =>
  Promise.race([closed, sleep(ms, 'still open', { ref: false })])

test('a client that opens streams after a GOAWAY does not keep the connection', async () => {
  await using backend = await mockBackend()
  await using front = await run({ target: backend.url, limits: { maxRequestsPerConnection: 1 } })
  await using client = rawClient(front.port)
  client.send(headers(1))
  await client.until(is(FRAME.GOAWAY))
  client.send(headers(3))
  await client.until(is(FRAME.HEADERS, 3))
  assert.equal(await within(3_000, client.closed), 'end')
  assert.equal(client.frames.filter(is(FRAME.GOAWAY)).length, 2)
})

test('a connection whose last stream is reset after the last GOAWAY ends', async () => {
  await using backend = await mockBackend(misbehaviour.neverAnswer)
  await using front = await run({ target: backend.url, limits: { maxRequestsPerConnection: 1 } })
  await using client = rawClient(front.port)
  client.send(headers(1))
  await client.until((one) => one.type === FRAME.GOAWAY && one.payload.readUInt32BE(0) === 1)
  client.send(reset(1))
  assert.equal(await within(3_000, client.closed), 'end')
})

test('a connection whose last stream is reset after the last GOAWAY ends, though the client does not read', async () => {
  await using backend = await mockBackend((_, reply) => reply.send({ body: Buffer.alloc(32 << 20, 'x') }))
  const clock = manualClock()
  await using front = await run({
    target: backend.url,
    clock,
    limits: { maxRequestsPerConnection: 1, maxConnections: 1 },
  })
  await using client = rawClient(front.port, settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 31 - 1]))
  client.send(frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(2 ** 31 - 1 - 65_535)), headers(1))
  await client.until(is(FRAME.DATA, 1))
  client.socket.pause()
  await advance(clock, 1_100)
  client.send(reset(1))
  await front.nextRecord()
  await advance(clock, 65_100)
  await advance(clock, 2_100)
  // There is room for another one.
  await using other = rawClient(front.port)
  await other.until(is(FRAME.SETTINGS))
})

test('frames that come after the last GOAWAY do not reset the connection', async () => {
  await using backend = await mockBackend()
  await using front = await run({ target: backend.url, limits: { maxRequestsPerConnection: 1 } })
  await using client = rawClient(front.port)
  client.send(headers(1))
  client.socket.allowHalfOpen = true
  await client.until((one) => one.type === FRAME.GOAWAY && one.payload.readUInt32BE(0) === 1)
  for (let i = 0; i < 3; i++) {
    client.send(PING, headers(3 + 2 * i))
    await sleep(50)
  }
  client.socket.end()
  assert.equal(await within(3_000, client.closed), 'end')
})

test('a response of the proxy itself that the client does not take is reset', async () => {
  await using backend = await mockBackend()
  await using front = await run({
    groups: { a: { target: backend.url } },
    routes: [{ path: '/a', group: 'a' }],
    timeouts: { idle: 200 },
  })
  await using client = rawClient(front.port, settings([SETTING.INITIAL_WINDOW_SIZE, 0]))
  client.send(headers(1))
  const { payload } = await client.until(is(FRAME.RST_STREAM, 1))
  assert.equal(payload.readUInt32BE(0), 2)
})

test('a client that never reads does not keep its connection', async () => {
  await using backend = await mockBackend((request, reply) =>
    reply.send({ body: request.method === 'HEAD' ? '' : Buffer.alloc(32 << 20, 'x') }),
  )
  await using front = await run({ target: backend.url, timeouts: { idle: 300 } })
  await using client = rawClient(front.port, settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 31 - 1]))
  client.send(frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(2 ** 31 - 1 - 65_535)), headers(1))
  await client.until(is(FRAME.DATA, 1))
  client.socket.pause()
  await sleep(200)
  for (let i = 0; i < 10; i++) client.send(headers(3 + 2 * i, [[':method', 'HEAD'], ...GET.slice(1)]))
  for (let i = 0; i < 11; i++) assert.match((await front.nextRecord()).outcome, /^(truncated|aborted)$/)
  await sleep(100)
  client.socket.resume()
  assert.notEqual(await within(1_000, client.closed), 'still open')
})

test('a Content-Length that does not fit the body: the stream is reset, and the exchange ends', () => {
  for (const [length, body] of [
    ['2', 'longer'],
    ['20', 'shorter'],
  ] as const) {
    const seen: string[] = []
    const note = (what: string) => () => void seen.push(what)
    const stream = { isRemoteDone: true, sendHead() {}, write: () => true, end: note('end'), reset: note('reset') }
    const owner = { date: () => '', onSent() {}, onOver: note('over'), onEnding() {}, onStuck: note('stuck') }
    const request = { method: 'GET', target: '/', headers: [] } as unknown as RequestFields
    const front = new Http2Front(request, null, {} as Peer, stream as unknown as Http2Stream, owner)
    front.connect({ events: { onClientGone: note('gone') } } as unknown as Exchange)
    front.respond({ status: 200, reason: '', headers: ['Content-Length', length], bodyBytes: Number(length) })
    front.write(Buffer.from(body))
    front.end(null)
    assert.deepEqual(seen, ['reset', 'gone', 'over'])
  }
})

test('interim responses do not pile up for a client that does not read', () => {
  let sent = 0
  const session = { unwritten: 0 }
  const stream = { session, sendHead: () => sent++ } as unknown as Http2Stream
  const request = { method: 'GET', target: '/', headers: [] } as unknown as RequestFields
  const front = new Http2Front(request, null, {} as Peer, stream, {} as Http2FrontOwner)
  const inform = (): void => front.inform({ status: 103, reason: '', headers: ['Link', '</a>'], bodyBytes: 0 })
  inform()
  session.unwritten = 65_536
  inform()
  assert.equal(sent, 1)
})

test('bytes of header values stay as they are', async () => {
  const value = Buffer.from('voilà').toString('latin1')
  await using backend = await mockBackend({ headers: ['X-Text', value] })
  await using front = await run({ target: backend.url })
  await using client = rawClient(front.port)
  client.send(headers(1))
  const fields = client.fields(await client.until(is(FRAME.HEADERS, 1)))
  assert.equal(fields[fields.indexOf('x-text') + 1], value)
})

test('a 204 has one Date', async () => {
  await using backend = await mockBackend({ headers: [], body: 'x' })
  await using front = await run({
    target: backend.url,
    routes: [
      {
        transforms: [
          {
            name: 'nothing',
            response: (response) => {
              response.status = 204
              response.headers.delete('date')
              response.headers.set('date', 'Tue, 01 Dec 2026 00:00:00 GMT')
            },
          },
        ],
      },
    ],
  })
  await using client = rawClient(front.port)
  client.send(headers(1))
  const fields = client.fields(await client.until(is(FRAME.HEADERS, 1)))
  assert.equal(fields.filter((one) => one === 'date').length, 1)
  assert.ok(!fields.includes('content-length'))
})

test('a connection that begins while the proxy closes is told at once', async () => {
  await using backend = await mockBackend()
  const front = await run({ target: backend.url, drainTimeoutMs: 4_000 })
  const socket = net.connect({ port: front.port, host: '127.0.0.1' })
  await sleep(100)
  const closed = front.proxy.close()
  await sleep(450)
  const seen: Buffer[] = []
  socket.on('data', (bytes: Buffer) => seen.push(bytes)).on('error', () => {})
  socket.write(Buffer.concat([PREFACE, settings(), headers(1)]))
  await sleep(100)
  const types: number[] = []
  for (let all = Buffer.concat(seen); all.length >= 9; all = all.subarray(9 + all.readUIntBE(0, 3)))
    types.push(all[3] as number)
  socket.destroy()
  await closed
  assert.ok(types.includes(FRAME.HEADERS) && types.includes(FRAME.GOAWAY), types.join())
})

test('a request line that is too long gets 431', async () => {
  await using backend = await mockBackend()
  await using front = await run({ target: backend.url, limits: { maxHeadBytes: 4096 } })
  await using client = http2Client(front.port)
  assert.equal((await client.ask({ ':path': `/${'l'.repeat(5_000)}` })).status, 431)
})

test('requests that are malformed end the connection after a while', async () => {
  await using backend = await mockBackend()
  await using front = await run({ target: backend.url })
  await using client = rawClient(front.port)
  for (let i = 0; i < 1_000; i++) client.send(headers(1 + 2 * i, [...GET, ['te', 'gzip']]))
  const { payload } = await client.until(is(FRAME.GOAWAY))
  assert.equal(payload.readUInt32BE(4), 11)
})

test('a body of many small pieces that nobody reads takes little memory', () => {
  const body = new Http2Body(-1, false, { consume() {} } as unknown as Http2Stream)
  for (let i = 0; i < 10_000; i++) body.deliver(Buffer.from([i & 127]))
  body.deliver(Buffer.alloc(2_000, 'l'))
  body.deliver(Buffer.from('e'))
  body.finish(null)
  const pieces: Buffer[] = []
  let hasEnded = false
  body.start({
    onBody: (bytes) => pieces.push(bytes) > 0,
    onBodyEnd: () => {
      hasEnded = true
    },
  })
  assert.ok(hasEnded)
  assert.equal(pieces.length, 5)
  const all = Buffer.concat(pieces)
  assert.equal(all.length, 12_001)
  for (let i = 0; i < 10_000; i++) assert.equal(all[i], i & 127)
})

const BEGUN = {
  'a frame': [frame(FRAME.HEADERS, 4, 1, [1, 2, 3]).subarray(0, 5)],
  'a header block': [headers(1, GET, 1), frame(FRAME.CONTINUATION, 0, 1)],
  'a DATA frame after its exchange': [headers(1, GET, 4), frame(FRAME.DATA, 0, 1, [1, 2, 3]).subarray(0, 10)],
  'a header block beside an exchange': [headers(1, [...GET.slice(0, 3), [':path', '/never']]), headers(3, GET, 1)],
  'a header block beside an exchange that ends': [headers(1), headers(3, GET, 1)],
}

for (const [what, frames] of Object.entries(BEGUN)) {
  test(`${what} that does not come to its end closes the connection in time`, async () => {
    await using backend = await mockBackend((request, reply) => {
      if (request.path !== '/never') reply.send({})
    })
    await using front = await run({ target: backend.url, limits: { headTimeoutMs: 300 } })
    await using client = rawClient(front.port)
    await sleep(50)
    client.send(...frames)
    assert.notEqual(await within(1_500, client.closed), 'still open')
  })
}

test('a frame that comes in two pieces does not give an idle connection less time', async () => {
  await using backend = await mockBackend()
  await using front = await run({ target: backend.url, limits: { headTimeoutMs: 300 } })
  await using client = rawClient(front.port)
  await sleep(50)
  client.send(PING.subarray(0, 5))
  await sleep(50)
  client.send(PING.subarray(5))
  assert.equal(await within(700, client.closed), 'still open')
})

test('bytes of a body that nobody wants any more are granted again, those that have come too', () => {
  let consumed = 0
  const stream = {
    consume(bytes: number) {
      consumed += bytes
    },
  } as unknown as Http2Stream
  const body = new Http2Body(-1, false, stream)
  body.deliver(Buffer.from('abc'))
  assert.equal(consumed, 0)
  body.abandon()
  assert.equal(consumed, 3)
  body.deliver(Buffer.from('de'))
  assert.equal(consumed, 5)
})
