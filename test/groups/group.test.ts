import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Balancer } from '../../src/contracts/balancer.ts'
import type { HealthCheck } from '../../src/contracts/health-check.ts'
import { Group } from '../../src/groups/group.ts'
import { Backend } from '../../src/model/backend.ts'
import type { Clock } from '../../src/runtime/clock.ts'
import { SharedStateMemory } from '../../src/runtime/state-memory.ts'
import { exchangeView, manualClock, mockPool } from '../../src/testing/index.ts'

const view = exchangeView()
const clock = manualClock()

/**
 * The same group as two threads see it, each with its own objects on the same numbers.
 * @param told what either of them tells, in order.
 */
function shared(
  balancers: readonly [Balancer, Balancer],
  {
    ids = ['a', 'b'],
    maxEjectedPercent = 50,
    slowStartMs = 0,
    healthChecks = [],
    clocks = [],
    told = [],
    onThrew = () => {},
    buffer = SharedStateMemory.allocate(3, 0),
  }: {
    ids?: readonly string[]
    maxEjectedPercent?: number
    slowStartMs?: number
    healthChecks?: readonly HealthCheck[]
    clocks?: readonly Clock[]
    told?: string[]
    onThrew?: (error: unknown) => void
    buffer?: SharedArrayBuffer
  } = {},
): [Group, Group] {
  return balancers.map((balancer, thread) => {
    const memory = new SharedStateMemory(buffer, thread)
    return new Group({
      name: 'default',
      backends: ids.map((id) => new Backend({ url: `http://${id}`, id }, memory.backendState(id))),
      balancer,
      affinity: null,
      pool: mockPool({}),
      healthCheck: healthChecks[thread] ?? null,
      maxEjectedPercent,
      slowStartMs,
      retry: null,
      clock: clocks[thread] ?? clock,
      state: memory.groupState('group'),
      isShared: true,
      onEject: ({ id }) => void told.push(`eject ${id}`),
      onUneject: ({ id }) => void told.push(`uneject ${id}`),
      onHealth: ({ id, isUnhealthy }) => void told.push(`${isUnhealthy ? 'unhealthy' : 'healthy'} ${id}`),
      onThrew,
      onPoolThrew: assert.ifError,
      onBalancerThrew: assert.ifError,
    })
  }) as [Group, Group]
}

const least: Balancer = {
  name: 'least',
  isExact: true,
  pick: (candidates) => candidates.reduce((best, next) => (next.pending < best.pending ? next : best)),
}

const pending = (group: Group): number[] => group.backends.map((backend) => backend.pending)

const available = (group: Group): string[] => Array.from(group.candidates([]) ?? [], ({ id }) => id)

/** The first two. */
function both(group: Group): [Backend, Backend] {
  return group.backends.slice(0, 2) as [Backend, Backend]
}

test('of two threads that pick at the same moment one sees the choice of the other, and picks again', () => {
  let picks = 0
  const interrupted: Balancer = {
    name: 'interrupted',
    isExact: true,
    pick(candidates, exchange) {
      const chosen = least.pick(candidates, exchange)
      // The other thread picks between our look at the numbers and our mark on them.
      if (++picks === 1) other.take([], exchange)
      return chosen
    },
  }
  const [one, other] = shared([interrupted, least])
  assert.equal(one.take([], view)?.id, 'b')
  assert.deepEqual(pending(one), [1, 1])
  assert.equal(picks, 2)
  // Nobody comes between: one look is enough.
  one.take([], view)
  assert.equal(picks, 3)
})

test('a balancer that is not exact picks once, whoever else picks meanwhile', () => {
  let picks = 0
  const interrupted: Balancer = {
    name: 'interrupted',
    pick(candidates, exchange) {
      const chosen = least.pick(candidates, exchange)
      if (++picks === 1) other.take([], exchange)
      return chosen
    },
  }
  const [one, other] = shared([interrupted, least])
  assert.equal(one.take([], view)?.id, 'a')
  assert.deepEqual(pending(one), [2, 0])
  assert.equal(picks, 1)
})

test('a thread that is disturbed each time takes what it has after four picks, and nothing is counted twice', () => {
  let picks = 0
  const disturbed: Balancer = {
    name: 'disturbed',
    isExact: true,
    pick(candidates, exchange) {
      picks++
      other.take([], exchange)
      return least.pick(candidates, exchange)
    },
  }
  const [one, other] = shared([disturbed, least])
  assert.ok(one.take([], view) !== null)
  assert.equal(picks, 4)
  assert.equal(
    pending(one).reduce((sum, count) => sum + count, 0),
    5,
  )
})

