import assert from 'node:assert/strict'
import { test } from 'node:test'
import { resolveOptions } from '../../src/config/resolve.ts'
import { Groups } from '../../src/groups/registry.ts'
import type { ProxyOptions } from '../../src/index.ts'
import { PrivateStateMemory } from '../../src/runtime/state-memory.ts'
import { manualClock, mockPool, recordingLogger } from '../../src/testing/index.ts'

const A = 'http://a.test'
const B = 'http://b.test'

/** The groups of `options`, what becomes of the state of backends, and of pools. */
function groupsOf(options: ProxyOptions) {
  const clock = manualClock()
  const logger = recordingLogger()
  const released: string[] = []
  const pools: string[] = []
  class Memory extends PrivateStateMemory {
    override release(name: string): void {
      released.push(name)
      super.release(name)
    }
  }
  const settings = (given: ProxyOptions) => resolveOptions(given, clock).groups
  const groups = new Groups({
    groups: settings(options),
    clock,
    logger,
    onBackend() {},
    context: { namespace: 'p', memory: new Memory(), thread: 0, clearsState: true },
    makePool({ name }) {
      const number = pools.push(`${name} open`)
      return {
        ...mockPool({}),
        drain: async ({ id }) => void pools.push(`${name} ${number} drains ${id}`),
        close: async () => void pools.push(`${name} ${number} closed`),
        destroy() {},
      }
    },
    checkTarget: (init) => init,
    destinationOf: (group) => group,
  })
  const update = (given: ProxyOptions): void => groups.prepare(settings(given)).commit(true).releaseStates()
  return { groups, update, settings, released, pools }
}

const both: ProxyOptions = { groups: { default: { target: A }, b: { target: B } } }
const onlyA: ProxyOptions = { groups: { default: { target: A } } }

/** Resolves when promises that are due have called what waits for them. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a group that is gone is closed, and its state given back, once its last exchange has left', async () => {
  const { groups, update, released, pools } = groupsOf(both)
  // Options that a proxy begins with are those of later threads, whose backends are never given back.
  update({ groups: { ...both.groups, c: { target: 'http://c.test' } } })
  const c = groups.get('c')
  c.enter()
  pools.length = 0
  update(both)
  await turn()
  assert.deepEqual(pools, ['c 3 drains http://c.test'])
  update(both)
  update(onlyA)
  assert.deepEqual(released, [])
  c.leave()
  await turn()
  assert.ok(pools.includes('c 3 closed'))
  groups.replace(groups.get('default'), [{ url: 'http://d.test' }])()
  assert.deepEqual(released, ['p group c backend http://c.test http://c.test/'])
})

test('the state of a backend that has come back meanwhile is not given back', async () => {
  const { groups, update, released } = groupsOf(onlyA)
  update(both)
  const first = groups.get('b')
  first.enter()
  update(onlyA)
  update(both)
  assert.notEqual(groups.get('b'), first)
  assert.equal(groups.get('b').backends[0]?.state, first.backends[0]?.state)
  first.leave()
  await turn()
  groups.replace(groups.get('default'), [{ url: 'http://d.test' }])()
  groups.replace(groups.get('default'), [{ url: A }])()
  assert.deepEqual(released, [])
})

test('a pool that two groups in turn have had is closed when neither can be asked any more', async () => {
  const { groups, update, pools } = groupsOf({ target: A })
  const first = groups.get('default')
  first.enter()
  update({ target: A, balancer: 'random' })
  const second = groups.get('default')
  assert.equal(second.pool, first.pool)
  second.enter()
  update({ target: A, balancer: 'random', pool: { maxConnections: 1 } })
  second.leave()
  await turn()
  assert.ok(!pools.includes('default 1 closed'))
  first.leave()
  await turn()
  assert.ok(pools.includes('default 1 closed'))
})

test('an exchange that began before may retry at the backends that there are now', () => {
  const { groups, update } = groupsOf({ target: A })
  const first = groups.get('default')
  first.enter()
  update({ target: B, balancer: 'random' })
  assert.notEqual(groups.get('default'), first)
  assert.deepEqual(
    first.candidates([])?.map(({ id }) => id),
    [B],
  )
})

test('groups that are prepared and discarded leave nothing behind', () => {
  const { groups, settings, released } = groupsOf(onlyA)
  groups.prepare(settings(both)).discard()
  assert.deepEqual(
    groups.named.map(({ name }) => name),
    ['default'],
  )
  groups.replace(groups.get('default'), [{ url: 'http://d.test' }])()
  assert.deepEqual(released, ['p group b backend http://b.test http://b.test/'])
})
