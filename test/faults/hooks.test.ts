import assert from 'node:assert/strict'
import http from 'node:http'
import { after, before, test } from 'node:test'
import {
  firstAvailable,
  type Lease,
  type Pool,
  type ProxyOptions,
  type RetryPolicy,
  standardPool,
  type Transform,
} from '../../src/index.ts'
import { deadPort, mockBackend } from '../../src/testing/mock-backend.ts'
import type { MockScript } from '../../src/testing/mock-script.ts'
import { recordingLogger } from '../../src/testing/recording-logger.ts'
import { rawClient } from '../support/raw-client.ts'
import { ALL_FRONTS, inHttp2, rounds, runInServer } from '../support/running-proxy.ts'
import { switching, upgradeRequest } from '../support/upgrade-backends.ts'

/**
 * Code of the user's that throws, and what becomes of the exchange: `500` is ERR_PROXY_HOOK, `fine` the backend's answer,
 * `502` what it would be without the hook. The last column is what the log must say of whose fault it was.
 */
type Row = readonly [what: string, options: ProxyOptions, result: 'fine' | '500' | '502', log: RegExp]

const oops = (): never => {
  throw new Error('oops')
}
const oopsLater = async (): Promise<never> => oops()
/** Throws nothing that is an error. */
const oopsOddly = (): never => {
  throw null
}

const transform = (part: Partial<Transform>): ProxyOptions => ({
  routes: [{ transforms: [{ name: 'mine', ...part }] }],
})
const retry = (part: Partial<RetryPolicy>): ProxyOptions => ({ retry: { name: 'mine', next: () => -1, ...part } })

const ROWS: readonly Row[] = [
  ['balancer.pick', { balancer: { name: 'mine', pick: oops } }, '500', /balancer mine threw: oops/],
  ['balancer.pick, not an error', { balancer: { name: 'mine', pick: oopsOddly } }, '500', /balancer mine threw: null/],
  ['balancer.onStart', { balancer: { ...firstAvailable(), onStart: oops } }, 'fine', /threw: oops/],
  ['balancer.onEnd', { balancer: { ...firstAvailable(), onEnd: oops } }, 'fine', /threw: oops/],
  ['healthCheck.observe', { healthCheck: { name: 'mine', observe: oops } }, 'fine', /threw: oops/],
  ['retry.onExchange', retry({ onExchange: oops }), 'fine', /threw: oops/],
  ['retry.next', retry({ next: oops }), '502', /threw: oops/],
  ['transform.request', transform({ request: oops }), '500', /transform mine threw: oops/],
  ['transform.response', transform({ response: oops }), '500', /transform mine threw: oops/],
  ['accessLog.write', { accessLog: { format: 'json', write: oops } }, 'fine', /access log threw: oops/],
]

const NO_UPGRADE = 'there is no upgrade in HTTP/2'

/** Says 101 to an upgrade, and ends the connection soon after. */
const answers: MockScript = async (request, reply) => {
  if (request.header('upgrade') === undefined) {
    await request.body()
    return reply.send({ body: 'hello' })
  }
  reply.takeOver().resume().end(switching('foo', 'hello'))
}

const REQUESTS = {
  GET: 'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
  POST: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
  upgrade: upgradeRequest(),
}

const unhandled: unknown[] = []
const onUnhandled = (error: unknown): void => void unhandled.push(error)
before(() => void process.on('unhandledRejection', onUnhandled).on('uncaughtException', onUnhandled))
after(() => void process.off('unhandledRejection', onUnhandled).off('uncaughtException', onUnhandled))

async function assertNothingUnhandled(): Promise<void> {
  await rounds()
  assert.deepEqual(unhandled.splice(0), [])
}

