import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ProxyError } from '../../src/model/errors.ts'
import type { ExchangeView } from '../../src/model/exchange-view.ts'
import { budgetedRetries, type RetryOptions } from '../../src/retry-policies/budgeted.ts'
import type { Clock } from '../../src/runtime/clock.ts'

const error = new ProxyError('ERR_PROXY_CONNECT', 'refused')

test('the first retry is immediate; later ones wait below (2^N - 1) units', () => {
  const { next, clock } = scene({ maxRetries: 4, baseDelayMs: 25, maxDelayMs: 1000 })
  assert.equal(next(1), 0)
  assert.equal(next(2), 0.5 * 75)
  assert.equal(next(3), 0.5 * 175)
  clock.chance = 0.999999
  assert.ok(next(4) < 375 && next(4) > 374)
  clock.chance = 0
  assert.equal(next(4), 0)
})

test('no wait is longer than the maximum', () => {
  const { next, clock } = scene({ maxRetries: 100, baseDelayMs: 25, maxDelayMs: 250 })
  clock.chance = 0.5
  assert.equal(next(4), 125)
  assert.equal(next(90), 125)
})

test('after maxRetries it gives up, which costs no token', () => {
  const { next } = scene({ maxRetries: 2, budgetPercent: 0, minPerSecond: 0.1 })
  for (let i = 0; i < 10; i += 1) assert.equal(next(3), -1)
  assert.equal(next(1), 0)
  assert.equal(next(1), -1)
})

test('maxRetries: 0 never retries', () => {
  const { next } = scene({ maxRetries: 0 })
  assert.equal(next(1), -1)
})

test('without traffic there are minPerSecond retries a second, over ten seconds', () => {
  const { count, clock } = scene({ minPerSecond: 10 })
  assert.equal(count(1000), 100)
  clock.time += 9_000
  assert.equal(count(1000), 0)
  clock.time += 1_000
  assert.equal(count(1000), 100)
})

test('each five first attempts pay for one retry at 20 percent', () => {
  const { policy, count } = scene({ minPerSecond: 0 })
  for (let i = 0; i < 54; i += 1) policy.onExchange?.()
  assert.equal(count(100), 10)
  policy.onExchange?.()
  assert.equal(count(100), 1)
})

test('first attempts pay for ten seconds and no longer', () => {
  const { policy, count, clock } = scene({ minPerSecond: 0 })
  for (let i = 0; i < 50; i += 1) policy.onExchange?.()
  clock.time += 9_999
  assert.equal(count(4), 4)
  clock.time += 1
  assert.equal(count(100), 0)
})

test('a budget of 0 percent allows the minimum', () => {
  const { policy, count } = scene({ budgetPercent: 0, minPerSecond: 1 })
  for (let i = 0; i < 1000; i += 1) policy.onExchange?.()
  assert.equal(count(100), 10)
})

test('nothing is allowed if both are 0', () => {
  const { policy, count } = scene({ budgetPercent: 0, minPerSecond: 0 })
  for (let i = 0; i < 1000; i += 1) policy.onExchange?.()
  assert.equal(count(100), 0)
})

test('rounding of an odd percentage does not lose a retry', () => {
  const { policy, count } = scene({ budgetPercent: 30, minPerSecond: 0 })
  for (let i = 0; i < 10; i += 1) policy.onExchange?.()
  assert.equal(count(100), 3)
})

test('for any traffic, retries of ten seconds stay within the budget', () => {
  const step = fc.record({ wait: fc.nat(3000), exchanges: fc.nat(50), retries: fc.nat(200) })
  const percents = fc.constantFrom(0, 10, 20, 33, 50, 100, 200)
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), percents, fc.nat(5), (steps, budgetPercent, minPerSecond) => {
      const { policy, count, clock } = scene({ budgetPercent, minPerSecond })
      const log: { time: number; exchanges: number; granted: number }[] = []
      for (const { wait, exchanges, retries } of steps) {
        clock.time += wait
        for (let i = 0; i < exchanges; i += 1) policy.onExchange?.()
        log.push({ time: clock.time, exchanges, granted: count(retries) })
      }
      for (const { time } of log) {
        // Nine whole slots of the past and the current one: what is older may have been forgotten.
        const granted = sum(log, time - 9_000, time, 'granted')
        const first = sum(log, time - 20_000, time, 'exchanges')
        assert.ok(granted <= minPerSecond * 10 + (first * budgetPercent) / 100 + 0.01)
      }
    }),
    { seed: 7, numRuns: 300 },
  )
})

interface Entry {
  readonly time: number
  readonly exchanges: number
  readonly granted: number
}

function sum(log: readonly Entry[], from: number, to: number, key: 'granted' | 'exchanges'): number {
  return log.filter(({ time }) => time > from && time <= to).reduce((total, entry) => total + entry[key], 0)
}

function scene(options: RetryOptions) {
  const clock = { time: 5_000, chance: 0.5 }
  const manual: Clock = {
    now: () => clock.time,
    epoch: () => 0,
    random: () => clock.chance,
    schedule: () => () => {},
  }
  const policy = budgetedRetries(options, manual)
  const next = (attempts: number) => policy.next({ attempts } as ExchangeView, error)
  /** How many of `tries` first retries are granted. */
  const count = (tries: number) => Array.from({ length: tries }, () => next(1)).filter((wait) => wait >= 0).length
  return { policy, next, count, clock }
}
