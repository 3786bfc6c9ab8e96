import assert from 'node:assert/strict'
import net from 'node:net'
import { after, before, test } from 'node:test'
import {
  type BodySink,
  type Clock,
  type Flow,
  type GroupOptions,
  type Lease,
  type Pool,
  type ProxyOptions,
  type ResponseSink,
  standardPool,
} from '../../src/index.ts'
import { systemClock } from '../../src/runtime/clock.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockScript } from '../../src/testing/mock-script.ts'
import { type RunningProxy, rounds, type WayIn } from '../support/running-proxy.ts'
import { switching, upgradeRequest } from '../support/upgrade-backends.ts'

/**
 * Every callback of every contract fails in every way, on every front, while other exchanges run beside it: the process
 * lives, each exchange ends once, each client has a whole response or sees the cut, and the proxy closes.
 */
type Bad = (...args: unknown[]) => never

export const WAYS: Readonly<Record<string, Bad>> = {
  throws: () => {
    throw new Error('oops')
  },
  'throws what is no error': () => {
    throw Object.create(null)
  },
  rejects: (async () => {
    throw new Error('oops')
  }) as never,
  'returns nonsense': (() => Number.NaN) as never,
}

/** What is broken: the group of `/bad`, or the proxy. */
interface Broken {
  readonly group?: GroupOptions
  readonly proxy?: ProxyOptions
  /** Its backends refuse connections. */
  readonly isDown?: boolean
  /** After the proxy was made. */
  prepare?(front: RunningProxy): void
}

const balancer = (part: object): Broken => ({ group: { balancer: { name: 'mine', pick: ([one]) => one, ...part } } })
const healthCheck = (part: object): Broken => ({ group: { healthCheck: { name: 'mine', observe() {}, ...part } } })
const retry = (part: object): Broken => ({ group: { retry: { name: 'mine', next: () => -1, ...part } }, isDown: true })
const logger = (part: object): Broken => ({
  proxy: { logger: { debug() {}, info() {}, warn() {}, error() {}, ...part } },
  isDown: true,
})
const clock = (part: Partial<Clock>): Broken => ({ proxy: { clock: { ...systemClock, ...part } } })

/** Ours, with a part of it replaced, or of its connections. */
function pool(
  part: object,
  ofLease: object = {},
  ofSink: Partial<BodySink> | null = null,
  ofFlow: object = {},
): Broken {
  const inner = standardPool()
  const broken: Pool = {
    ...inner,
    async acquire(backend, exchange) {
      const connection = await inner.acquire(backend, exchange)
      const whole: Lease = {
        isReused: connection.isReused,
        send(request, body, sink) {
          const wrapped: typeof body =
            body === null || ofSink === null
              ? body
              : {
                  bytes: body.bytes,
                  expectsContinue: body.expectsContinue,
                  isReplayable: body.isReplayable,
                  stop: () => body.stop(),
                  resume: () => body.resume(),
                  start: (theirs) =>
                    body.start({
                      onBody: (chunk) => theirs.onBody(chunk),
                      onBodyEnd: (trailers) => theirs.onBodyEnd(trailers),
                      ...ofSink,
                    }),
                }
          connection.send(request, wrapped, withFlow(sink, ofFlow))
        },
        release: (outcome) => connection.release(outcome),
        ...ofLease,
      }
      return whole
    },
    ...part,
  }
  return { group: { pool: broken } }
}

/** Gives a sink a flow of which a part is replaced. */
function withFlow(sink: ResponseSink, part: object): ResponseSink {
  return {
    onInformational: (head) => sink.onInformational(head),
    onHead: (head, flow) =>
      sink.onHead(head, { resume: () => flow.resume(), retain: () => flow.retain(), ...part } as Flow),
    onData: (chunk) => sink.onData(chunk),
    onFlush: () => sink.onFlush(),
    onEnd: (trailers) => sink.onEnd(trailers),
    onUpgrade: (head, stream, rest) => sink.onUpgrade(head, stream, rest),
    onError: (error) => sink.onError(error),
  }
}

