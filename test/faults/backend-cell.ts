import assert from 'node:assert/strict'
import type net from 'node:net'
import type { ProxyErrorCode, ProxyOptions } from '../../src/index.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { deadPort, type MockBackendOptions, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { MIB } from '../support/bytes.ts'
import { certificate, key } from '../support/certificates.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { gate, rounds, type WayIn } from '../support/running-proxy.ts'
import { switching, upgradeRequest } from '../support/upgrade-backends.ts'
import { untilTrue } from './footprint.ts'

/**
 * What goes wrong, when, and for which request. A cell says what becomes of it:
 * - `again CODE`: it failed with CODE and was tried at the other backend, whose answer the client has;
 * - `stale`: repeated at the same backend on a fresh connection, at once, and the backend is thought no worse of;
 * - `502 CODE` and the like: that is the client's answer;
 * - `cut CODE`: the client sees its answer cut;
 * - `tunnel`: the connection was upgraded and both ends have ended, without an error;
 * - `fine`: answered at the first attempt;
 * - `-`: there is no such thing.
 */
export type Cell =
  | '-'
  | 'fine'
  | 'stale'
  | 'tunnel'
  | `again ${ProxyErrorCode}`
  | `cut ${ProxyErrorCode}`
  | `${502 | 504} ${ProxyErrorCode}`

export const KINDS = ['GET', 'POST with a replayable body', 'POST with a streaming body', 'upgrade'] as const
export type Kind = (typeof KINDS)[number]

/** What becomes of each kind, in that order. */
export type Row = readonly [Cell, Cell, Cell, Cell]

const FAULTS = ['refused', 'unreachable', 'unknown', 'TLS', 'reset', 'half-close', 'stall', 'garbage', 'cut'] as const
export type Fault = (typeof FAULTS)[number]

const PHASES = [
  'before connect',
  'in the TLS handshake',
  'after connect',
  'in the request head',
  'in the request body',
  'before the response',
  'in the response head',
  'in the body',
  'between requests',
  'as the next request comes',
] as const
export type Phase = (typeof PHASES)[number]

/** Each time limit, ms. Time stands still until a cell says otherwise. */
const LIMIT = 1000
export const TIMEOUTS = { connect: LIMIT, acquire: LIMIT, headers: LIMIT, idle: LIMIT, upgradeIdle: LIMIT }
/** Past the limit by more than the timer is coarse, and not as far as the next attempt's limit. */
export const LATER = LIMIT + 50
export const REPLAY_BYTES = 16
export const HALF = 'the first half'
export const GARBAGE = '\x16\x03\x01\x02\0 this is not HTTP\r\n\r\n'
const NOT_TLS = 'HTTP/1.1 400 Bad Request\r\n\r\n'

/** The request, up to the middle of its body where it has one, and the rest. */
export function requestOf(kind: Kind): [string, string] {
  if (kind === 'GET') return ['GET /it HTTP/1.1\r\nHost: a\r\n\r\n', '']
  if (kind === 'upgrade') return [upgradeRequest({ path: '/it' }), '']
  if (kind === 'POST with a replayable body')
    return ['POST /it HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234', '56789']
  const chunk = `20\r\n${'x'.repeat(2 * REPLAY_BYTES)}\r\n`
  return [`POST /it HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}`, `${chunk}0\r\n\r\n`]
}

export function breakIt(socket: net.Socket, fault: Fault, garbage = GARBAGE): void {
  if (fault === 'reset') socket.resetAndDestroy()
  else if (fault === 'half-close') socket.end()
  else if (fault === 'cut') socket.destroySoon()
  else if (fault === 'garbage') socket.write(garbage, 'latin1')
  else if (fault === 'stall') socket.pause()
  else assert.fail(`${fault} is nothing that a connection does`)
}

/** A backend that has a fault in a phase. */
interface BadBackend extends AsyncDisposable {
  readonly url: string
  readonly requests: readonly unknown[]
  /** The client may go on, or time may, since the fault has come about. */
  readonly broken: Promise<void>
  /** Between requests: breaks what is idle. */
  breakIdle(): void
  /** Reads on where it has stopped to: it finds that it was left. */
  wakeUp(): void
  untilOpenConnections(count: number): Promise<void>
}

/** One for all cells: it is held for as long as the process lives. */
const refused = deadPort()

