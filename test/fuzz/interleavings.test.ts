import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveOptions } from '../../src/config/resolve.ts'
import type { BodySink, BodySource, Flow, Lease, Pool, ResponseSink } from '../../src/contracts/pool.ts'
import { Exchange } from '../../src/exchange/exchange.ts'
import type { Front, FrontBody, FrontEvents } from '../../src/exchange/front.ts'
import { requestHeaders } from '../../src/headers/request.ts'
import { ProxyError, type ProxyErrorCode } from '../../src/model/errors.ts'
import type { ExchangeRecord } from '../../src/model/record.ts'
import { assemble } from '../../src/proxy/assemble.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { nextContext } from '../../src/threads/context.ts'
import { caseCount, seed } from './mutator.ts'

const CODES: readonly ProxyErrorCode[] = [
  'ERR_PROXY_CONNECT',
  'ERR_PROXY_RESET',
  'ERR_PROXY_NO_BACKEND',
  'ERR_PROXY_BAD_RESPONSE',
  'ERR_PROXY_TRUNCATED',
]
const PEER = { address: '192.0.2.1', isSecure: false, isTrusted: false, localPort: 80 }

/** One exchange between a front, a client and a pool that do whatever their contracts allow, in any order. */
async function play(given: number): Promise<void> {
  const random = seededRandom(given)
  const under = (n: number): number => Math.floor(random() * n)
  const one = <T>(items: readonly T[]): T => items[under(items.length)] as T
  const clock = manualClock()
  /** What the other side may do next. */
  const moves = new Set<() => void>()
  const later = (move: () => void): void => {
    const once = (): void => {
      moves.delete(once)
      move()
    }
    moves.add(once)
  }
  let leases = 0
  /** Told here, since what is thrown is the exchange's to catch. */
  const faults: string[] = []

  function lease(): Lease {
    let isOut = true
    let sink: ResponseSink | null = null
    leases++
    const fail = (): void => {
      const last = sink
      sink = null
      last?.onError(new ProxyError(one(CODES), 'failed'))
    }
    return {
      isReused: under(3) === 0,
      send(_head, body: BodySource | null, given) {
        if (under(20) === 0) throw new Error('send')
        sink = given
        const upload: BodySink = {
          onBody() {
            const goOn = under(4) > 0
            if (!goOn) later(() => body?.resume())
            return goOn
          },
          onBodyEnd() {},
        }
        if (body !== null) {
          later(() => {
            try {
              if (sink !== null) body.start(upload)
            } catch {
              // The response began first, so that the body of an earlier attempt is not kept any more.
              fail()
            }
          })
        }
        later(() => {
          if (under(4) === 0) return fail()
          if (under(4) === 0) sink?.onInformational({ status: 103, reason: '', headers: [], bodyBytes: 0 })
          const status = one([200, 204, 304, 401, 503])
          const headers = status === 401 ? ['WWW-Authenticate', 'NTLM'] : []
          let isHeld = false
          const goOn = (): void => {
            if (under(6) === 0) return later(fail)
            if (under(4) === 0) {
              const last = sink
              sink = null
              return last?.onEnd(null)
            }
            isHeld = sink?.onData(Buffer.alloc(10)) === false
            sink?.onFlush()
            if (!isHeld && under(5) > 0) later(goOn)
          }
          const flow: Flow = {
            resume() {
              if (!isOut) faults.push('a flow is resumed after the release')
              if (isHeld) later(goOn)
              isHeld = false
            },
            retain() {},
          }
          sink?.onHead({ status, reason: '', headers, bodyBytes: -1 }, flow)
          later(goOn)
        })
      },
      release() {
        if (isOut) leases--
        isOut = false
        sink = null
      },
    }
  }

  const pool: Pool = {
    acquire() {
      const how = under(8)
      if (how === 0) throw new Error('acquire')
      if (how < 4) return lease()
      return new Promise((resolve, reject) => {
        if (how === 4) later(() => reject(new ProxyError(one(CODES), 'not leased')))
        else if (how > 5) later(() => resolve(lease()))
      })
    },
    stats: () => ({ backends: [] }),
    async drain() {},
    async close() {},
    destroy() {},
  }
  const { core, events: told } = assemble(
    resolveOptions({
      backends: ['http://one.test', 'http://two.test'],
      pool,
      clock,
      retry: { name: 'some', next: () => one([-1, 0, 0, 50]) },
      timeouts: { headers: 500, idle: 700, total: one([0, 900]) },
      limits: { minBodyBytesPerSecond: one([0, 1000]), minReadBytesPerSecond: one([0, 1000]), maxBodyBytes: 400 },
      healthCheck: false,
    }),
    nextContext(''),
  )
  const records: ExchangeRecord[] = []
  const errors: ProxyError[] = []
  told.emitter.on('finish', (_exchange, record) => records.push(record))
  told.emitter.on('error', (error) => errors.push(error))

  let events: FrontEvents | null = null
  let heads = 0
  let isOver = false
  const over = (call: () => void): void => {
    if (isOver) return
    isOver = true
    call()
  }
  const front: Front = {
    method: one(['GET', 'HEAD', 'POST', 'PUT']),
    target: '/',
    version: '1.1',
    takesTrailers: (bodyBytes) => bodyBytes < 0,
    headers: ['Host', 'a'],
    peer: PEER,
    scope: null,
    isRequestComplete: false,
    ownStatus: null,
    isLast: false,
    inform() {},
    respond() {
      heads++
      if (isOver) faults.push('a response begins for a client that is gone')
      if (under(30) === 0) throw new Error('respond')
    },
    write() {
      if (heads === 0) faults.push('a body comes before its head')
      if (isOver) faults.push('a body goes on after its end')
      if (under(30) === 0) throw new Error('write')
      if (under(3) > 0) return true
      later(() => isOver || events?.onClientDrain())
      return false
    },
    flush() {},
    end() {
      later(() => over(() => events?.onClientDone()))
    },
    abort() {
      over(() => {})
    },
  }
  const body: FrontBody = {
    bytes: -1,
    expectsContinue: false,
    isDecoded: false,
    start(sink) {
      const send = (): void => {
        if (under(4) === 0) return sink.onBodyEnd(null)
        if (sink.onBody(Buffer.alloc(100))) later(send)
        else resume = send
      }
      later(send)
    },
    resume() {
      const go = resume
      resume = null
      if (go !== null) later(go)
    },
    pause() {},
    abandon() {},
  }
  let resume: (() => void) | null = null
  const request = requestHeaders(front.headers, front.method, '1.1', PEER, core.snapshot.forwarding.requestHeaders)
  const exchange = new Exchange(core, front, request, front.method.startsWith('P') ? body : null, null)
  events = exchange.events
  exchange.begin()
  for (let i = 0; i < 200 && (moves.size > 0 || !exchange.isEnded); i++) {
    if (under(40) === 0) over(() => events?.onClientGone())
    if (moves.size === 0 || under(6) === 0) clock.advance(one([20, 100, 1000]))
    else one([...moves])()
    await null
  }
  // Whatever has not ended by then is waiting for a lease that never comes.
  over(() => events?.onClientGone())
  for (const move of moves) move()
  await null
  await null
  const [record] = records
  assert.deepEqual(faults, [])
  assert.equal(records.length, 1)
  assert.ok(errors.length <= 1)
  assert.equal(record?.errorCode ?? null, errors[0]?.code ?? null)
  assert.equal(core.services.activity.active, 0)
  assert.equal(core.services.deadlines.size, 0)
  assert.equal(leases, 0)
  assert.equal(exchange.signal.aborted, true)
  assert.ok(heads <= 2)
  const { backends } = exchange.route?.group ?? { backends: [] }
  assert.deepEqual(
    backends.map(({ pending }) => pending),
    [0, 0],
  )
}

test('an exchange ends once, and leaves nothing behind, in whatever order things happen', async () => {
  for (let i = 0; i < caseCount(1000); i++) {
    try {
      await play(seed + i)
    } catch (error) {
      throw new Error(`FUZZ_CASES=1 FUZZ_SEED=${seed + i}`, { cause: error })
    }
  }
})
