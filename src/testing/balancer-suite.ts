import assert from 'node:assert/strict'
import type { Balancer, Candidates } from '../contracts/balancer.ts'
import { Backend } from '../model/backend.ts'
import { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { Outcome } from '../model/outcome.ts'
import { exchangeView } from './exchange-view.ts'
import { type ManualClock, manualClock } from './manual-clock.ts'
import { seededRandom } from './random.ts'
import type { SuiteRunner } from './suite-runner.ts'

/** Time and chance for the balancer under test. Use both; otherwise the tests are not reproducible. */
export interface BalancerDeps {
  /** A number in [0, 1). */
  readonly random: () => number
  /** Monotonic time, ms. */
  readonly now: () => number
}

/** The properties of a balancer beyond the contract. */
export interface BalancerTraits {
  /** While nothing is pending, each backend gets its share by weight. Default true. */
  readonly sharesByWeight?: boolean | undefined
  /** Allowed relative deviation of a share, beyond chance. Default 0; a hash ring needs about 0.3. */
  readonly shareTolerance?: number | undefined
  /** Of backends in the same state, every one is picked. Default true. */
  readonly spreadsTies?: boolean | undefined
  /** Under load every backend is picked sometimes, even one that has failed for a while. Default true. */
  readonly starvesNone?: boolean | undefined
  /**
   * Exchanges with the same key go to the same backend, and only the keys of a backend that is added or removed move. Each
   * exchange of the suite has its own client address, path, `x-user` header and `user` cookie as keys. Default false.
   */
  readonly followsKey?: boolean | undefined
}

/**
 * Registers the tests that every {@link Balancer} must pass. Call it in a test file:
 * `balancerSuite('my balancer', ({ random }) => myBalancer({ random }), { test, describe })`. Time is virtual and chance is seeded.
 * @param factory creates a balancer for each test.
 * @param runner functions of your test runner.
 * @param traits properties of the balancer beyond the contract; `false` skips the tests of a property.
 */
export function balancerSuite(
  name: string,
  factory: (deps: BalancerDeps) => Balancer,
  runner: SuiteRunner,
  traits: BalancerTraits = {},
): void {
  const { test, describe } = runner
  const { sharesByWeight = true, spreadsTies = true, starvesNone = true, followsKey = false } = traits
  describe(`${name} is a Balancer`, () => {
    test('it has a name', () => {
      assert.match(stage(factory).balancer.name, /\S/)
    })
    describeEveryPick(runner, factory)
    if (spreadsTies) describeTies(runner, factory)
    if (sharesByWeight) describeShares(runner, factory, traits.shareTolerance ?? 0)
    if (starvesNone) describeStarvation(runner, factory)
    if (followsKey) describeKeys(runner, factory)
  })
}

type Factory = (deps: BalancerDeps) => Balancer

/** Sets of weights for every test. */
const SETS: readonly [what: string, weights: readonly number[]][] = [
  ['one', [1]],
  ['two', [1, 1]],
  ['three of unequal weight', [5, 1, 1]],
  ['fractions', [0.5, 0.25, 1.75, 1]],
  ['forty', Array.from({ length: 40 }, () => 1)],
  ['three hundred', Array.from({ length: 300 }, () => 2)],
  ['three hundred of unequal weight', Array.from({ length: 300 }, (_, index) => 1 + (index % 4))],
]

function describeEveryPick({ test }: SuiteRunner, factory: Factory): void {
  for (const [what, weights] of SETS) {
    for (const hooks of [true, false]) {
      const how = hooks ? 'with' : 'without'
      test(`it picks one of ${what}, ${how} calls of its hooks`, () => {
        const scene = stage(factory)
        const candidates = backends(weights)
        const picked = traffic(scene, candidates, { exchanges: 1000, hooks, failing: 0.1 })
        assert.equal(sum(picked.values()), 1000)
      })
    }
  }

  test('it does not change the candidates', () => {
    for (const [, weights] of SETS) {
      const candidates = backends(weights)
      const before = [...candidates]
      Object.freeze(candidates)
      traffic(stage(factory), candidates, { exchanges: 200 })
      assert.deepEqual(candidates, before)
    }
  })

  test('it picks the only candidate', () => {
    const { balancer, exchange } = stage(factory)
    const candidates = backends([1])
    for (let count = 0; count < 10; count++) assert.equal(balancer.pick(candidates, exchange()), candidates[0])
  })

  test('it picks an untried candidate for a retry, then picks among all', () => {
    for (const [what, weights] of SETS) {
      const { balancer, exchange } = stage(factory)
      const all = backends(weights)
      balancer.onChange?.(all)
      for (let count = 0; count < 100; count++) {
        const first = exchange()
        const tried = pickOne(balancer, all, first)
        const left = all.filter((backend) => backend !== tried)
        if (!isNotEmpty(left)) continue
        const retry = pickOne(balancer, left, { ...first, attempts: 2 })
        const last = left.filter((backend) => backend !== retry)
        if (isNotEmpty(last)) pickOne(balancer, last, { ...first, attempts: 3 })
        // At most three attempts, each at another backend.
        assert.notEqual(retry, tried, what)
      }
    }
  })

  test('pickUntried() picks an untried candidate, then pick() picks among all', () => {
    for (const [what, weights] of SETS) {
      const { balancer, exchange } = stage(factory)
      if (balancer.pickUntried === undefined) return
      const all = backends(weights)
      balancer.onChange?.(all)
      for (let count = 0; count < 100; count++) {
        const tried: Backend[] = []
        while (tried.length < Math.min(3, all.length - 1)) {
          const backend = balancer.pickUntried(all, tried, exchange())
          assert.ok(all.includes(backend), `${what}: picked ${backend?.id}, which is not a candidate`)
          assert.ok(!tried.includes(backend), `${what}: picked ${backend.id}, which was tried`)
          tried.push(backend)
        }
        pickOne(balancer, all, exchange())
      }
    }
  })

  test('it accepts changing candidates', () => {
    const scene = stage(factory)
    const all = backends([3, 1, 1, 2, 1])
    scene.balancer.onChange?.(all)
    for (let round = 0; round < 200; round++) {
      const candidates = all.filter((_, index) => index === round % 5 || scene.random() < 0.5)
      if (isNotEmpty(candidates)) traffic(scene, candidates, { exchanges: 5, failing: 0.2 })
    }
  })

  test('it accepts an empty list of backends', () => {
    const scene = stage(factory)
    for (const weights of [
      [1, 2],
      [3, 1, 1],
    ]) {
      scene.balancer.onChange?.([])
      const candidates = backends(weights)
      scene.balancer.onChange?.(candidates)
      traffic(scene, candidates, { exchanges: 20 })
    }
  })

  test('it accepts replaced backends', () => {
    const scene = stage(factory)
    for (let round = 1; round <= 20; round++) {
      const candidates = backends(Array.from({ length: round }, (_, index) => 1 + (index % 2)))
      scene.balancer.onChange?.(candidates)
      traffic(scene, candidates, { exchanges: 50 })
    }
  })
}

function describeTies({ test }: SuiteRunner, factory: Factory): void {
  for (const [count, pending] of [
    [2, 0],
    [5, 0],
    [5, 3],
    [40, 2],
    [300, 1],
  ] as const) {
    test(`it spreads over ${count} backends with ${pending} pending each`, () => {
      const { balancer, exchange } = stage(factory)
      const candidates = backends(Array.from({ length: count }, () => 1))
      for (const backend of candidates) for (let each = 0; each < pending; each++) backend.state.addPending(1)
      balancer.onChange?.(candidates)
      const picked = new Map<Backend, number>()
      for (let each = 0; each < count * 40; each++) tally(picked, pickOne(balancer, candidates, exchange()))
      for (const { id } of candidates.filter((backend) => !picked.has(backend))) assert.fail(`${id} was never picked`)
    })
  }
}

function describeShares({ test }: SuiteRunner, factory: Factory, tolerance: number): void {
  for (const [what, weights] of SETS) {
    test(`it gives each of ${what} its share while nothing is pending`, () => {
      const { balancer, exchange } = stage(factory)
      const candidates = backends(weights)
      balancer.onChange?.(candidates)
      assertShares(candidates, tolerance, () => pickOne(balancer, candidates, exchange()))
    })

    test(`it gives each of ${what} its share of the retries for one of them`, () => {
      const { balancer, exchange } = stage(factory)
      const candidates = backends(weights)
      const [tried, ...untried] = candidates
      if (balancer.pickUntried === undefined || !isNotEmpty(untried)) return
      balancer.onChange?.(candidates)
      assertShares(untried, tolerance, () => balancer.pickUntried?.(candidates, [tried], exchange()) ?? tried)
    })
  }
}

/** Asserts that many calls of `pick` give each of `backends` its share by weight. */
function assertShares(backends: Candidates, tolerance: number, pick: () => Backend): void {
  const exchanges = 2000 + backends.length * 100
  const picked = new Map<Backend, number>()
  for (let each = 0; each < exchanges; each++) tally(picked, pick())

  const total = sum(backends.map(({ weight }) => weight))
  let squares = 0
  for (const backend of backends) {
    const share = backend.weight / total
    const expected = exchanges * share
    const deviation = Math.abs((picked.get(backend) ?? 0) - expected)
    // Five standard deviations of a fair draw: exceeded once in a million.
    const chance = 5 * Math.sqrt(expected * (1 - share)) + 1
    const text = `${backend.id} of weight ${backend.weight}: ${picked.get(backend) ?? 0} picks, expected ${expected}`
    assert.ok(deviation <= chance + tolerance * expected * (1 + tolerance), text)
    squares += deviation ** 2 / expected
  }
  // All together (chi-square): many small deviations may be too many.
  const freedom = backends.length - 1
  const limit = freedom + 5 * Math.sqrt(2 * freedom) + 5 + tolerance ** 2 * exchanges
  assert.ok(squares <= limit, `chi-square is ${squares}, by chance it would be at most ${limit}`)
}

function describeStarvation({ test }: SuiteRunner, factory: Factory): void {
  for (const [what, weights] of SETS) {
    test(`it starves none of ${what} under load`, () => {
      const candidates = backends(weights)
      // The fair share of the lightest backend is forty.
      const exchanges = Math.ceil((40 * sum(weights)) / Math.min(...weights))
      const picked = traffic(stage(factory), candidates, { exchanges })
      for (const { id } of candidates.filter((backend) => !picked.has(backend))) assert.fail(`${id} was never picked`)
    })
  }

  test('it picks a backend again ten minutes after a failure', () => {
    const scene = stage(factory)
    const candidates = backends([1, 1])
    scene.balancer.onChange?.(candidates)
    const [failing, other] = candidates
    for (let each = 0; each < 50; each++) {
      for (const backend of [failing, other ?? failing]) {
        begin(scene, backend, scene.exchange())
        scene.clock.advance(2)
        end(scene, backend, backend === failing ? FAILED : ANSWERED)
      }
    }
    scene.clock.advance(600_000)
    const picked = traffic(scene, candidates, { exchanges: 200 })
    assert.ok((picked.get(failing) ?? 0) > 0, 'never picked')
  })
}

function describeKeys({ test }: SuiteRunner, factory: Factory): void {
  const count = 10
  const keys = Array.from({ length: 2000 }, (_, key) => key)
  const choices = ({ balancer }: Scene, candidates: Candidates) =>
    keys.map((key) => balancer.pick(candidates, exchangeOf(key)).id)
  /** Upper bound of the keys of one backend. */
  const share = (keys.length / count) * 2

  test('it sends a key to the same backend each time', () => {
    const scene = stage(factory)
    const candidates = backends(Array.from({ length: count }, () => 1))
    const first = choices(scene, candidates)
    assert.deepEqual(choices(scene, candidates).reverse(), first.reverse())
  })

  test('it sends a key to the same backend in every process, for any order of backends', () => {
    const candidates = backends(Array.from({ length: count }, () => 1))
    const reversed = [...candidates].reverse()
    assert.ok(isNotEmpty(reversed))
    assert.deepEqual(choices(stage(factory), candidates), choices(stage(factory, 2), reversed))
  })

  test('it moves only the keys of a removed backend, and they return with it', () => {
    const scene = stage(factory)
    const all = backends(Array.from({ length: count }, () => 1))
    scene.balancer.onChange?.(all)
    const before = choices(scene, all)
    for (const gone of all) {
      const rest = all.filter((backend) => backend !== gone)
      assert.ok(isNotEmpty(rest))
      const after = choices(scene, rest)
      for (const key of keys) if (before[key] !== gone.id) assert.equal(after[key], before[key])
    }
    assert.deepEqual(choices(scene, [...all]), before)
  })

  test('a retry goes where the key would go if its backend were removed', () => {
    const scene = stage(factory)
    const all = backends(Array.from({ length: count }, () => 1))
    const { balancer } = scene
    balancer.onChange?.(all)
    for (const key of keys) {
      const tried = balancer.pick(all, exchangeOf(key))
      const rest = all.filter((backend) => backend !== tried)
      if (balancer.pickUntried === undefined || !isNotEmpty(rest)) return
      assert.equal(balancer.pickUntried(all, [tried], exchangeOf(key)), balancer.pick(rest, exchangeOf(key)))
    }
  })

  test('it moves only the keys that a new backend takes over', () => {
    const scene = stage(factory)
    const all = backends(Array.from({ length: count }, () => 1))
    const rest = all.slice(0, -1)
    assert.ok(isNotEmpty(rest))
    scene.balancer.onChange?.(rest)
    const before = choices(scene, rest)
    scene.balancer.onChange?.(all)
    const after = choices(scene, all)
    const moved = keys.filter((key) => after[key] !== before[key])
    for (const key of moved) assert.equal(after[key], all.at(-1)?.id)
    assert.ok(moved.length > 0 && moved.length <= share, `${moved.length} keys moved, at most ${share} should`)
  })
}

/** A balancer with its time and chance. */
interface Scene {
  readonly balancer: Balancer
  readonly clock: ManualClock
  readonly random: () => number
  /** Creates the next exchange; each has its own keys. */
  exchange(): ExchangeView
}

function stage(factory: Factory, seed = 1): Scene {
  const clock = manualClock(1000, { seed })
  let exchanges = 0
  return {
    balancer: factory({ random: clock.random, now: clock.now }),
    clock,
    random: seededRandom(seed + 1000),
    exchange: () => exchangeOf(exchanges++),
  }
}

function exchangeOf(key: number): ExchangeView {
  return exchangeView({
    id: key + 1,
    target: `/item/${key}?page=1`,
    clientAddress: `10.${(key >> 16) & 255}.${(key >> 8) & 255}.${key & 255}`,
    headers: ['X-User', `user-${key}`, 'Cookie', `theme=dark; user=user-${key}`],
  })
}

function backends(weights: readonly number[]): Candidates {
  const made = weights.map((weight, index) => new Backend({ url: `http://127.0.0.1:${3000 + index}`, weight }))
  assert.ok(isNotEmpty(made))
  return made
}

function isNotEmpty(list: readonly Backend[]): list is Candidates {
  return list.length > 0
}

function pickOne(balancer: Balancer, candidates: Candidates, exchange: ExchangeView): Backend {
  const backend = balancer.pick(candidates, exchange)
  assert.ok(candidates.includes(backend), `picked ${backend?.id}, which is not a candidate`)
  return backend
}

interface Load {
  readonly exchanges: number
  /** Call the balancer's hooks, as a proxy does. Default true. */
  readonly hooks?: boolean
  /** Share of exchanges that fail. Default 0. */
  readonly failing?: number
}

const ANSWERED: Outcome = { kind: 'answered', status: 200, grpcStatus: null, error: null, firstByteMs: 5, totalMs: 6 }
const FAILED: Outcome = {
  kind: 'failed',
  status: 0,
  grpcStatus: null,
  error: new ProxyError('ERR_PROXY_RESET', 'reset'),
  firstByteMs: -1,
  totalMs: 1,
}
/** Every kind of failed attempt. */
const FAILURES: readonly Outcome[] = [
  FAILED,
  {
    kind: 'failed',
    status: 0,
    grpcStatus: null,
    error: new ProxyError('ERR_PROXY_POOL_FULL', 'full'),
    firstByteMs: -1,
    totalMs: 0,
  },
  {
    kind: 'truncated',
    status: 200,
    grpcStatus: null,
    error: new ProxyError('ERR_PROXY_TRUNCATED', 'truncated'),
    firstByteMs: 3,
    totalMs: 9,
  },
  { kind: 'aborted', status: 0, grpcStatus: null, error: null, firstByteMs: -1, totalMs: 50 },
  { kind: 'aborted', status: 200, grpcStatus: null, error: null, firstByteMs: 4, totalMs: 50 },
  { kind: 'answered', status: 503, grpcStatus: null, error: null, firstByteMs: 1, totalMs: 1 },
  { kind: 'upgraded', status: 101, grpcStatus: null, error: null, firstByteMs: 2, totalMs: 10_000 },
]

/** Runs one exchange a millisecond, each 1 to 20 ms long. @returns how often each backend was picked. */
function traffic(scene: Scene, candidates: Candidates, load: Load): Map<Backend, number> {
  const { exchanges, hooks = true, failing = 0 } = load
  const picked = new Map<Backend, number>()
  if (hooks) scene.balancer.onChange?.(candidates)
  for (let each = 0; each < exchanges; each++) {
    const exchange = scene.exchange()
    const backend = pickOne(scene.balancer, candidates, exchange)
    tally(picked, backend)
    begin(scene, backend, exchange, hooks)
    const tookMs = 1 + Math.floor(scene.random() * 20)
    const failure = scene.random() < failing ? FAILURES[Math.floor(scene.random() * FAILURES.length)] : undefined
    const outcome = failure ?? { ...ANSWERED, firstByteMs: tookMs, totalMs: tookMs }
    scene.clock.schedule(tookMs, () => end(scene, backend, outcome, hooks))
    scene.clock.advance(1)
  }
  scene.clock.advance(20)
  return picked
}

function begin({ balancer }: Scene, backend: Backend, exchange: ExchangeView, hooks = true): void {
  backend.state.addPending(1)
  if (hooks) balancer.onStart?.(backend, exchange)
}

function end({ balancer }: Scene, backend: Backend, outcome: Outcome, hooks = true): void {
  backend.state.addPending(-1)
  if (hooks) balancer.onEnd?.(backend, outcome)
}

function tally(picked: Map<Backend, number>, backend: Backend): void {
  picked.set(backend, (picked.get(backend) ?? 0) + 1)
}

function sum(numbers: Iterable<number>): number {
  let total = 0
  for (const number of numbers) total += number
  return total
}