async function badBackend(phase: Phase, fault: Fault, client: () => RawClient): Promise<BadBackend> {
  if (phase === 'before connect') {
    // No TCP goes to a multicast address; a label has at most 63 characters, which no name server needs to be asked for.
    const url = {
      refused: (await refused).url,
      unreachable: 'http://224.0.0.1:9',
      unknown: `http://${'x'.repeat(64)}.invalid`,
    }
    return {
      url: url[fault as keyof typeof url],
      requests: [],
      broken: Promise.resolve(),
      breakIdle() {},
      wakeUp() {},
      untilOpenConnections: async () => {},
      [Symbol.asyncDispose]: async () => {},
    }
  }
  const broken = gate()
  const sockets: net.Socket[] = []
  const breakNow = (socket: net.Socket, garbage?: string): void => {
    breakIt(socket, fault, garbage)
    broken.open()
  }
  const onConnection = (socket: net.Socket): void => {
    sockets.push(socket)
    // Not before the proxy has seen that it is connected, and has sent something.
    if (phase === 'after connect') setImmediate(() => setImmediate(breakNow, socket))
    else if (phase === 'in the request head') socket.once('data', () => breakNow(socket))
    else if (phase === 'in the TLS handshake' && fault !== 'TLS') socket.once('data', () => breakNow(socket, NOT_TLS))
  }
  const handler: MockHandler = async (request, reply) => {
    const socket = sockets[request.connection - 1] as net.Socket
    const isFirst = request.connection === 1 && sockets.length === 1
    if (phase === 'between requests' || phase === 'as the next request comes') {
      await request.body()
      if (phase === 'as the next request comes' && isFirst && request.path === '/it') return breakNow(socket)
      return reply.send({ body: `${request.method} ${request.path}` })
    }
    if (phase === 'in the request body') {
      if (fault === 'stall') request.pause()
      else await untilTrue(() => request.bodyBytes.length > 0)
      return breakNow(socket)
    }
    await request.body()
    if (phase === 'before the response') return breakNow(socket)
    if (phase === 'in the response head') {
      reply.raw('HTTP/1.1 200 OK\r\nContent-Ty')
      return breakNow(socket, '\0\r\n\r\n')
    }
    if (phase !== 'in the body') return
    if (request.header('upgrade') !== undefined) {
      reply
        .takeOver()
        .on('end', () => socket.end())
        .resume()
      socket.write(switching('foo', HALF))
    } else {
      reply.head()
      reply.chunk(HALF)
    }
    await client().until(HALF)
    breakNow(socket, 'zz\r\n')
  }
  // It is the proxy that finds this fault.
  const isUntrusted = phase === 'in the TLS handshake' && fault === 'TLS'
  if (isUntrusted) broken.open()
  const options: MockBackendOptions = { onConnection, ...(isUntrusted ? { tls: { key, cert: certificate } } : {}) }
  const backend = await mockBackend(handler, options)
  const url = phase === 'in the TLS handshake' ? backend.url.replace('http:', 'https:') : backend.url
  return {
    url,
    requests: backend.requests,
    broken: broken.promise,
    breakIdle: () => breakNow(sockets[0] as net.Socket),
    wakeUp() {
      for (const socket of sockets) socket.resume()
    },
    untilOpenConnections: backend.untilOpenConnections,
    [Symbol.asyncDispose]: backend[Symbol.asyncDispose],
  }
}

/** Answers everything; an upgrade by switching, and by ending soon after. */
const answers: MockHandler = async (request, reply) => {
  if (request.header('upgrade') === undefined) {
    const body = await request.body()
    return reply.send({ body: `${request.method} ${body.length} at the other` })
  }
  const socket = reply.takeOver()
  socket.end(switching('foo', 'at the other'))
  socket.resume()
}