const transform = (part: object): Broken => ({
  proxy: { routes: [{ path: '/bad', group: 'bad', transforms: [{ name: 'mine', ...part }] }] },
})

const EVENTS = [
  'request',
  'attempt',
  'retry',
  'response',
  'upgrade',
  'error',
  'finish',
  'eject',
  'uneject',
  'unhealthy',
  'healthy',
  'close',
] as const

const CALLBACKS: Readonly<Record<string, (bad: Bad) => Broken>> = {
  'balancer.pick': (bad) => balancer({ pick: bad }),
  'balancer.onStart': (bad) => balancer({ onStart: bad }),
  'balancer.onEnd': (bad) => balancer({ onEnd: bad }),
  'balancer.onChange': (bad) => {
    let isMade = false
    return {
      ...balancer({ onChange: () => (isMade ? bad() : undefined) }),
      prepare() {
        isMade = true
      },
    }
  },
  'a hash key': (bad) => ({ group: { balancer: { name: 'consistent-hash', by: bad } } }),
  'healthCheck.observe': (bad) => healthCheck({ observe: bad }),
  'healthCheck.watch': (bad) => healthCheck({ watch: bad }),
  'the function that watch() returns': (bad) => healthCheck({ watch: () => bad }),
  'retry.onExchange': (bad) => retry({ onExchange: bad }),
  'retry.next': (bad) => retry({ next: bad }),
  'transform.request': (bad) => transform({ request: bad }),
  'transform.response': (bad) => transform({ response: bad }),
  'pool.acquire': (bad) => pool({ acquire: bad }),
  'pool.stats': (bad) => pool({ stats: bad }),
  'pool.drain': (bad) => pool({ drain: bad }),
  'pool.close': (bad) => pool({ close: bad }),
  'pool.destroy': (bad) => pool({ destroy: bad }),
  'pool.repick': (bad) => pool({ repick: bad }),
  'lease.send': (bad) => pool({}, { send: bad }),
  'flow.resume': (bad) => pool({}, {}, null, { resume: bad }),
  'flow.retain': (bad) => pool({}, {}, null, { retain: bad }),
  'lease.release': (bad) => pool({}, { release: bad }),
  'sink.onBody': (bad) => pool({}, {}, { onBody: bad }),
  'sink.onBodyEnd': (bad) => pool({}, {}, { onBodyEnd: bad }),
  'accessLog.write': (bad) => ({ proxy: { accessLog: { format: 'json', write: bad } } }),
  'logger.debug': (bad) => logger({ debug: bad }),
  'logger.info': (bad) => logger({ info: bad }),
  'logger.warn': (bad) => logger({ warn: bad }),
  'logger.error': (bad) => logger({ error: bad }),
  'clock.now': (bad) => clock({ now: bad }),
  'clock.epoch': (bad) => clock({ epoch: bad }),
  'clock.random': (bad) => clock({ random: bad }),
  'clock.schedule': (bad) => clock({ schedule: bad }),
  ...Object.fromEntries(
    EVENTS.map((event) => [
      `a listener of ${event}`,
      (bad: Bad): Broken => ({
        isDown: event === 'retry' || event === 'error',
        prepare: ({ proxy }) => void proxy.on(event, bad),
      }),
    ]),
  ),
}

const BIG = 8 * 1024 * 1024

const answers: MockScript = async (request, reply) => {
  if (request.header('upgrade') !== undefined) return void reply.takeOver().resume().end(switching('foo', 'hello'))
  await request.body()
  if (!request.path.includes('big')) return reply.send({ body: 'hello' })
  reply.head({ headers: ['Content-Length', String(BIG)] })
  if (!reply.chunk(Buffer.alloc(BIG - 5))) await reply.drained()
  reply.chunk('hello')
  reply.end()
}