function register(what: string, options: ProxyOptions, result: Row[2], log: RegExp, how = 'throws'): void {
  for (const [kind, request] of Object.entries(REQUESTS)) {
    for (const { name, run } of ALL_FRONTS) {
      test(`${what} ${how}, ${kind}: ${result}, ${name}`, {
        skip: kind === 'upgrade' && inHttp2(name, NO_UPGRADE),
      }, async () => {
        const logger = recordingLogger()
        await using backend = await mockBackend(answers)
        const { url } = result === '502' ? await deadPort() : backend
        await using front = await run({ target: url, healthCheck: false, logger, ...options })
        const client = rawClient(front.port)
        client.socket.on('end', () => client.socket.end())
        client.write(request)
        const status = result === 'fine' ? (kind === 'upgrade' ? 101 : 200) : result
        await client.until(result === '500' ? 'ERR_PROXY_HOOK' : result === '502' ? 'ERR_PROXY_CONNECT' : 'hello')
        assert.match(client.text, new RegExp(`^HTTP/1\\.1 ${status} `))
        assert.doesNotMatch(client.text, /oops|mine/)
        const record = await front.nextRecord()
        const answered = kind === 'upgrade' ? 'upgraded' : 'answered'
        assert.equal(record.outcome, result === 'fine' ? answered : record.attempts > 0 ? 'failed' : 'local')
        assert.ok(
          logger.entries.some(({ level, message }) => level === 'error' && log.test(message)),
          logger.messages().join('\n'),
        )
        client.socket.destroy()
        await assertNothingUnhandled()
        assert.deepEqual([front.pending(), front.proxy.stats().active], [0, 0])
      })
    }
  }
}

for (const [what, options, result, log] of ROWS) register(what, options, result, log)

/** Every event of the proxy. */
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

for (const [kind, request] of Object.entries(REQUESTS)) {
  for (const target of ['up', 'down']) {
    for (const { name, run } of ALL_FRONTS) {
      test(`listeners of all events and the logger throw, ${kind}, backend ${target}, ${name}`, {
        skip: kind === 'upgrade' && inHttp2(name, NO_UPGRADE),
      }, async () => {
        await using backend = await mockBackend(answers)
        const { url } = target === 'up' ? backend : await deadPort()
        {
          await using front = await run({
            target: url,
            healthCheck: { consecutiveFailures: 1, maxEjectedPercent: 100, baseMs: 1 },
            logger: { debug: oops, info: oops, warn: oops, error: oops },
          })
          for (const event of EVENTS) front.proxy.on(event, oops)
          const client = rawClient(front.port)
          client.socket.on('end', () => client.socket.end())
          client.write(request)
          await client.until(target === 'up' ? 'hello' : 'ERR_PROXY_')
          await front.nextRecord()
          client.socket.destroy()
          await assertNothingUnhandled()
          assert.deepEqual([front.pending(), front.proxy.stats().active], [0, 0])
        }
        await assertNothingUnhandled()
      })
    }
  }
}

for (const { name, run } of ALL_FRONTS) {
  test(`a logger whose promises reject loses its lines, and nothing else, ${name}`, async () => {
    const { url } = await deadPort()
    await using front = await run({
      target: url,
      logger: { debug: oopsLater, info: oopsLater, warn: oopsLater, error: oopsLater },
    })
    assert.equal((await fetch(front.url)).status, 502)
    await assertNothingUnhandled()
  })
}

/** Ours, with a part of it replaced. */
function brokenPool(part: Partial<Pool>, ofConnection: Partial<Lease> = {}): Pool {
  const pool = standardPool()
  return {
    ...pool,
    async acquire(backend, exchange) {
      const connection = await pool.acquire(backend, exchange)
      return {
        isReused: connection.isReused,
        send: connection.send.bind(connection),
        release: connection.release.bind(connection),
        ...ofConnection,
      }
    },
    ...part,
  }
}

const POOLS: readonly [string, () => Pool, '500' | 'fine'][] = [
  ['acquire throws', () => brokenPool({ acquire: oops }), '500'],
  ['acquire rejects', () => brokenPool({ acquire: oopsLater }), '500'],
  ['acquire gives nothing', () => brokenPool({ acquire: () => undefined as never }), '500'],
  ['connection.send throws', () => brokenPool({}, { send: oops }), '500'],
  ['connection.release throws', () => brokenPool({}, { release: oops }), 'fine'],
]

