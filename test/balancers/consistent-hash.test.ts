import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ConsistentHashOptions, consistentHash } from '../../src/balancers/index.ts'
import type { Balancer, Candidates } from '../../src/contracts/balancer.ts'
import type { Backend } from '../../src/model/backend.ts'
import { exchangeView } from '../../src/testing/exchange-view.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { at, backendsOf, candidatesOf, end, equalBackends, setPending, start, without } from './some-backends.ts'

const make = (options: ConsistentHashOptions = {}): Balancer =>
  consistentHash({ by: 'path', random: seededRandom(1), ...options })

const pick = (balancer: Balancer, candidates: Candidates, key: number | string): Backend =>
  balancer.pick(candidates, exchangeView({ target: `/${key}` }))

const KEYS = Array.from({ length: 5000 }, (_, key) => key)
const owners = (balancer: Balancer, candidates: Candidates) => KEYS.map((key) => pick(balancer, candidates, key).id)
const countMoved = (before: string[], after: string[]) => before.filter((id, key) => after[key] !== id).length

test('a backend added to n others takes about 1/(n+1) of the keys', () => {
  for (const count of [3, 10, 50]) {
    const all = equalBackends(count + 1)
    const newcomer = at(all, count)
    const before = owners(make(), without(all, newcomer))
    const after = owners(make(), all)
    const moved = countMoved(before, after)
    const share = KEYS.length / (count + 1)
    assert.ok(moved > share * 0.6 && moved < share * 1.4, `${moved} of ${share}`)
    for (const [key, id] of after.entries()) if (id !== before[key]) assert.equal(id, newcomer.id)
  }
})

test('the keys of a removed backend spread over all others', () => {
  const all = equalBackends(8)
  const before = owners(make(), all)
  const after = owners(make(), without(all, at(all, 0)))
  const heirs = new Set(after.filter((id, key) => id !== before[key]))
  assert.equal(heirs.size, 7)
  assert.ok(countMoved(before, after) < (KEYS.length / 8) * 1.4)
})

test('a larger weight takes keys and gives none away', () => {
  const light = backendsOf(1, 1, 1)
  const heavy = backendsOf(1, 2, 1)
  const before = owners(make(), light)
  const after = owners(make(), heavy)
  for (const [key, id] of after.entries()) if (id !== before[key]) assert.equal(id, 'b')
  const share = after.filter((id) => id === 'b').length / KEYS.length
  assert.ok(Math.abs(share - 0.5) < 0.08, `${share}`)
})

test('the owner of a key does not depend on earlier backends', () => {
  const all = equalBackends(6)
  const some = without(all, at(all, 1), at(all, 4))
  const expected = owners(make(), some)
  const known = make()
  known.onChange?.(all)
  owners(known, all)
  assert.deepEqual(owners(known, some), expected)
  // So few of many that the ring is thinned out.
  const many = make()
  const crowd = candidatesOf([...some, ...equalBackends(100).slice(6)])
  many.onChange?.(crowd)
  assert.deepEqual(owners(many, some), expected)
})

test('a retry goes where the key would go without the tried backend', () => {
  const all = equalBackends(6)
  const balancer = make()
  balancer.onChange?.(all)
  for (const key of KEYS.slice(0, 200)) {
    const first = pick(balancer, all, key)
    const left = without(all, first)
    assert.equal(pick(balancer, left, key), pick(make(), left, key))
    assert.equal(pick(balancer, all, key), first)
  }
})

test('backends of weight 0 own nothing', () => {
  const all = backendsOf(1, 0, 1)
  const balancer = make()
  balancer.onChange?.(all)
  assert.deepEqual(new Set(owners(balancer, without(all, at(all, 1)))), new Set(['a', 'c']))
})

