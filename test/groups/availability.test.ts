import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Balancer } from '../../src/contracts/balancer.ts'
import type { Group } from '../../src/groups/group.ts'
import { Backend } from '../../src/model/backend.ts'
import { exchangeView, manualClock } from '../../src/testing/index.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { first, groupsOfThreads } from '../support/groups-of-threads.ts'

/** Who may be picked, by a look at all of them. */
function expected({ backends }: Group): readonly Backend[] {
  const available = backends.filter(({ isAvailable }) => isAvailable)
  return available.length > 0 ? available : backends.filter(({ isEligible }) => isEligible)
}

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`what two threads know after any changes is what a look at all backends shows (${seed})`, () => {
    const random = seededRandom(seed)
    const clock = manualClock()
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
    const before = [new Set<string>(), new Set<string>()]
    const groups: Group[] = groupsOfThreads({
      ids,
      threads: 2,
      clock,
      maxEjectedPercent: seed % 2 === 0 ? 100 : 50,
      repick(thread, isOut, hasMore) {
        const group = groups[thread]
        assert.ok(group)
        const now: readonly Backend[] = group.candidates([]) ?? []
        assert.equal(
          hasMore,
          now.some(({ id }) => !before[thread]?.has(id)),
        )
        for (const backend of group.backends) if (isOut(backend)) assert.ok(!now.includes(backend))
        before[thread] = new Set(now.map(({ id }) => id))
      },
    })
    for (const [thread, group] of groups.entries()) before[thread] = new Set(group.backends.map(({ id }) => id))
    for (let step = 0; step < 400; step++) {
      const group = groups[random() < 0.7 ? 0 : 1] as Group
      const backend = group.backends[Math.floor(random() * group.backends.length)] as Backend
      const what = Math.floor(random() * 7)
      if (what < 2) group.eject(backend, 1 + Math.floor(random() * 1000), 'test')
      else if (what === 2) group.setUnhealthy(backend, !backend.isUnhealthy, 'test')
      else if (what === 3) clock.advance(Math.floor(random() * 400))
      else if (what === 4) {
        backend.state.isDraining = !backend.isDraining
        group.changed()
      } else if (what === 5) {
        backend.state.isDisabled = !backend.isDisabled
        group.changed()
      } else {
        const { id, url } = backend
        const weight = random() < 0.5 ? 0 : 1
        for (const each of groups) {
          const same = each.backends.find((one) => one.id === id)
          same?.adopt(new Backend({ id, url, weight }))
          each.replace(random() < 0.5 ? each.backends : each.backends.toReversed())
        }
      }
      for (const each of groups) {
        const candidates = each.candidates([])
        assert.deepEqual(candidates ?? [], expected(each))
        for (const one of each.backends)
          assert.equal(
            each.hasUntried([one, one]),
            expected(each).some((it) => it !== one),
          )
        const ejected = each.backends.filter(({ isEligible, isEjected }) => isEligible && isEjected).length
        const eligible = each.backends.filter(({ isEligible }) => isEligible).length
        assert.ok(eligible === 0 || candidates !== null, `${ejected} of ${eligible}`)
      }
    }
    for (const group of groups) group.close()
    assert.equal(clock.scheduled, 0)
  })
}

test('a retry in a large group gets the array of all, and what was tried', () => {
  const asked: [number, readonly Backend[]][] = []
  const balancer: Balancer = {
    ...first,
    pickUntried(candidates, tried) {
      asked.push([candidates.length, tried])
      return candidates.find((backend) => !tried.includes(backend)) ?? candidates[0]
    },
  }
  const ids = Array.from({ length: 300 }, (_, index) => `b${index}`)
  const [group] = groupsOfThreads({ ids, balancer })
  const [one, two] = group?.backends ?? []
  assert.ok(group !== undefined && one !== undefined && two !== undefined)
  assert.equal(group.take([one], exchangeView()), two)
  assert.deepEqual(asked, [[300, [one]]])
  // Once all have been tried, they are asked for as at first.
  assert.equal(group.take([...group.backends], exchangeView()), one)
  assert.equal(asked.length, 1)
  // In a small one, what was not tried is an array of its own.
  const [small] = groupsOfThreads({ ids: ids.slice(0, 3), balancer })
  assert.equal(small?.take(small.backends.slice(0, 1), exchangeView())?.id, 'b1')
  assert.equal(asked.length, 1)
})

test('pickUntried() that picks what was tried, or no candidate, is refused', () => {
  const ids = Array.from({ length: 300 }, (_, index) => `b${index}`)
  for (const wrong of [(all: readonly Backend[]) => all[0] as Backend, () => new Backend('http://none')]) {
    const [group] = groupsOfThreads({ ids, balancer: { ...first, pickUntried: wrong } })
    const tried = group?.backends.slice(0, 1) ?? []
    assert.throws(() => group?.take(tried, exchangeView()), /pickUntried\(\) returned something/)
  }
})