for (const [what, makePool, result] of POOLS) {
  for (const kind of ['GET', 'POST'] as const) {
    for (const { name, run } of ALL_FRONTS) {
      test(`pool: ${what}, ${kind}: ${result}, ${name}`, async () => {
        const logger = recordingLogger()
        const pool = makePool()
        await using backend = await mockBackend(answers)
        await using front = await run({ target: backend.url, logger, pool })
        const client = rawClient(front.port)
        client.write(REQUESTS[kind])
        await client.until(result === '500' ? 'ERR_PROXY_HOOK' : 'hello')
        const record = await front.nextRecord()
        assert.equal(record.errorCode, result === '500' ? 'ERR_PROXY_HOOK' : null)
        assert.match(logger.messages('error').join(), /pool/)
        client.socket.destroy()
        await assertNothingUnhandled()
        assert.deepEqual([front.pending(), front.proxy.stats().active], [0, 0])
      })
    }
  }
}

test('onError of a call throws: the log has it, and the exchange its record', async () => {
  const logger = recordingLogger()
  const { url } = await deadPort()
  await using front = await runInServer({ target: url, logger }, (proxy) =>
    http.createServer((req, res) =>
      proxy.web(req, res, {
        onError() {
          res.writeHead(502).end('ours')
          oops()
        },
      }),
    ),
  )
  assert.equal(await (await fetch(front.url)).text(), 'ours')
  assert.equal((await front.nextRecord()).errorCode, 'ERR_PROXY_CONNECT')
  assert.match(logger.messages('error').join(), /onError threw: oops/)
  await assertNothingUnhandled()
})

/** The same for functions that return promises, though nobody asked them to. */
const LATE_ROWS: readonly Row[] = [
  ['balancer.pick', { balancer: { name: 'mine', pick: oopsLater as never } }, '500', /balancer mine threw/],
  ['balancer.onStart', { balancer: { ...firstAvailable(), onStart: oopsLater } }, 'fine', /oops/],
  ['balancer.onEnd', { balancer: { ...firstAvailable(), onEnd: oopsLater } }, 'fine', /oops/],
  ['healthCheck.observe', { healthCheck: { name: 'mine', observe: oopsLater } }, 'fine', /oops/],
  ['retry.onExchange', retry({ onExchange: oopsLater }), 'fine', /oops/],
  ['retry.next', retry({ next: oopsLater as never }), '502', /returned a promise/],
  ['transform.request', transform({ request: oopsLater }), '500', /transform mine/],
  ['transform.response', transform({ response: oopsLater }), '500', /transform mine/],
  ['accessLog.write', { accessLog: { format: 'json', write: oopsLater } }, 'fine', /access log/],
]
for (const [what, options, result, log] of LATE_ROWS) register(what, options, result, log, 'rejects')

for (const { name, run } of ALL_FRONTS) {
  test(`an async listener rejects, ${name}`, async () => {
    const logger = recordingLogger()
    await using backend = await mockBackend(answers)
    await using front = await run({ target: backend.url, logger })
    front.proxy.on('finish', oopsLater)
    assert.equal((await fetch(front.url)).status, 200)
    await front.nextRecord()
    await assertNothingUnhandled()
    assert.match(logger.messages('error').join(), /a listener of "finish"/)
  })
}

for (const method of ['writeHead', 'write', 'end'] as const) {
  const body = method === 'write' ? 'x'.repeat(200_000) : 'hello'
  test(`what an application has put around res.${method} throws: the exchange ends, and the log says why`, async () => {
    const logger = recordingLogger()
    await using backend = await mockBackend({ body })
    await using front = await runInServer({ target: backend.url, logger }, (proxy) =>
      http.createServer((req, res) => {
        if (req.url === '/wrapped') res[method] = oops
        proxy.web(req, res)
      }),
    )
    const client = rawClient(front.port)
    client.write('GET /wrapped HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.ended
    const record = await front.nextRecord()
    assert.equal(record.errorCode, 'ERR_PROXY_HOOK')
    assert.equal(record.outcome, method === 'writeHead' ? 'failed' : 'truncated')
    assert.ok(
      logger.entries.some(({ level, message }) => level === 'error' && /the response threw: oops/.test(message)),
    )
    await assertNothingUnhandled()
    assert.equal(await (await fetch(front.url)).text(), body)
    assert.equal(front.pending(), 0)
  })
}