export async function runCell(phase: Phase, fault: Fault, kind: Kind, cell: Cell, { run }: WayIn): Promise<void> {
  const [result, code] = cell.split(' ') as [string, string | undefined]
  const logger = recordingLogger()
  const clock = manualClock()
  let client!: RawClient
  await using bad = await badBackend(phase, fault, () => client)
  await using good = await mockBackend(answers)
  const options: ProxyOptions = {
    backends: [
      { url: bad.url, id: 'bad' },
      { url: good.url, id: 'good' },
    ],
    balancer: 'first-available',
    healthCheck: { consecutiveFailures: 1, maxEjectedPercent: 100 },
    limits: { replayBytes: REPLAY_BYTES },
    timeouts: TIMEOUTS,
    logger,
    clock,
  }
  const told: string[] = []
  {
    await using front = await run(options)
    const { proxy } = front
    for (const event of ['request', 'finish', 'response', 'upgrade'] as const) proxy.on(event, () => told.push(event))
    proxy.on('retry', (_exchange, error, delayMs) => told.push(`retry ${error.code} ${delayMs}`))
    client = rawClient(front.port)
    // A client that stops to send before it has its answer is taken to have gone.
    client.socket.allowHalfOpen = true
    client.socket.on('end', () => client.socket.end())

    if (phase === 'between requests' || phase === 'as the next request comes') {
      client.write('GET /before HTTP/1.1\r\nHost: a\r\n\r\n')
      await client.until('GET /before')
      assert.equal((await front.nextRecord()).outcome, 'answered')
      told.length = 0
      if (phase === 'between requests') {
        bad.breakIdle()
        // The client's next request comes when the proxy knows.
        await untilTrue(() => figures('bad').connections === 0)
      }
    }

    const [start, rest] = requestOf(kind)
    client.write(start)
    // The rest would keep a backend waiting that breaks in the middle; every other one gets it at once.
    if (phase !== 'in the request body') client.write(rest)
    else if (fault === 'stall') await fill(client)
    if (phase !== 'between requests') await bad.broken
    if (fault === 'stall') {
      await rounds()
      clock.advance(LATER)
    }

    // The client's result
    if (result === 'fine') await client.until('/it')
    else if (result === 'stale') await client.until('GET /it')
    else if (result === 'again') await client.until('at the other')
    else if (result === 'cut' || result === 'tunnel') {
      await client.ended
      assert.ok(client.text.includes(HALF))
      assert.doesNotMatch(client.text, /\r\n0\r\n/)
    } else
      assert.match(
        await client.until(`(${code})`),
        new RegExp(`HTTP/1\\.1 ${result} [^\\r]+\\r\\n[^]*\\(${code}\\)\\n$`),
      )

    // One record, and one log line
    const record = await front.nextRecord()
    const isRepeated = result === 'again' || result === 'stale'
    assert.equal(record.attempts, isRepeated ? 2 : 1)
    assert.equal(record.backend, result === 'again' ? 'good' : 'bad')
    assert.equal(record.errorCode, isRepeated ? null : (code ?? null))
    const isAnswered = ['fine', 'stale', 'again'].includes(result)
    const answered = kind === 'upgrade' ? 'upgraded' : 'answered'
    assert.equal(
      record.outcome,
      result === 'cut' ? 'truncated' : result === 'tunnel' || isAnswered ? answered : 'failed',
      JSON.stringify(record),
    )
    client.socket.destroy()
    await rounds()
    assert.equal(told.filter((event) => event === 'finish').length, 1)
    assert.equal(told.filter((event) => event === 'request').length, 1)
    const failed = isAnswered || result === 'tunnel' ? [] : [code]
    assert.deepEqual(
      front.errors.map((error) => error.code),
      failed,
    )
    const about = logger.entries.filter(({ fields }) => fields.exchange !== undefined && fields.delayMs === undefined)
    assert.deepEqual(
      about.map(({ level, fields }) => [level, fields.code]),
      failed.map((one) => ['warn', one]),
    )

    // Retried or not
    const retries = told.filter((event) => event.startsWith('retry'))
    if (result === 'again') assert.deepEqual(retries, [`retry ${code} 0`])
    else if (result === 'stale') assert.deepEqual(retries, ['retry ERR_PROXY_RESET 0'])
    else assert.deepEqual(retries, [])
    assert.equal(good.requests.length, result === 'again' ? 1 : 0)

    // Pool and health: neither both sides quiet nor a kept connection that was closed as we used it is evidence
    const isQuiet = phase === 'in the body' && fault === 'stall'
    const isStale = phase === 'as the next request comes' && code === 'ERR_PROXY_RESET'
    const isBlamed = !['fine', 'stale', 'tunnel'].includes(result) && !isQuiet && !isStale
    const [group] = proxy.stats().groups
    assert.deepEqual(
      group?.backends.map(({ id, status, pending }) => [id, status, pending]),
      [
        ['bad', isBlamed ? 'ejected' : 'available', 0],
        ['good', 'available', 0],
      ],
    )
    assert.equal(proxy.stats().active, 0)
    const kept = result === 'fine' || result === 'stale' ? 1 : 0
    bad.wakeUp()
    await bad.untilOpenConnections(kept)
    await untilTrue(() => figures('bad').connections === kept)
    const { idle, connecting, waiting } = figures('bad')
    assert.deepEqual([idle, connecting, waiting], [kept, 0, 0])

    function figures(id: string): Record<'connections' | 'idle' | 'connecting' | 'waiting', number> {
      const found = proxy.stats().groups[0]?.pool.backends.find((one) => one.backend === id)
      return found ?? { connections: 0, idle: 0, connecting: 0, waiting: 0 }
    }
  }
  assert.deepEqual(good.faults, [])
}

/** Sends until everything on the way is full. */
async function fill(client: RawClient): Promise<void> {
  const piece = `${MIB.toString(16)}\r\n${'x'.repeat(MIB)}\r\n`
  let written = -1
  while (client.socket.bytesWritten !== written || client.socket.writableLength === 0) {
    written = client.socket.bytesWritten
    if (client.socket.writableLength === 0) client.write(piece)
    await rounds()
  }
}
