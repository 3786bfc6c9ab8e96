import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Balancer } from '../../src/contracts/balancer.ts'
import { Backend } from '../../src/model/backend.ts'
import { SharedMemory } from '../../src/model/memory.ts'
import { Group } from '../../src/request/group.ts'
import { exchangeView, manualClock, mockPool } from '../../src/testing/index.ts'

const view = exchangeView()
const clock = manualClock()

/** The same group as two threads see it, each with its own objects on the same numbers. */
function shared(balancers: readonly [Balancer, Balancer], maxEjectedPercent = 50): [Group, Group] {
  const buffer = SharedMemory.allocate(2)
  return balancers.map((balancer, thread) => {
    const memory = new SharedMemory(buffer, thread)
    return new Group({
      name: 'default',
      backends: ['a', 'b'].map((id) => new Backend({ url: `http://${id}`, id }, memory.cells(id))),
      balancer,
      pool: mockPool({}),
      healthCheck: null,
      maxEjectedPercent,
      retry: null,
      clock,
      cells: memory.cells('group'),
      isShared: true,
      onEject() {},
      onUneject() {},
    })
  }) as [Group, Group]
}

const least: Balancer = {
  name: 'least',
  pick: (candidates) => candidates.reduce((best, next) => (next.pending < best.pending ? next : best)),
}

const pending = (group: Group): number[] => group.backends.map((backend) => backend.pending)

test('of two threads that pick at the same moment one sees the choice of the other, and picks again', () => {
  let picks = 0
  const interrupted: Balancer = {
    name: 'interrupted',
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

test('a thread that is disturbed each time takes what it has after four picks, and nothing is counted twice', () => {
  let picks = 0
  const disturbed: Balancer = {
    name: 'disturbed',
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

test('threads together eject no more than maxEjectedPercent', () => {
  const [one, other] = shared([least, least])
  assert.equal(one.eject(one.backends[0] as Backend, 1000, 'it failed'), true)
  assert.equal(other.eject(other.backends[1] as Backend, 1000, 'it failed'), false)
  assert.equal(other.take([], view)?.id, 'b')
})