test('what a thread ejects no other one picks, and it comes back for all, whoever looks first', () => {
  const [one, other] = shared([least, least])
  assert.equal(one.take([], view)?.id, 'a')
  assert.equal(other.eject(other.backends[1] as Backend, 1000, 'it failed'), true)
  assert.equal(one.take([], view)?.id, 'a')
  assert.equal(one.eject(one.backends[1] as Backend, 9000, 'again'), false)
  clock.advance(1000)
  assert.equal(one.take([], view)?.id, 'b')
  assert.equal(other.take([], view)?.id, 'b')
})

test('an ejection that is over is so at the first look, where the thread that waited for its end has died', () => {
  const told: string[] = []
  const [one, other] = shared([least, least], { ids: ['a', 'b', 'c'], maxEjectedPercent: 100, told })
  for (const backend of both(one)) one.eject(backend, 1000, 'it failed')
  one.close()
  clock.advance(1000)
  assert.ok(other.take([], view) !== null)
  assert.deepEqual(told, ['eject a', 'eject b', 'uneject a', 'uneject b'])
})

test('a backend that is gone by the end of its ejection does not come back', () => {
  const told: string[] = []
  const [one, other] = shared([least, least], { ids: ['a', 'b', 'c'], maxEjectedPercent: 100, told })
  for (const [index, ms] of [1000, 2000].entries()) one.eject(one.backends[index] as Backend, ms, 'it failed')
  assert.equal(other.take([], view)?.id, 'c')
  for (const group of [one, other]) group.replace(group.backends.slice(1))
  clock.advance(2000)
  assert.deepEqual(told, ['eject a', 'eject b', 'uneject b'])
  assert.equal(other.take([], view)?.id, 'b')
})

test('the end of an ejection is for all at once and told once, whichever thread waits until then first', () => {
  const told: string[] = []
  const clocks = [manualClock(), manualClock()] as const
  const [one, other] = shared([least, least], { clocks, told })
  one.eject(both(one)[0], 1000, 'it failed')
  assert.deepEqual(available(other), ['b'])
  clocks[0].advance(1000)
  assert.deepEqual(available(other), ['a', 'b'])
  clocks[1].advance(1000)
  assert.deepEqual(told, ['eject a', 'uneject a'])
})

test('an ejection ends although nobody looks, and its timer comes a little early', () => {
  const told: string[] = []
  const exact = manualClock()
  let earlyMs = 1
  const early: Clock = {
    ...exact,
    schedule(ms, task) {
      const cancel = exact.schedule(ms - earlyMs, task)
      earlyMs = 0
      return cancel
    },
  }
  const [one] = shared([least, least], { clocks: [early], told })
  one.eject(both(one)[0], 1000, 'it failed')
  exact.advance(999)
  assert.deepEqual(told, ['eject a'])
  exact.advance(1)
  assert.deepEqual(told, ['eject a', 'uneject a'])
})

test('a group that is closed waits for nothing', () => {
  const own = manualClock()
  const clocks = [own, own]
  const ids = ['a', 'b', 'c']
  const groups = shared([least, least], { ids, maxEjectedPercent: 100, clocks, healthChecks: watchers().checks })
  for (const backend of both(groups[0])) groups[0].eject(backend, 1000, 'it failed')
  for (const group of groups) group.candidates([])
  // Each for the ends of two ejections, and for its next look at who leads.
  assert.equal(own.scheduled, 6)
  for (const group of groups) group.close()
  assert.equal(own.scheduled, 0)
})

test('a backend that is gone is neither ejected nor found unhealthy', () => {
  const told: string[] = []
  const [one] = shared([least, least], { maxEjectedPercent: 100, told })
  const [a, b] = both(one)
  one.replace([b])
  assert.equal(one.eject(a, 1000, 'it failed'), false)
  one.setUnhealthy(a, true, 'it failed')
  assert.deepEqual([a.isEjected, a.isUnhealthy, told], [false, false, []])
})

