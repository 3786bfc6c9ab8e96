import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  leastConnections,
  peakEwma,
  powerOfTwo,
  random as randomBalancer,
  roundRobin,
} from '../../src/balancers/index.ts'
import type { Balancer, Candidates } from '../../src/contracts/balancer.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { runProxy } from '../support/running-proxy.ts'
import { backendsOf, equalBackends, picks } from './some-backends.ts'

const random = seededRandom(18)
const FRESH = 2000

type Make = () => Balancer

const BALANCERS: readonly [name: string, make: Make][] = [
  ['round-robin', () => roundRobin({ random })],
  ['least-connections', () => leastConnections({ random })],
  ['power-of-two', () => powerOfTwo({ random })],
  ['peak-ewma', () => peakEwma({ random, now: () => 0 })],
  ['random', () => randomBalancer({ random })],
]

const SETS: readonly [what: string, make: () => Candidates][] = [
  ['three', () => equalBackends(3)],
  ['three of weights 5, 1, 1', () => backendsOf(5, 1, 1)],
  ['three of weights 1, 1, 5', () => backendsOf(1, 1, 5)],
  ['fractions', () => backendsOf(0.5, 0.25, 1.25)],
]

/** How often each of `candidates` was the one that `pick` gave, in relation to its weight: 1 is its share. */
function shares(candidates: Candidates, pick: (balancer: Balancer) => string, make: Make): number[] {
  const counts = new Map<string, number>()
  for (let i = 0; i < FRESH; i++) {
    const id = pick(make())
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  const total = candidates.reduce((sum, { weight }) => sum + weight, 0)
  return candidates.map(({ id, weight }) => ((counts.get(id) ?? 0) / FRESH / weight) * total)
}

function areNear(found: readonly number[]): void {
  for (const share of found) assert.ok(share > 0.75 && share < 1.25, found.map((one) => one.toFixed(2)).join(' '))
}

for (const [name, make] of BALANCERS) {
  for (const [what, set] of SETS) {
    // Two draws without replacement favour the light ones a little, by design.
    if (/power|ewma/.test(name) && what !== 'three') continue
    test(`${name}: the first pick of a process is random among ${what}, by weight`, () => {
      const candidates = set()
      areNear(shares(candidates, (balancer) => picks(balancer, candidates, 1)[0] as string, make))
    })

    test(`${name}: the first pick is random after a replacement by ${what}`, () => {
      const before = equalBackends(2)
      const candidates = set()
      const pick = (balancer: Balancer): string => {
        picks(balancer, before, 3)
        return picks(balancer, candidates, 1)[0] as string
      }
      areNear(shares(candidates, pick, make))
      // The first pick from an array that was never seen may be a retry's: the second one begins the order.
      const second = (balancer: Balancer): string => {
        picks(balancer, before, 3)
        return picks(balancer, candidates, 2)[1] as string
      }
      areNear(shares(candidates, second, make))
    })
  }
}

test('round-robin: over 256 unequal weights start at random, too', () => {
  const candidates = backendsOf(...Array.from({ length: 300 }, (_, index) => 1 + (index % 4)))
  const counts = [0, 0, 0, 0]
  for (let i = 0; i < FRESH; i++) {
    const [id] = picks(roundRobin({ random }), candidates, 1)
    const position = candidates.findIndex((backend) => backend.id === id)
    counts[Math.floor(position / 75)] = (counts[Math.floor(position / 75)] ?? 0) + 1
  }
  for (const count of counts) assert.ok(count > FRESH / 5 && count < FRESH / 3.3, counts.join(' '))
})

test('round-robin: the order is the same for any start', () => {
  const orders = new Set<string>()
  for (let i = 0; i < 200; i++) orders.add(picks(roundRobin({ random }), backendsOf(5, 1, 1), 7).join(' '))
  assert.ok(orders.size > 1)
  const round = 'a a b a c a a '.repeat(2)
  for (const order of orders) assert.ok(round.includes(order), order)
})

test('round-robin: the start takes bounded time for any weight', () => {
  // Draws b, whose first turn is some five million turns away.
  const balancer = roundRobin({ random: () => 1 - 2 ** -53 })
  const candidates = backendsOf(1_000_000, 0.1)
  assert.equal(picks(balancer, candidates, 1).join(), 'a')
})

test('chance comes from the clock', async () => {
  await using a = await mockBackend({ body: 'a' })
  await using b = await mockBackend({ body: 'b' })
  await using c = await mockBackend({ body: 'c' })
  for (const [drawn, expected] of [
    [0, 'abc'],
    [0.5, 'bca'],
    [0.9, 'cab'],
  ] as const) {
    const clock = { ...manualClock(), random: () => drawn }
    await using front = await runProxy({ backends: [a.url, b.url, c.url], balancer: 'round-robin', clock })
    const answers: string[] = []
    for (let i = 0; i < 3; i++) answers.push(await (await fetch(front.url)).text())
    assert.equal(answers.join(''), expected)
  }
})
