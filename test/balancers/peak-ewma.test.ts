import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PeakEwmaOptions, peakEwma } from '../../src/balancers/index.ts'
import type { Backend } from '../../src/model/backend.ts'
import { ProxyError } from '../../src/model/errors.ts'
import type { Outcome } from '../../src/model/outcome.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { at, backendsOf, countPicks, end, equalBackends, picks, setPending, start } from './some-backends.ts'

/** Two backends a and b under a balancer on a clock that stands still; seeded with the default of 10 ms. */
function scene(options: PeakEwmaOptions = {}, weights = [1, 1]) {
  const clock = manualClock(1000)
  const balancer = peakEwma({ random: seededRandom(1), now: clock.now, ...options })
  const both = backendsOf(...weights)
  balancer.onChange?.(both)
  return {
    clock,
    balancer,
    both,
    a: at(both, 0),
    b: at(both, 1),
    sample(backend: Backend, firstByteMs: number, changes: Partial<Outcome> = {}) {
      start(balancer, backend)
      end(balancer, backend, { firstByteMs, ...changes })
    },
    /** Who wins a comparison, whichever is drawn first; `?` where it depends on that. */
    better(): string {
      const won = new Set(picks(balancer, both, 40))
      return won.size === 1 ? [...won].join() : '?'
    },
  }
}

test('the faster of two is picked, whichever is drawn first', () => {
  const { a, b, sample, better } = scene()
  sample(a, 40)
  sample(b, 30)
  assert.equal(better(), 'b')
  sample(b, 50)
  assert.equal(better(), 'a')
})

test('new backends have the default latency and are equal', () => {
  const { a, sample, better, both, balancer } = scene({ defaultRttMs: 20 })
  assert.equal(better(), '?')
  assert.ok(Math.abs((countPicks(balancer, both, 1000).a ?? 0) - 500) < 80)
  sample(a, 21)
  assert.equal(better(), 'b')
})

test('a backend that onChange did not name has the default latency', () => {
  const clock = manualClock(1000)
  const balancer = peakEwma({ random: seededRandom(1), now: clock.now, defaultRttMs: 20 })
  const both = equalBackends(2)
  start(balancer, at(both, 0))
  end(balancer, at(both, 0), { firstByteMs: 19 })
  assert.equal(at(both, 0).state.rttMs, 19)
  assert.deepEqual(new Set(picks(balancer, both, 40)), new Set(['a']))
})

test('the latency of an unpicked new backend decays until it is picked', () => {
  const { clock, a, b, sample, better } = scene({ defaultRttMs: 1000, decayMs: 10_000 })
  sample(b, 0)
  for (let second = 0; second < 50; second++) {
    clock.advance(1000)
    sample(a, 5)
  }
  assert.equal(better(), 'b')
})

test('a peak counts at once', () => {
  const { clock, a, b, sample } = scene()
  for (let each = 0; each < 100; each++) {
    sample(a, 10)
    clock.advance(10)
  }
  sample(a, 800)
  sample(b, 799)
  assert.equal(a.state.rttMs, 800)
})

test('a lower sample counts by the elapsed time', () => {
  const { clock, a, sample } = scene({ decayMs: 10_000 })
  sample(a, 1000)
  clock.advance(10_000)
  sample(a, 100)
  const expected = 1000 * Math.exp(-1) + 100 * (1 - Math.exp(-1))
  assert.ok(Math.abs(a.state.rttMs - expected) < 0.01, `${a.state.rttMs}, not ${expected}`)
})

test('many low samples count only by their elapsed time', () => {
  const few = scene()
  const many = scene()
  for (const { a, sample } of [few, many]) sample(a, 1000)
  for (let second = 0; second < 5; second++) {
    few.clock.advance(1000)
    few.sample(few.a, 100)
    for (let each = 0; each < 1000; each++) {
      many.clock.advance(1)
      many.sample(many.a, 100)
    }
  }
  const [slow, fast] = [few.a.state.rttMs, many.a.state.rttMs]
  assert.ok(Math.abs(slow - fast) < 0.02 * slow, `${slow} and ${fast}`)
})

