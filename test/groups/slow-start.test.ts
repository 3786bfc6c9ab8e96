import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leastConnections, peakEwma, powerOfTwo, random, roundRobin } from '../../src/balancers/index.ts'
import type { Balancer } from '../../src/contracts/balancer.ts'
import type { Group } from '../../src/groups/group.ts'
import { Backend } from '../../src/model/backend.ts'
import { exchangeView, manualClock } from '../../src/testing/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { first, groupsOfThreads } from '../support/groups-of-threads.ts'

const view = exchangeView()

function groupOf(setting: Parameters<typeof groupsOfThreads>[0]): Group {
  return groupsOfThreads(setting)[0] as Group
}

function newBackends(count: number): Backend[] {
  return Array.from({ length: count }, (_, index) => new Backend(`http://new-${index}`))
}

/** Takes `count` times, and ends none of them. @returns how often each backend was taken, in the order of the group. */
function hold(group: Group, count: number): number[] {
  const taken = new Map<Backend | null, number>()
  for (let i = 0; i < count; i++) {
    const backend = group.take([], view)
    taken.set(backend, (taken.get(backend) ?? 0) + 1)
  }
  return group.backends.map((backend) => taken.get(backend) ?? 0)
}

/** The share of 4000 picks that go to `backend`, each ended at once. */
function shareOf(group: Group, backend: Backend): number {
  let count = 0
  for (let i = 0; i < 4000; i++) {
    const taken = group.take([], view)
    if (taken === backend) count++
    taken?.state.addPending(-1)
  }
  return count / 4000
}

function isNear(actual: number, expected: number, tolerance = 0.04): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not near ${expected}`)
}

const chance = seededRandom(7)
const BALANCERS: readonly [name: string, make: () => Balancer, most: number][] = [
  ['least-connections', () => leastConnections({ random: chance }), 10],
  ['round-robin', () => roundRobin({ random: chance }), 10],
  ['power-of-two', () => powerOfTwo({ random: chance }), 12],
  ['peak-ewma', () => peakEwma({ random: chance, now: () => 0 }), 12],
  ['random', () => random({ random: chance }), 19],
]
for (const [name, make, most] of BALANCERS) {
  for (const agoMs of [0, 20_000]) {
    test(`${name}: backends that all came ${agoMs} ms ago share evenly`, () => {
      const balancer = make()
      const clock = manualClock()
      const group = groupOf({ ids: ['old'], slowStartMs: 60_000, balancer, clock })
      group.replace(newBackends(3))
      clock.advance(agoMs)
      const taken = hold(group, 30)
      assert.ok(Math.max(...taken) <= most, taken.join(' / '))
      group.close()
    })
  }
}

test('of backends in their slow start the younger one gets less, in relation to the older one', () => {
  const clock = manualClock()
  const group = groupOf({ ids: ['old'], slowStartMs: 10_000, balancer: first, clock })
  const [younger, older] = newBackends(2) as [Backend, Backend]
  group.replace([older])
  clock.advance(4000)
  group.replace([younger, older])
  clock.advance(1000)
  // 10 % against 50 %.
  isNear(shareOf(group, younger), 0.2)
  clock.advance(2000)
  // 30 % against 70 %.
  isNear(shareOf(group, younger), 0.43)
  clock.advance(3000)
  isNear(shareOf(group, younger), 0.6)
  clock.advance(4000)
  assert.equal(shareOf(group, younger), 1)
  group.close()
})

test('slowStartMs: 1000 works, in steps finer than a second', () => {
  const clock = manualClock()
  const group = groupOf({ ids: ['old'], slowStartMs: 1000, balancer: first, clock })
  const [added] = newBackends(1) as [Backend]
  group.replace([added, ...group.backends])
  isNear(shareOf(group, added), 0.1)
  clock.advance(300)
  isNear(shareOf(group, added), 0.3)
  clock.advance(450)
  isNear(shareOf(group, added), 0.75)
  clock.advance(250)
  assert.equal(shareOf(group, added), 1)
  group.close()
})

test('the balancer is asked twice at most, however many backends are in their slow start', () => {
  let picks = 0
  const counted: Balancer = {
    name: 'counted',
    pick([one]) {
      picks++
      return one
    },
  }
  const clock = manualClock()
  const group = groupOf({ ids: ['old'], slowStartMs: 10_000, balancer: counted, clock })
  group.replace([...newBackends(5000), ...group.backends])
  for (let i = 0; i < 20; i++) {
    picks = 0
    assert.ok(group.take([], view) !== null)
    assert.ok(picks <= 2, `${picks} picks`)
  }
  group.close()
})

test('where nobody is in a slow start no chance is used, and the balancer is asked once', () => {
  let picks = 0
  const draws: number[] = []
  const counted: Balancer = {
    name: 'counted',
    pick([one]) {
      picks++
      return one
    },
  }
  const clock = manualClock()
  const firstClock = { ...clock, random: () => draws.push(1) / 100 }
  const group = groupOf({ ids: ['a', 'b'], slowStartMs: 10_000, balancer: counted, clock, firstClock })
  hold(group, 10)
  assert.deepEqual([picks, draws], [10, []])
  group.close()
})

test('an exchange that has tried the older backend goes to a young one at once', () => {
  const group = groupOf({ ids: ['old'], slowStartMs: 10_000 })
  const old = group.backends[0] as Backend
  group.replace([...newBackends(2), old])
  const taken = new Set(Array.from({ length: 20 }, () => group.take([old], view)?.id))
  assert.deepEqual([...taken], ['http://new-0'])
  group.close()
})
