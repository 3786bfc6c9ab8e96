import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Group } from '../../src/groups/group.ts'
import { firstAvailable } from '../../src/index.ts'
import { Backend } from '../../src/model/backend.ts'
import type { Clock } from '../../src/runtime/clock.ts'
import { manualClock } from '../../src/testing/manual-clock.ts'
import { resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { mockBackend } from '../../src/testing/mock-backend.ts'
import { backendOf, candidateIds, groupsOfThreads } from '../support/groups-of-threads.ts'
import { ALL_FRONTS } from '../support/running-proxy.ts'

/** Each way for a backend not to be available, besides an ejection. */
const REASONS: readonly [what: string, takeOut: (group: Group, backend: Backend) => void][] = [
  ['unhealthy', (group, backend) => group.setUnhealthy(backend, true, 'test')],
  [
    'draining',
    (group, { state }) => {
      state.isDraining = true
      group.changed()
    },
  ],
  [
    'disabled',
    (group, { state }) => {
      state.isDisabled = true
      group.changed()
    },
  ],
  [
    'without a weight',
    (group, backend) => {
      setWeight(backend, 0)
      group.changed()
    },
  ],
]

function setWeight(backend: Backend, weight: number): void {
  backend.adopt(new Backend({ url: backend.url, id: backend.id, weight }))
}

for (const [what, takeOut] of REASONS) {
  test(`the last backend is not ejected where the others are ${what}`, () => {
    const told: string[] = []
    const [group] = groupsOfThreads({ ids: ['a', 'b', 'c'], told })
    assert.ok(group)
    takeOut(group, backendOf(group, 'a'))
    takeOut(group, backendOf(group, 'b'))
    told.length = 0
    assert.equal(group.eject(backendOf(group, 'c'), 1000, 'it failed'), false)
    assert.deepEqual([candidateIds(group), told], [['c'], []])
    group.close()
  })

  test(`the percentage is of the backends that are not ${what}`, () => {
    const [group] = groupsOfThreads({ ids: ['a', 'b', 'c', 'd'], maxEjectedPercent: 50 })
    assert.ok(group)
    takeOut(group, backendOf(group, 'a'))
    // One of three is 33 %, two of three would be 67 %.
    assert.equal(group.eject(backendOf(group, 'b'), 1000, 'it failed'), true)
    assert.equal(group.eject(backendOf(group, 'c'), 1000, 'it failed'), false)
    assert.deepEqual(candidateIds(group), ['c', 'd'])
    group.close()
  })

  test(`a backend that is ${what} already is not ejected as well`, () => {
    const [group] = groupsOfThreads({ ids: ['a', 'b', 'c'] })
    assert.ok(group)
    takeOut(group, backendOf(group, 'a'))
    assert.equal(group.eject(backendOf(group, 'a'), 1000, 'it failed'), false)
    assert.equal(backendOf(group, 'a').isEjected, false)
    group.close()
  })

  test(`ejected backends serve while all others are ${what}, and no longer`, () => {
    const told: string[] = []
    const [group] = groupsOfThreads({ ids: ['a', 'b', 'c'], told })
    assert.ok(group)
    assert.equal(group.eject(backendOf(group, 'a'), 1000, 'it failed'), true)
    assert.equal(group.eject(backendOf(group, 'b'), 1000, 'it failed'), true)
    assert.deepEqual(candidateIds(group), ['c'])
    const last = backendOf(group, 'c')
    takeOut(group, last)
    assert.deepEqual(candidateIds(group), ['a', 'b'])
    assert.deepEqual([group.hasUntried([backendOf(group, 'a')]), group.hasUntried([...group.backends])], [true, false])
    // They are still ejected: it is the lack of others that lets them serve.
    assert.equal(backendOf(group, 'a').isAvailable, false)
    last.state.clear()
    setWeight(last, 1)
    group.changed()
    assert.deepEqual(candidateIds(group), ['c'])
    group.close()
  })
}

test('with maxEjectedPercent: 100 one backend stays', () => {
  const [group] = groupsOfThreads({ ids: ['a', 'b', 'c'] })
  assert.ok(group)
  const ejected = group.backends.map((backend) => group.eject(backend, 1000, 'it failed'))
  assert.deepEqual(ejected, [true, true, false])
  assert.deepEqual(candidateIds(group), ['c'])
  group.close()
})

test('two threads that eject the last two backends at the same moment leave one', () => {
  const clock = manualClock()
  const told: string[] = []
  let between = (): void => {}
  const interrupted: Clock = {
    ...clock,
    now() {
      between()
      return clock.now()
    },
  }
  const [one, other] = groupsOfThreads({ ids: ['a', 'b'], threads: 2, clock, firstClock: interrupted, told })
  assert.ok(one !== undefined && other !== undefined)
  // The other thread ejects between our look at the states and our mark on them.
  between = () => {
    between = () => {}
    assert.equal(other.eject(backendOf(other, 'b'), 1000, 'it failed'), true)
  }
  assert.equal(one.eject(backendOf(one, 'a'), 1000, 'it failed'), false)
  for (const group of [one, other]) assert.deepEqual(candidateIds(group), ['a'])
  assert.deepEqual(told, ['eject b'])
})

test('two threads that have both marked the last two backends ejected leave something to pick', () => {
  const [one, other] = groupsOfThreads({ ids: ['a', 'b'], threads: 2 })
  assert.ok(one !== undefined && other !== undefined)
  // The moment between the marks of both and the second look of either.
  for (const backend of one.backends) backend.state.eject(1000)
  one.changed()
  for (const group of [one, other]) assert.deepEqual(candidateIds(group), ['a', 'b'])
})

for (const front of ALL_FRONTS) {
  test(`five resets do not take the last backend from clients (${front.name})`, async () => {
    await using down = await mockBackend({ body: 'down' })
    await using last = await mockBackend([...Array(5).fill(resetOnRequest), { body: 'works again' }])
    await using running = await front.run({
      backends: [
        { url: down.url, id: 'down' },
        { url: last.url, id: 'last' },
      ],
      balancer: firstAvailable(),
      retry: false,
      healthCheck: { maxEjectedPercent: 100 },
    })
    await running.proxy.drain('down')
    for (let i = 0; i < 5; i++) assert.equal((await fetch(running.url)).status, 502)
    assert.equal(await (await fetch(running.url)).text(), 'works again')
    assert.equal(running.proxy.stats().groups[0]?.backends[1]?.status, 'available')
  })
}