test('no backend takes more than the factor of its fair share', () => {
  for (const factor of [100, 125, 150, 300]) {
    for (const weights of [[1, 1, 1, 1, 1], [3, 1, 2, 1], Array.from({ length: 100 }, () => 1)]) {
      const candidates = backendsOf(...weights)
      const total = weights.reduce((sum, weight) => sum + weight)
      const balancer = make({ boundedLoad: factor })
      const random = seededRandom(7)
      const running: Backend[] = []
      for (let each = 0; each < 3000; each++) {
        // A few keys have most of the traffic.
        const picked = pick(balancer, candidates, Math.floor(random() ** 4 * 50))
        start(balancer, picked)
        running.push(picked)
        const slots = Math.ceil((running.length * factor) / 100)
        const most = Math.max(1, Math.ceil((slots * picked.weight) / total - 1e-9))
        assert.ok(picked.pending <= most, `${picked.id} has ${picked.pending} of ${running.length}, at most ${most}`)
        if (running.length > 400 || random() < 0.3) {
          const [done] = running.splice(Math.floor(random() * running.length), 1)
          if (done !== undefined) end(balancer, done)
        }
      }
    }
  }
})

test('without a bound, the default, a hot key stays where it is', () => {
  const candidates = equalBackends(5)
  const balancer = make()
  const owner = pick(balancer, candidates, 'hot')
  for (let each = 0; each < 1000; each++) {
    assert.equal(pick(balancer, candidates, 'hot'), owner)
    start(balancer, owner)
  }
})

test('with a bound a key stays while its backend has room', () => {
  const candidates = equalBackends(5)
  const balancer = make({ boundedLoad: 150 })
  const owner = pick(balancer, candidates, 'hot')
  for (const backend of candidates) setPending(backend, 10)
  setPending(owner, 15) // 55 pending, the next is the 56th: 84 slots, 17 for each
  assert.equal(pick(balancer, candidatesOf(candidates), 'hot'), owner)
  setPending(owner, 17) // 58th: 87 slots, 18 for each
  assert.equal(pick(balancer, candidatesOf(candidates), 'hot'), owner)
  setPending(owner, 18) // 59th: 89 slots, 18 for each
  assert.notEqual(pick(balancer, candidatesOf(candidates), 'hot'), owner)
})

test('the overflow of a key goes to one backend, that of many keys spreads', () => {
  const all = equalBackends(10)
  const balancer = make({ boundedLoad: 150 })
  const full = pick(balancer, all, 'hot')
  setPending(full, 100)
  const candidates = candidatesOf(all)
  const fresh = make({ boundedLoad: 150 })
  const overflowing = KEYS.filter((key) => pick(make(), candidatesOf(all), key) === full).slice(0, 200)
  const heirs = overflowing.map((key) => pick(fresh, candidates, key))
  assert.ok(overflowing.length > 50)
  for (const [index, key] of overflowing.entries()) assert.equal(pick(fresh, candidates, key), heirs[index])
  // The neighbours on the ring would be hit hardest; here all nine share what overflows.
  const most = Math.max(...all.map((backend) => heirs.filter((heir) => heir === backend).length))
  assert.equal(new Set(heirs).size, 9)
  assert.ok(!heirs.includes(full))
  assert.ok(most < overflowing.length / 3, `${most} of ${overflowing.length} to one`)
})

test('the target of an overflow survives the removal of another backend', () => {
  const all = equalBackends(10)
  const full = all.slice(0, 5)
  for (const backend of full) setPending(backend, 100)
  for (const key of KEYS.slice(0, 100)) {
    const heir = pick(make({ boundedLoad: 150 }), all, key)
    assert.ok(!full.includes(heir))
    for (const gone of all.slice(5))
      if (gone !== heir) assert.equal(pick(make({ boundedLoad: 150 }), without(all, gone), key), heir)
  }
})

test('the bound counts the new request as well', () => {
  const candidates = equalBackends(5)
  for (const backend of candidates) setPending(backend, 1)
  const unbounded = make()
  const tight = make({ boundedLoad: 100 })
  for (const key of KEYS.slice(0, 50)) assert.equal(pick(tight, candidates, key), pick(unbounded, candidates, key))
})

test('rounding adds no slots: 9 by weights 0.7, 0.1, 0.1 are 7, 1 and 1', () => {
  const candidates = backendsOf(0.7, 0.1, 0.1)
  for (const [position, pending] of [6, 1, 1].entries()) setPending(at(candidates, position), pending)
  const balancer = make({ boundedLoad: 100 })
  for (const key of KEYS.slice(0, 100)) assert.equal(pick(balancer, candidates, key), at(candidates, 0))
})

