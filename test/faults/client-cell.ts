import assert from 'node:assert/strict'
import type net from 'node:net'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockHandler } from '../../src/testing/mock-script.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { rawClient } from '../support/raw-client.ts'
import { gate, rounds, type WayIn } from '../support/running-proxy.ts'
import { switching } from '../support/upgrade-backends.ts'
import {
  breakIt,
  type Fault,
  GARBAGE,
  HALF,
  type Kind,
  LATER,
  REPLAY_BYTES,
  requestOf,
  TIMEOUTS,
} from './backend-cell.ts'
import { untilTrue } from './footprint.ts'

/**
 * What becomes of a client's fault. Nothing is tried again, no backend is thought worse of, and what it does for the
 * client is ended:
 * - `none`: no exchange has begun, or an earlier one has ended well, and nothing is told;
 * - `400`: what came is no request, and so the client is told;
 * - `gone`: the exchange ends with 499 in the log;
 * - `400, gone`: what came is no request, which ends the one that is under way, too;
 * - `408`: so the client is told;
 * - `tunnel`: the connection was upgraded and both ends have ended, without an error.
 */
export type ClientCell = '-' | 'none' | '400' | 'gone' | '400, gone' | '408' | 'tunnel'
export type ClientFault = Extract<Fault, 'reset' | 'half-close' | 'stall' | 'garbage' | 'cut'>
export type ClientPhase =
  | 'after connect'
  | 'in the request head'
  | 'in the request body'
  | 'before the response'
  | 'in the body'
  | 'between requests'

export const CLIENT_KINDS = ['GET', 'POST with a streaming body', 'upgrade'] as const satisfies readonly Kind[]
/** What becomes of each kind, in that order. */
export type ClientRow = readonly [ClientCell, ClientCell, ClientCell]

export async function runClientCell(
  phase: ClientPhase,
  fault: ClientFault,
  kind: Kind,
  cell: ClientCell,
  { run, isOurs }: WayIn,
): Promise<void> {
  const logger = recordingLogger()
  const clock = manualClock()
  const asked = gate()
  const handler: MockHandler = async (request, reply) => {
    asked.open()
    if (phase === 'before the response' || phase === 'in the request body') return
    await request.body()
    if (phase === 'between requests') return reply.send({ body: HALF })
    if (kind === 'upgrade') {
      const socket: net.Socket = reply.takeOver().on('end', () => socket.end())
      socket.resume().write(switching('foo', HALF))
    } else {
      reply.head()
      reply.chunk(HALF)
    }
  }
  await using backend = await mockBackend(handler)
  await using front = await run({
    target: backend.url,
    healthCheck: { consecutiveFailures: 1, maxEjectedPercent: 100 },
    limits: { replayBytes: REPLAY_BYTES, halfClose: 'abort' },
    timeouts: TIMEOUTS,
    logger,
    clock,
  })
  const told: string[] = []
  for (const event of ['request', 'attempt', 'retry', 'finish'] as const) front.proxy.on(event, () => told.push(event))
  const client = rawClient(front.port)
  client.socket.allowHalfOpen = true
  client.socket.on('end', () => client.socket.end())

  const [start, rest] = requestOf(kind)
  if (phase === 'after connect') await new Promise((resolve) => client.socket.once('connect', resolve))
  else if (phase === 'in the request head') client.write(start.slice(0, 20))
  else client.write(start)
  if (phase === 'in the request body') await untilTrue(() => (backend.requests[0]?.bodyBytes.length ?? 0) > 0)
  else if (phase !== 'after connect' && phase !== 'in the request head') {
    client.write(rest)
    await asked.promise
  }
  if (phase === 'in the body' || phase === 'between requests') await client.until(HALF)
  if (phase === 'between requests') assert.equal((await front.nextRecord()).outcome, 'answered')
  await rounds()
  const before = client.text
  breakIt(client.socket, fault, phase === 'in the request body' ? 'zz\r\n' : GARBAGE)
  if (fault === 'stall') clock.advance(LATER)
  client.socket.resume()
  await client.ended
  await untilTrue(() => front.proxy.stats().active === 0)
  await rounds()

  // Who has closed both ways, or has the head of another answer, cannot be told.
  const status = /HTTP\/1\.1 (\d+) /.exec(client.text.slice(before.length))?.[1]
  const isDeaf = fault === 'cut' || fault === 'reset' || phase === 'in the body'
  assert.equal(status, isDeaf ? undefined : /\d+/.exec(cell)?.[0])
  const hasBegun = phase !== 'after connect' && phase !== 'in the request head'
  assert.deepEqual(told, hasBegun ? ['request', 'attempt', 'finish'] : [])
  const codes: string[] = []
  // In an application's server it is node that says so, and we hear nothing of it.
  if (cell.includes('400') && isOurs) codes.push('ERR_PROXY_BAD_REQUEST')
  if (cell.includes('408')) codes.push('ERR_PROXY_CLIENT_TIMEOUT')
  if (cell.includes('gone')) codes.push('ERR_PROXY_CLIENT_GONE')
  if (hasBegun && phase !== 'between requests') {
    const record = await front.nextRecord()
    assert.equal(record.errorCode, codes.at(-1) ?? null)
    assert.equal(record.outcome, cell === 'tunnel' ? 'upgraded' : cell === '408' ? 'failed' : 'aborted')
  }
  const logged = logger.entries.filter(({ fields }) => fields.code !== undefined)
  assert.deepEqual(
    logged.map(({ level, fields }) => [level, fields.code]),
    codes.map((code) => [code === 'ERR_PROXY_CLIENT_GONE' ? 'debug' : 'info', code]),
  )
  assert.deepEqual(
    front.errors.map((error) => error.code),
    codes,
  )
  const [group] = front.proxy.stats().groups
  assert.deepEqual([group?.backends[0]?.status, group?.backends[0]?.pending], ['available', 0])
  await backend.untilOpenConnections(phase === 'between requests' ? 1 : 0)
}