test('steps below the resolution of the state are not lost', () => {
  const { clock, a, sample } = scene()
  sample(a, 5)
  // At one sample a millisecond each step is a fraction of a microsecond.
  for (let each = 0; each < 60_000; each++) {
    clock.advance(1)
    sample(a, 2)
  }
  assert.ok(a.state.rttMs < 2.1, `still ${a.state.rttMs} ms after a minute of 2 ms`)
})

test('an average decays without samples, so a slow backend is picked again', () => {
  const { clock, a, b, sample, better } = scene({ decayMs: 10_000 })
  sample(a, 1000)
  sample(b, 100)
  assert.equal(better(), 'b')
  clock.advance(22_000)
  sample(b, 100)
  assert.equal(better(), 'b')
  clock.advance(2_000)
  sample(b, 100)
  assert.equal(better(), 'a')
})

test('picking changes nothing', () => {
  const { clock, a, b, sample, balancer, both } = scene()
  sample(a, 40)
  sample(b, 30)
  clock.advance(5000)
  const state = () => both.map(({ state }) => [state.rttMs, state.rttAgeMs(clock.now()), state.pending])
  const before = state()
  picks(balancer, both, 100)
  assert.deepEqual(state(), before)
})

test('the pending count multiplies, with the new request', () => {
  const { a, b, sample, better } = scene()
  sample(a, 10)
  sample(b, 45)
  setPending(a, 3)
  assert.equal(better(), 'a') // 10 * 4 against 45
  setPending(a, 4)
  assert.equal(better(), 'b') // 10 * 5 against 45
  setPending(b, 1)
  assert.equal(better(), 'a') // 10 * 5 against 45 * 2
})

test('weight divides while something is pending', () => {
  const { a, b, better } = scene({}, [3, 1])
  setPending(a, 1)
  assert.equal(better(), 'a') // 2/3 against 1
  setPending(a, 3)
  assert.equal(better(), 'b') // 4/3 against 1
  setPending(b, 1)
  assert.equal(better(), 'a') // 4/3 against 2
})

test('a fast failure does not make a backend look fast', () => {
  const reset = { kind: 'failed', status: 0, error: new ProxyError('ERR_PROXY_RESET', 'reset') } as const
  for (const [what, outcome] of [
    ['refused', { ...reset, error: new ProxyError('ERR_PROXY_CONNECT', 'refused'), firstByteMs: -1 }],
    ['reset', { ...reset, firstByteMs: -1 }],
    ['cut', { kind: 'truncated', status: 200, error: new ProxyError('ERR_PROXY_TRUNCATED', 'cut') }],
    ['500', { status: 500 }],
    ['503', { status: 503 }],
    ['429', { status: 429 }],
    ['UNAVAILABLE', { status: 200, grpcStatus: 14 }],
  ] as const) {
    const { a, b, sample, better } = scene({ penaltyMs: 3000 })
    sample(a, 1, outcome)
    sample(b, 2999)
    assert.equal(better(), 'b', what)
    sample(b, 3001)
    assert.equal(better(), 'a', what)
  }
})

test('a failure does not make a slower average look better', () => {
  const { a, sample } = scene({ penaltyMs: 3000 })
  sample(a, 4000)
  sample(a, 1, { status: 503 })
  assert.equal(a.state.rttMs, 4000)
})

test('responses such as 404 and 304 are samples like 200', () => {
  for (const status of [200, 304, 404]) {
    const { a, sample } = scene()
    sample(a, 70, { status })
    assert.equal(a.state.rttMs, 70)
  }
})

test("failures that are not the backend's fault do not count", () => {
  const { a, sample } = scene()
  const error = new ProxyError('ERR_PROXY_POOL_FULL', 'full')
  sample(a, -1, { kind: 'failed', status: 0, error, totalMs: 4000 })
  assert.equal(a.state.rttMs, 10)
})

test('an aborted request can only raise the latency', () => {
  const { a, sample } = scene()
  sample(a, -1, { kind: 'aborted', status: 0, totalMs: 2 })
  assert.equal(a.state.rttMs, 10)
  sample(a, -1, { kind: 'aborted', status: 0, totalMs: 900 })
  assert.equal(a.state.rttMs, 900)
})

test('times must be over 0', () => {
  for (const option of ['defaultRttMs', 'decayMs', 'penaltyMs']) {
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => peakEwma({ [option]: value }), new RegExp(`TypeError: peak-ewma: ${option} is ${value}`))
    }
  }
})