test('requests of this thread widen the bound at once', () => {
  const candidates = equalBackends(100)
  const balancer = make({ boundedLoad: 150 })
  const before = KEYS.slice(0, 20).map((key) => pick(balancer, candidates, key))
  for (const backend of candidates) for (let each = 0; each < 10; each++) start(balancer, backend)
  assert.deepEqual(
    KEYS.slice(0, 20).map((key) => pick(balancer, candidates, key)),
    before,
  )
})

test('if all but one are full, that one is found', () => {
  for (const count of [5, 300]) {
    const candidates = equalBackends(count)
    for (const backend of candidates) setPending(backend, 10)
    for (const position of [0, count - 1]) {
      const free = at(candidates, position)
      setPending(free, 0)
      const balancer = make({ boundedLoad: 100 })
      for (const key of KEYS.slice(0, 50)) assert.equal(pick(balancer, candidates, key), free)
      setPending(free, 10)
    }
  }
})

test('each kind of key depends only on its own value', () => {
  const candidates = equalBackends(50)
  const exchange = (key: string, other: string) => ({
    'client-address': exchangeView({ clientAddress: key, target: other, headers: ['X-User', other] }),
    path: exchangeView({ target: `/${key}?${other}`, clientAddress: other }),
    header: exchangeView({ headers: ['X-User', key, 'X-Other', other], clientAddress: other }),
    cookie: exchangeView({ headers: ['Cookie', `xuser=${other};user=${key}; other=${other}`], clientAddress: other }),
  })
  for (const [kind, by] of [
    ['client-address', 'client-address'],
    ['path', 'path'],
    ['header', { header: 'X-User' }],
    ['cookie', { cookie: 'user' }],
  ] as const) {
    const balancer = consistentHash({ by })
    const seen = new Set<Backend>()
    for (const key of KEYS.slice(0, 200).map(String)) {
      const picked = balancer.pick(candidates, exchange(key, 'x')[kind])
      assert.equal(balancer.pick(candidates, exchange(key, 'y')[kind]), picked, kind)
      seen.add(picked)
    }
    assert.ok(seen.size > 40, `${kind}: ${seen.size} of 50 backends in use`)
  }
})

test('a function of the exchange can return the key', () => {
  const candidates = equalBackends(10)
  const balancer = consistentHash({ by: ({ host }) => host })
  const first = balancer.pick(candidates, exchangeView({ host: 'one', target: '/a' }))
  assert.equal(balancer.pick(candidates, exchangeView({ host: 'one', target: '/b' })), first)
})

test('the client address is the default', () => {
  const candidates = equalBackends(20)
  const ids = (balancer: Balancer) =>
    KEYS.slice(0, 50).map((key) => balancer.pick(candidates, exchangeView({ clientAddress: `10.0.0.${key}` })).id)
  assert.deepEqual(ids(consistentHash()), ids(consistentHash({ by: 'client-address' })))
})

test('exchanges without a key go to the less busy of two', () => {
  for (const headers of [[], ['X-User', '']]) {
    const both = equalBackends(2)
    const balancer = make({ by: { header: 'x-user' } })
    const picked = () => balancer.pick(both, exchangeView({ headers })).id
    assert.equal(new Set(Array.from({ length: 50 }, picked)).size, 2)
    setPending(at(both, 0), 1)
    assert.deepEqual(new Set(Array.from({ length: 50 }, picked)), new Set(['b']))
  }
})

test('invalid options are rejected with a valid example', () => {
  for (const boundedLoad of [-1, 1.5, 99, Number.NaN]) {
    assert.throws(
      () => consistentHash({ boundedLoad }),
      /TypeError: consistent-hash: boundedLoad is .*boundedLoad: 150/,
    )
  }
  for (const by of ['ip', {}, { header: '' }, { header: 'a', cookie: 'b' }, { query: 'q' }, null]) {
    const options = JSON.parse(JSON.stringify({ by })) as ConsistentHashOptions
    assert.throws(() => consistentHash(options), /TypeError: consistent-hash: cannot hash by .*'client-address'/)
  }
  assert.throws(() => consistentHash({ pointsPerWeight: 0 }), /TypeError: consistent-hash: pointsPerWeight is 0/)
})
