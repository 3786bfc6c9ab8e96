import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Balancer } from '../../src/contracts/balancer.ts'
import type { HealthCheck } from '../../src/contracts/health-check.ts'
import { Backend } from '../../src/model/backend.ts'
import { SharedMemory } from '../../src/model/memory.ts'
import { Group } from '../../src/request/group.ts'
import { exchangeView, manualClock, mockPool } from '../../src/testing/index.ts'

const view = exchangeView()
const clock = manualClock()

/** The same group as two threads see it, each with its own objects on the same numbers. */
function shared(
  balancers: readonly [Balancer, Balancer],
  {
    maxEjectedPercent = 50,
    slowStartMs = 0,
    healthChecks = [],
    onThrew = () => {},
    onUneject = () => {},
    buffer = SharedMemory.allocate(3),
  }: {
    maxEjectedPercent?: number
    slowStartMs?: number
    healthChecks?: readonly HealthCheck[]
    onThrew?: (error: unknown) => void
    onUneject?: (backend: Backend) => void
    buffer?: SharedArrayBuffer
  } = {},
): [Group, Group] {
  return balancers.map((balancer, thread) => {
    const memory = new SharedMemory(buffer, thread)
    return new Group({
      name: 'default',
      backends: ['a', 'b'].map((id) => new Backend({ url: `http://${id}`, id }, memory.cells(id))),
      balancer,
      pool: mockPool({}),
      healthCheck: healthChecks[thread] ?? null,
      maxEjectedPercent,
      slowStartMs,
      retry: null,
      clock,
      cells: memory.cells('group'),
      isShared: true,
      onEject() {},
      onUneject,
      onHealth() {},
      onThrew,
    })
  }) as [Group, Group]
}

const least: Balancer = {
  name: 'least',
  isExact: true,
  pick: (candidates) => candidates.reduce((best, next) => (next.pending < best.pending ? next : best)),
}

const pending = (group: Group): number[] => group.backends.map((backend) => backend.pending)

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
  const back: string[] = []
  const onUneject = ({ id }: Backend): void => void back.push(id)
  const [one, other] = shared([least, least], { maxEjectedPercent: 100, onUneject })
  for (const backend of one.backends) one.eject(backend, 1000, 'it failed')
  one.close()
  clock.advance(1000)
  assert.ok(other.take([], view) !== null)
  assert.deepEqual(back.sort(), ['a', 'b'])
})

test('a backend that is gone by the end of its ejection does not come back', () => {
  const back: string[] = []
  const onUneject = ({ id }: Backend): void => void back.push(id)
  const [one, other] = shared([least, least], { maxEjectedPercent: 100, onUneject })
  for (const [index, ms] of [1000, 2000].entries()) one.eject(one.backends[index] as Backend, ms, 'it failed')
  assert.equal(other.take([], view), null)
  for (const group of [one, other]) group.replace(group.backends.slice(1))
  clock.advance(2000)
  assert.deepEqual(back, ['b'])
  assert.equal(other.take([], view)?.id, 'b')
})

test('threads together eject no more than maxEjectedPercent', () => {
  const [one, other] = shared([least, least])
  assert.equal(one.eject(one.backends[0] as Backend, 1000, 'it failed'), true)
  assert.equal(other.eject(other.backends[1] as Backend, 1000, 'it failed'), false)
  assert.equal(other.take([], view)?.id, 'b')
})

/** Says which backends each of two threads looks after. */
function watchers(): { readonly checks: HealthCheck[]; readonly watched: Set<string>[] } {
  const watched = [new Set<string>(), new Set<string>()]
  const checks = watched.map(
    (ids): HealthCheck => ({
      name: 'watching',
      observe() {},
      watch({ id }) {
        ids.add(id)
        return () => void ids.delete(id)
      },
    }),
  )
  return { checks, watched }
}

test('of all threads one has the backends looked after; another takes over when it is silent, or closes', () => {
  const { checks, watched } = watchers()
  const [one, other] = shared([least, least], { healthChecks: checks })
  assert.deepEqual(watched, [new Set(['a', 'b']), new Set()])
  clock.advance(10_000)
  assert.deepEqual(watched, [new Set(['a', 'b']), new Set()])
  one.replace(one.backends.slice(1))
  assert.deepEqual(watched, [new Set(['b']), new Set()])
  one.close()
  assert.deepEqual(watched, [new Set(), new Set()])
  clock.advance(1000)
  assert.deepEqual(watched, [new Set(), new Set(['a', 'b'])])
  other.close()
})

test('a thread that has not said for the time of its lease that it leads can be replaced', () => {
  const buffer = SharedMemory.allocate(2)
  const [mine, others] = [0, 1].map((thread) => new SharedMemory(buffer, thread).cells('group'))
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

test('a thread that has lost the lead lets go when it hears of it', () => {
  const { checks, watched } = watchers()
  const buffer = SharedMemory.allocate(3)
  const [one, other] = shared([least, least], { healthChecks: checks, buffer })
  const third = new SharedMemory(buffer, 2).cells('group')
  assert.equal(watched[0]?.size, 2)
  assert.equal(third.lead(clock.now() + 3000, 3000), true)
  clock.advance(1000)
  assert.deepEqual(watched, [new Set(), new Set()])
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
      backend?.cells.addPending(-1)
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
