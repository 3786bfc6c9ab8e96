import http from 'node:http'
import { createProxy, type OutcomeKind, type Proxy } from '../../src/index.ts'
import { type Clock, systemClock } from '../../src/runtime/clock.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { type Footprint, idleFootprint, untilTrue } from '../faults/footprint.ts'
import { rawClient } from '../support/raw-client.ts'
import { rounds } from '../support/running-proxy.ts'
import { upgradeRequest } from '../support/upgrade-backends.ts'
import { chaosBackend, DEEDS } from './chaos-backend.ts'
import { collectGarbage, watchGarbage } from './collect.ts'

/** How much of each. */
export interface Load {
  readonly requests: number
  readonly upgrades: number
  /** At one time. */
  readonly concurrency: number
  readonly seed?: number
}

/** What is held at a moment when nothing should be under way. */
export interface Held extends Footprint {
  readonly pending: number
  readonly active: number
  /** To backends. */
  readonly connections: number
  /** Timers of the proxy that have neither run nor been cancelled. */
  readonly timers: number
  readonly bytes: number
}

export interface Findings {
  readonly before: Held
  readonly after: Held
  /** Exchanges that ended, by outcome. */
  readonly outcomes: Readonly<Partial<Record<OutcomeKind, number>>>
  readonly exchanges: number
  /** Exchanges that are not garbage now, though they have ended. */
  readonly alive: number
  /** Records that came a second time. */
  readonly doubles: number
  readonly warnings: readonly string[]
  readonly seconds: number
}

/** Runs requests and upgrades of which many go wrong in every way, from both ends; after a tenth of them as warm-up. */
export async function chaos(load: Load): Promise<Findings> {
  const random = seededRandom(load.seed ?? 1)
  const clock = countingClock()
  const warnings: string[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', onWarning)
  await using first = await chaosBackend()
  await using second = await chaosBackend()
  await using proxy = createProxy({
    backends: [first.url, second.url],
    // All that goes wrong is meant to: nothing is to be gained by taking a backend out.
    healthCheck: { consecutiveFailures: 1_000_000 },
    retry: { minPerSecond: 1000 },
    pool: { keepAliveMs: 50 },
    timeouts: { upgradeIdle: 60_000 },
    // Else the backend of a client that has gone works on until it writes, and some of these never do.
    limits: { halfClose: 'abort' },
    drainTimeoutMs: 0,
    clock,
  })
  const { port } = await proxy.listen({ port: 0, host: '127.0.0.1' })
  let watched = watchGarbage()
  let ended = new Set<number>()
  let doubles = 0
  let outcomes: Partial<Record<OutcomeKind, number>> = {}
  proxy.on('request', (exchange) => watched.add(exchange))
  proxy.on('finish', ({ id }, { outcome }) => {
    if (ended.has(id)) doubles++
    ended.add(id)
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
  })

  async function run(share: number): Promise<void> {
    const agent = new http.Agent({ keepAlive: true, maxSockets: load.concurrency })
    await inParallel(load.requests * share, load.concurrency, () => oneRequest(port, agent, random))
    agent.destroy()
    await inParallel(load.upgrades * share, load.concurrency, () => oneUpgrade(port, random))
  }

  async function held(): Promise<Held> {
    await untilTrue(() => isIdle(proxy) && clock.waiting === 0)
    // Both servers, and ours.
    const print = await idleFootprint(3)
    const { active, groups } = proxy.stats()
    return {
      ...print,
      active,
      pending: sum(groups.flatMap((group) => group.backends.map((backend) => backend.pending))),
      connections: sum(groups.flatMap((group) => group.pool.backends.map((backend) => backend.connections))),
      timers: clock.waiting,
      bytes: await collectGarbage(),
    }
  }

  await run(0.1)
  watched = watchGarbage()
  const before = await held()
  ended = new Set()
  outcomes = {}
  const startedAt = performance.now()
  await run(1)
  const seconds = (performance.now() - startedAt) / 1000
  const exchanges = ended.size
  await untilTrue(() => isIdle(proxy))
  await collectGarbage()
  const alive = watched.alive()
  // What we remember would count as grown.
  watched = watchGarbage()
  ended = new Set()
  const after = await held()
  process.off('warning', onWarning)
  return { before, after, outcomes, exchanges, alive, doubles, warnings, seconds }
}

function isIdle(proxy: Proxy): boolean {
  const { active, groups } = proxy.stats()
  const pools = groups.flatMap((group) => group.pool.backends)
  return active === 0 && pools.every(({ connections, connecting, waiting }) => connections + connecting + waiting === 0)
}

/** The machine's clock, which counts what is scheduled on it. */
function countingClock(): Clock & { readonly waiting: number } {
  let waiting = 0
  return {
    ...systemClock,
    get waiting() {
      return waiting
    },
    schedule(delayMs, task) {
      let isWaiting = true
      waiting++
      const done = (): void => {
        if (isWaiting) waiting--
        isWaiting = false
      }
      const cancel = systemClock.schedule(delayMs, () => {
        done()
        task()
      })
      return () => {
        done()
        cancel()
      }
    },
  }
}

async function inParallel(count: number, concurrency: number, run: () => Promise<void>): Promise<void> {
  let left = count
  async function worker(): Promise<void> {
    while (left-- > 0) await run()
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
}

/** A request of a random kind, which one in three clients does not wait for. */
function oneRequest(port: number, agent: http.Agent, random: () => number): Promise<void> {
  const deed = pickOne(DEEDS, random)
  const hasBody = random() < 0.4
  const abortAt =
    deed === 'silent' || random() < 0.3 ? pickOne(['at once', 'soon', 'at the head', 'in the body'], random) : ''
  const req = http.request({
    port,
    host: '127.0.0.1',
    agent,
    method: hasBody ? pickOne(['POST', 'PUT'], random) : 'GET',
    headers: { 'X-Do': deed },
  })
  const over = new Promise<void>((resolve) => {
    req.on('error', () => {}).on('close', resolve)
  })
  req.on('response', (res) => {
    res.on('error', () => {})
    if (abortAt === 'at the head') req.destroy()
    else if (abortAt === 'in the body') res.once('data', () => req.destroy())
    res.resume()
  })
  if (hasBody) for (let left = Math.floor(random() * 8); left > 0; left--) req.write(Buffer.alloc(16_384))
  req.end()
  if (abortAt === 'at once') req.destroy()
  else if (abortAt === 'soon' || deed === 'silent') void rounds(Math.floor(random() * 20)).then(() => req.destroy())
  return over
}

const ENDS = ['destroy', 'reset', 'end', 'bye', 'rst', 'before'] as const

/** An upgraded connection that ends in a random way. */
async function oneUpgrade(port: number, random: () => number): Promise<void> {
  const how = pickOne(ENDS, random)
  const client = rawClient(port)
  client.socket.on('end', () => client.socket.end())
  client.write(upgradeRequest({ extra: `X-Do: ${how === 'before' ? 'silent' : 'answer'}\r\n` }))
  if (how === 'before') {
    await rounds(Math.floor(random() * 10))
    client.socket.destroy()
  } else {
    await client.until('\r\n\r\n')
    client.write('hello')
    await client.until('hello')
    if (how === 'destroy') client.socket.destroy()
    else if (how === 'reset') client.socket.resetAndDestroy()
    else if (how === 'end') client.socket.end()
    else client.write(how)
  }
  await client.ended
}

function pickOne<Value>(values: readonly Value[], random: () => number): Value {
  return values[Math.floor(random() * values.length)] as Value
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}