test('who is healthy again has no failures, is not ejected, and all know; it is told', () => {
  const told: string[] = []
  const [one, other] = shared([least, least], { told })
  const [a, b] = both(one)
  assert.deepEqual(available(other), ['a', 'b'])
  one.eject(a, 60_000, 'it failed')
  a.state.addFailure()
  for (const backend of [a, b]) one.setUnhealthy(backend, true, 'it failed')
  assert.deepEqual(available(other), [])
  for (const backend of [a, b]) one.setUnhealthy(backend, false, 'it works')
  assert.deepEqual([a.state.failures, a.isEjected, available(other)], [0, false, ['a', 'b']])
  assert.deepEqual(told, ['eject a', 'unhealthy a', 'unhealthy b', 'healthy a', 'uneject a', 'healthy b'])
})

test('what two threads find is told once', () => {
  const told: string[] = []
  for (const group of shared([least, least], { told })) group.setUnhealthy(both(group)[0], true, 'it failed')
  assert.deepEqual(told, ['unhealthy a'])
})

test('whether there is another one to try is known at once when that changes', () => {
  const [one, other] = shared([least, least])
  const [a, b] = both(one)
  assert.equal(one.hasUntried([a]), true)
  assert.equal(one.hasUntried([a, b]), false)
  other.eject(both(other)[1], 1000, 'it failed')
  assert.equal(one.hasUntried([a]), false)
})

test('candidates are the same array until something changes', () => {
  const [one, other] = shared([least, least])
  const before = one.candidates([])
  assert.equal(one.candidates([]), before)
  other.changed()
  assert.notEqual(one.candidates([]), before)
})

test('a balancer is told of all backends at the start, and when others take their place', () => {
  const told: string[] = []
  const balancer: Balancer = { ...least, onChange: (all) => void told.push(all.map(({ id }) => id).join()) }
  const [one] = shared([balancer, least])
  one.replace(one.backends.slice(1))
  assert.deepEqual(told, ['a,b', 'b'])
})

test('threads together eject no more than maxEjectedPercent', () => {
  const [one, other] = shared([least, least])
  assert.equal(one.eject(one.backends[0] as Backend, 1000, 'it failed'), true)
  assert.equal(other.eject(other.backends[1] as Backend, 1000, 'it failed'), false)
  assert.equal(other.take([], view)?.id, 'b')
})

for (const [what, theirs, left] of [
  ['different backends at the same moment do not exceed maxEjectedPercent', 1, 'a'],
  ['the same backend at the same moment eject it once', 0, 'b'],
] as const) {
  test(`two threads that eject ${what}`, () => {
    const told: string[] = []
    let between = (): void => {}
    const interrupted: Clock = {
      ...clock,
      now() {
        between()
        return clock.now()
      },
    }
    const [one, other] = shared([least, least], { clocks: [interrupted], told })
    // The other thread ejects between our look at the states and our mark on them.
    between = () => {
      between = () => {}
      assert.equal(other.eject(both(other)[theirs], 1000, 'it failed'), true)
    }
    assert.equal(one.eject(both(one)[0], 1000, 'it failed'), false)
    for (const group of [one, other]) assert.deepEqual(available(group), [left])
    assert.deepEqual(told, [`eject ${both(other)[theirs].id}`])
  })
}

/** Says which backends each of two threads looks after. */
function watchers(): { readonly checks: HealthCheck[]; readonly watched: string[][] } {
  const watched: string[][] = [[], []]
  const checks = watched.map(
    (ids): HealthCheck => ({
      name: 'watching',
      observe() {},
      watch({ id }) {
        ids.push(id)
        return () => void ids.splice(ids.indexOf(id), 1)
      },
    }),
  )
  return { checks, watched }
}

test('of all threads one has the backends looked after; another takes over when it is silent, or closes', () => {
  const { checks, watched } = watchers()
  const [one, other] = shared([least, least], { healthChecks: checks })
  assert.deepEqual(watched, [['a', 'b'], []])
  clock.advance(10_000)
  assert.deepEqual(watched, [['a', 'b'], []])
  for (const group of [one, other]) group.replace(group.backends.slice(1))
  assert.deepEqual(watched, [['b'], []])
  one.close()
  assert.deepEqual(watched, [[], []])
  clock.advance(1000)
  assert.deepEqual(watched, [[], ['b']])
  other.close()
})