const REQUESTS = [
  'GET /bad HTTP/1.1\r\nHost: a\r\n\r\n',
  `POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`,
  upgradeRequest().replace('GET / ', 'GET /bad '),
]
/** A response that does not fit in the buffers on its way: for what happens to connections. */
const LARGE = 'GET /bad/big HTTP/1.1\r\nHost: a\r\n\r\n'
const GOOD = 'GET /good HTTP/1.1\r\nHost: a\r\n\r\n'

export const unhandled: unknown[] = []
const onUnhandled = (error: unknown): void => void unhandled.push(error)
before(() => void process.on('unhandledRejection', onUnhandled).on('uncaughtException', onUnhandled))
after(() => void process.off('unhandledRejection', onUnhandled).off('uncaughtException', onUnhandled))

interface Client {
  readonly socket: net.Socket
  /** Resolves with a whole response, ours or the backend's, or when the connection is over; without the middle of a large one. */
  readonly outcome: Promise<string>
}

/** Sends a request, and reads nothing until `socket.resume()`. */
export function send(port: number, request: string): Client {
  const socket = net.connect(port, '127.0.0.1')
  let text = ''
  const outcome = new Promise<string>((resolve) => {
    socket
      .on('data', (bytes) => {
        text += bytes.length > 2000 ? bytes.subarray(-2000).toString('latin1') : bytes.toString('latin1')
        if (/hello|ours|ERR_PROXY_/.test(text.slice(-4000))) resolve(text)
      })
      .on('end', () => socket.end())
      .on('error', () => {})
      .on('close', () => resolve(text))
  })
  socket.pause()
  socket.write(request)
  return { socket, outcome }
}

/** Resolves when the system has as many exchanges as `count`, and all have ended. */
async function untilEnded({ proxy }: RunningProxy, count: number): Promise<void> {
  while (proxy.stats().exchanges < count || proxy.stats().active > 0) await rounds(1)
}

async function tryAll(front: RunningProxy, backend: string, requests: readonly string[]): Promise<void> {
  let finished = 0
  front.proxy.on('finish', () => finished++)
  const bad = requests.map((request) => send(front.port, request))
  const good = [GOOD, GOOD].map((request) => send(front.port, request))
  // For so long nobody reads, so that what is large waits.
  await rounds(30)
  for (const client of [...bad, ...good]) client.socket.resume()
  for (const { outcome } of good) assert.match(await outcome, /^HTTP\/1\.1 200 [\s\S]*hello$/)
  for (const { outcome } of bad) await outcome
  for (const client of [...bad, ...good]) client.socket.destroy()
  const count = bad.length + good.length
  await untilEnded(front, count)
  await rounds()
  assert.deepEqual([front.proxy.stats().exchanges, finished, front.pending()], [count, count, 0])
  await front.proxy.setBackends([{ id: 'other', url: backend }], 'bad')
  await rounds()
}

/** Registers a test for each callback and each way to fail. A file for each front: node 22 bounds the time of a whole file. */
export function registerCallbacks({ name, run }: Pick<WayIn, 'name' | 'run'>): void {
  for (const [callback, broken] of Object.entries(CALLBACKS)) {
    for (const [way, bad] of Object.entries(WAYS)) {
      test(`${callback} ${way}, ${name}`, async () => {
        await using backend = await mockBackend(answers)
        const { group, proxy, isDown = false, prepare } = broken(bad)
        const { url } = isDown ? await deadPort() : backend
        {
          await using front = await run({
            groups: {
              bad: {
                backends: [
                  { id: '1', url },
                  { id: '2', url },
                ],
                // A connection that does nothing is as good as a backend that does nothing.
                timeouts: { headers: 300, idle: 300 },
                ...group,
              },
              good: { target: backend.url },
            },
            ...proxy,
            routes: [{ path: '/good', group: 'good' }, ...(proxy?.routes ?? [{ path: '/bad', group: 'bad' }])],
          })
          prepare?.(front)
          await tryAll(front, backend.url, group?.pool === undefined ? REQUESTS : [...REQUESTS, LARGE])
        }
        await rounds()
        assert.deepEqual(unhandled.splice(0), [])
      })
    }
  }
}
