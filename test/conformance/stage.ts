import assert from 'node:assert/strict'
import type { ProxyOptions } from '../../src/index.ts'
import { type MockBackend, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockRequest, MockScript } from '../../src/testing/mock-script.ts'
import { type RawClient, rawClient } from '../support/raw-client.ts'
import { type RunningProxy, runProxy } from '../support/running-proxy.ts'

/** What would be smuggled, where it is glued to a request that is not what it seems. */
export const NEXT = 'GET /next HTTP/1.1\r\nHost: a\r\n\r\n'

/** A proxy before a strict backend, one connection between them: what a request leaves behind would spoil the next one. */
export interface Stage extends AsyncDisposable {
  readonly backend: MockBackend
  readonly front: RunningProxy
  /** Requests that a backend was asked to answer since the last call. */
  attempts(): number
  /** Requests that have come to the backend since the last call. */
  arrived(): MockRequest[]
}

/** Begins anew, whatever an earlier test that failed has left. */
function connect(on: Stage): RawClient {
  on.attempts()
  on.arrived()
  return rawClient(on.front.port)
}

/** Sets the stage. The proxy adds nothing of its own to requests. */
export async function stage(
  options: ProxyOptions = {},
  script?: MockScript,
  run: (options: ProxyOptions) => Promise<RunningProxy> = runProxy,
): Promise<Stage> {
  const backend = await mockBackend(script)
  const front = await run({ target: backend.url, xfwd: false, retry: false, pool: { maxConnections: 1 }, ...options })
  let attempts = 0
  let seen = 0
  front.proxy.on('attempt', () => attempts++)
  return {
    backend,
    front,
    attempts() {
      const count = attempts
      attempts = 0
      return count
    },
    arrived() {
      const requests = backend.requests.slice(seen)
      seen += requests.length
      return requests
    },
    async [Symbol.asyncDispose]() {
      await front[Symbol.asyncDispose]()
      await backend.close()
    },
  }
}

/** The statuses of the final responses in what a client has read. */
export function statuses(text: string): number[] {
  return Array.from(text.matchAll(/HTTP\/1\.1 (\d{3}) /g), ([, status]) => Number(status)).filter((one) => one >= 200)
}

/** A request as the backend got it, every byte. */
export function wire(request: MockRequest | undefined): string {
  return request === undefined ? '' : request.rawHead + request.wireBytes.toString('latin1')
}

/** Sends it with {@link NEXT} behind it; it must be refused, the connection closed, and no backend bothered with either. */
export async function refuses(on: Stage, bytes: string, status = 400): Promise<RawClient> {
  const client = connect(on)
  client.write(bytes + NEXT)
  await client.ended
  assert.deepEqual(statuses(client.text), [status], client.text)
  assert.match(client.text, /\r\nConnection: close\r\n/)
  assert.equal(on.attempts(), 0)
  await serves(on)
  assert.deepEqual(on.arrived().map(wire), [NEXT])
  return client
}

/**
 * Sends it with {@link NEXT} behind it. However the server ends the connection, what comes behind it is not served, and others are.
 * For what an application's server refuses before us, in its own way.
 */
export async function endsUnserved(on: Stage, bytes: string): Promise<void> {
  const client = connect(on)
  client.write(bytes + NEXT)
  await client.ended
  assert.ok(statuses(client.text).every((status) => status === 400))
  on.attempts()
  await serves(on)
  assert.equal(on.arrived().filter(({ path }) => path === '/next').length, 1)
}

/** Sends the start of a body that turns bad: the backend, which may have its head, must not take it for complete. */
export async function breaksOff(on: Stage, bytes: string, status = 400): Promise<void> {
  const client = connect(on)
  client.write(bytes + NEXT)
  await client.ended
  assert.deepEqual(statuses(client.text), [status], client.text)
  assert.equal(on.attempts(), 1)
  await serves(on)
  const broken = on.arrived().slice(0, -1)
  for (const request of broken) assert.equal(request.isComplete, false, wire(request))
}

/** The proxy still serves, and what it has sent to the backend before has arrived. */
export async function serves(on: Stage): Promise<void> {
  const client = rawClient(on.front.port)
  client.write(NEXT)
  await client.until('GET /next')
  client.socket.destroy()
  assert.equal(on.attempts(), 1)
  assert.equal(wire(on.backend.requests.at(-1)), NEXT)
}

/** Sends it with {@link NEXT} behind it; the backend must get `expected`, and then the other by itself. */
export async function passes(on: Stage, bytes: string, expected: string): Promise<RawClient> {
  const client = connect(on)
  client.write(bytes + NEXT)
  await client.until('GET /next')
  assert.deepEqual(statuses(client.text), [200, 200])
  assert.deepEqual(on.arrived().map(wire), [expected, NEXT])
  assert.deepEqual(on.backend.faults, [])
  assert.equal(on.attempts(), 2)
  client.socket.destroy()
  return client
}

/** The same, for a request after which the connection ends: what follows it is not a request. */
export async function passesAndEnds(on: Stage, bytes: string, expected: string): Promise<RawClient> {
  const client = connect(on)
  client.write(bytes + NEXT)
  assert.equal(await client.ended, 'end')
  assert.deepEqual(statuses(client.text), [200], client.text)
  assert.deepEqual(on.arrived().map(wire), [expected])
  assert.equal(on.attempts(), 1)
  return client
}