test('a thread that has not said for the time of its lease that it leads can be replaced', () => {
  const buffer = SharedStateMemory.allocate(2, 0)
  const [mine, others] = [0, 1].map((thread) => new SharedStateMemory(buffer, thread).groupState('group'))
  assert.equal(mine?.lead(0, 3000), true)
  assert.equal(others?.lead(2999, 3000), false)
  assert.equal(mine?.lead(2999, 3000), true)
  assert.equal(others?.lead(5998, 3000), false)
  assert.equal(others?.lead(5999, 3000), true)
  assert.equal(mine?.lead(6000, 3000), false)
  mine?.unlead()
  assert.equal(mine?.lead(6001, 3000), false)
  others?.unlead()
  assert.equal(mine?.lead(6002, 3000), true)
})

test('a thread that has lost the lead lets go when it hears of it, and begins anew when it has it again', () => {
  const { checks, watched } = watchers()
  const buffer = SharedStateMemory.allocate(3, 0)
  const [one, other] = shared([least, least], { healthChecks: checks, buffer })
  const third = new SharedStateMemory(buffer, 2).groupState('group')
  assert.equal(watched[0]?.length, 2)
  assert.equal(third.lead(clock.now() + 3000, 3000), true)
  clock.advance(1000)
  assert.deepEqual(watched, [[], []])
  third.unlead()
  clock.advance(1000)
  assert.deepEqual(watched, [['a', 'b'], []])
  one.close()
  other.close()
})

test('a health check that throws when it is to look after a backend, or to stop, is told and hurts nothing', () => {
  const thrown: unknown[] = []
  const bad = (id: string): HealthCheck => ({
    name: 'bad',
    observe() {},
    watch(backend) {
      if (backend.id === id) throw new Error('begin')
      return () => {
        throw new Error('stop')
      }
    },
  })
  const [one, other] = shared([least, least], {
    healthChecks: [bad('a')],
    onThrew: (error) => thrown.push((error as Error).message),
  })
  assert.deepEqual(thrown, ['begin'])
  one.close()
  other.close()
  assert.deepEqual(thrown, ['begin', 'stop'])
})

test('a backend that has come back gets a tenth of its share at first, and all of it in the end', () => {
  // Whatever the balancer, here one that would always take the first.
  const first: Balancer = { name: 'first', pick: ([one]) => one }
  const [always] = shared([first, first], { maxEjectedPercent: 100, slowStartMs: 10_000 })
  const [b] = always.backends as [Backend, Backend]
  const share = (): number => {
    let taken = 0
    for (let i = 0; i < 1000; i++) {
      const backend = always.take([], view)
      if (backend === b) taken++
      backend?.state.addPending(-1)
    }
    return taken / 1000
  }
  assert.equal(share(), 1)
  always.eject(b, 5000, 'test')
  clock.advance(5000)
  assert.ok(Math.abs(share() - 0.1) < 0.04)
  clock.advance(5000)
  assert.ok(Math.abs(share() - 0.5) < 0.06)
  clock.advance(5000)
  assert.equal(share(), 1)

  always.setUnhealthy(b, true, 'test')
  always.setUnhealthy(b, false, 'test')
  assert.ok(share() < 0.2)
  clock.advance(10_000)
  assert.equal(share(), 1)

  const added = new Backend('http://new')
  always.replace([added, b])
  const picks = Array.from({ length: 100 }, () => always.take([], view))
  const soon = picks.filter((one) => one === added).length
  assert.ok(soon > 0 && soon < 30, `${soon}`)
  // With no other there is nothing to wait for.
  always.replace([added])
  assert.equal(always.take([], view), added)
  always.close()
})

test('a backend that stays does not begin slowly again, nor one that other threads have had for long', () => {
  const [one] = shared([least, least], { slowStartMs: 1000 })
  const ages = (): number[] => one.backends.map(({ state }) => state.returnedAgoMs(clock.now()))
  one.replace([...one.backends, new Backend('http://new')])
  assert.deepEqual(ages(), [Infinity, Infinity, 0])
  one.replace([new Backend('http://old')], false)
  assert.deepEqual(ages(), [Infinity])
})

test('a backend that has had its slow start does not begin slowly again when times wrap', () => {
  const own = manualClock()
  const [one] = shared([least, least], { slowStartMs: 10_000, clocks: [own] })
  const added = new Backend('http://new')
  one.replace([added, both(one)[1]])
  own.advance(10_000)
  assert.equal(one.take([], view), added)
  own.advance(2 ** 31)
  assert.equal(added.state.returnedAgoMs(own.now()), Infinity)
})
