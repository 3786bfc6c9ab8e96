import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Affinity } from '../../src/contracts/affinity.ts'
import { createProxy, firstAvailable, OptionsError } from '../../src/index.ts'
import type { Backend } from '../../src/model/backend.ts'
import { exchangeView, mockBackend } from '../../src/testing/index.ts'
import { resetOnRequest } from '../../src/testing/misbehaviour.ts'
import { backendOf, groupsOfThreads } from '../support/groups-of-threads.ts'
import { ALL_FRONTS } from '../support/running-proxy.ts'

/** By a cookie that names the backend. */
function byCookie(onLost: Affinity['onLost'] = 'rebalance'): Affinity {
  return {
    name: 'cookie',
    onLost,
    find(exchange, backends) {
      const id = /(?:^|; )backend=(\w+)/.exec(exchange.header('cookie') ?? '')?.[1]
      return backends.find((backend) => backend.id === id) ?? null
    },
    bind(backend, response) {
      response.append('Set-Cookie', `backend=${backend.id}`)
    },
  }
}

const of = (id: string, attempts = 0) => exchangeView({ headers: ['Cookie', `theme=dark; backend=${id}`], attempts })

function groupWith(affinity: Affinity, ids = ['a', 'b', 'c']) {
  const [group] = groupsOfThreads({ ids, affinity })
  assert.ok(group)
  return group
}

test('an exchange goes to the backend that it belongs to, and its attempt is counted there', () => {
  const group = groupWith(byCookie())
  assert.equal(group.take([], of('b'))?.id, 'b')
  assert.equal(backendOf(group, 'b').pending, 1)
  assert.equal(group.take([], of('none'))?.id, 'a')
  assert.equal(group.take([], exchangeView())?.id, 'a')
})

test('a draining backend serves those that belong to it, and nobody else', () => {
  const group = groupWith(byCookie('refuse'))
  backendOf(group, 'a').state.isDraining = true
  group.changed()
  assert.equal(group.take([], of('a'))?.id, 'a')
  assert.equal(group.take([], exchangeView())?.id, 'b')
})

const LOST: readonly [what: string, lose: (backend: Backend) => void][] = [
  ['disabled', ({ state }) => void Object.assign(state, { isDisabled: true })],
  ['unhealthy', ({ state }) => void Object.assign(state, { isUnhealthy: true })],
  ['ejected', ({ state }) => void state.eject(1000)],
  ['draining and unhealthy', ({ state }) => void Object.assign(state, { isDraining: true, isUnhealthy: true })],
]
for (const [what, lose] of LOST) {
  test(`an exchange whose backend is ${what} is balanced again, or refused`, () => {
    const [rebalancing, refusing] = [groupWith(byCookie()), groupWith(byCookie('refuse'))]
    for (const group of [rebalancing, refusing]) {
      lose(backendOf(group, 'b'))
      group.changed()
    }
    assert.equal(rebalancing.take([], of('b'))?.id, 'a')
    assert.equal(refusing.take([], of('b')), null)
  })
}

test('a backend that the group does not have any more is lost', () => {
  const group = groupWith(byCookie())
  const gone = backendOf(group, 'b')
  const known: Affinity = { ...byCookie('refuse'), find: () => gone }
  const refusing = groupWith(known)
  assert.equal(refusing.take([], of('b')), null)
})

test('a retry goes to another backend, unless onLost is refuse', () => {
  const [rebalancing, refusing] = [groupWith(byCookie()), groupWith(byCookie('refuse'))]
  assert.equal(rebalancing.take([backendOf(rebalancing, 'b')], of('b', 1))?.id, 'a')
  assert.equal(refusing.take([backendOf(refusing, 'b')], of('b', 1))?.id, 'b')
})

for (const [what, found] of [
  ['a promise', Promise.resolve(null)],
  ['an id', 'a'],
  ['nothing', undefined],
] as const) {
  test(`an affinity that finds ${what} is refused by name`, () => {
    const affinity = { ...byCookie(), find: () => found as unknown as null }
    assert.throws(() => groupWith(affinity).take([], of('a')), /affinity cookie: /)
  })
}

for (const front of ALL_FRONTS) {
  test(`a client comes back to its backend by the cookie that it got (${front.name})`, async () => {
    await using a = await mockBackend({ body: 'a' })
    await using b = await mockBackend({ body: 'b', headers: ['Set-Cookie', 'own=1'] })
    const backends = [
      { url: a.url, id: 'a' },
      { url: b.url, id: 'b' },
    ]
    await using running = await front.run({ backends, balancer: firstAvailable(), affinity: byCookie() })
    const first = await fetch(running.url)
    assert.deepEqual(first.headers.getSetCookie(), ['backend=a'])
    await first.arrayBuffer()
    const kept = await fetch(running.url, { headers: { Cookie: 'backend=b' } })
    assert.equal(await kept.text(), 'b')
    assert.deepEqual(kept.headers.getSetCookie().sort(), ['backend=b', 'own=1'])
  })

  test(`a client whose backend fails is bound to the one of the retry (${front.name})`, async () => {
    await using a = await mockBackend({ body: 'a' })
    await using b = await mockBackend(resetOnRequest)
    const backends = [
      { url: a.url, id: 'a' },
      { url: b.url, id: 'b' },
    ]
    await using running = await front.run({ backends, affinity: byCookie() })
    const response = await fetch(running.url, { headers: { Cookie: 'backend=b' } })
    assert.equal(await response.text(), 'a')
    assert.deepEqual(response.headers.getSetCookie(), ['backend=a'])
  })

  for (const method of ['find', 'bind'] as const) {
    test(`an affinity whose ${method}() throws ends the one exchange with 500 (${front.name})`, async () => {
      await using a = await mockBackend({ body: 'a' })
      let isBroken = true
      const affinity = byCookie()
      const original = affinity[method].bind(affinity) as (...args: unknown[]) => unknown
      affinity[method] = ((...args: unknown[]) => {
        if (isBroken) throw new Error('it broke')
        return original(...args)
      }) as never
      await using running = await front.run({ target: a.url, affinity })
      const response = await fetch(running.url)
      assert.equal(response.status, 500)
      assert.match(await response.text(), /ERR_PROXY_HOOK/)
      assert.match(running.errors.at(-1)?.message ?? '', /affinity cookie: it broke/)
      assert.equal(running.pending(), 0)
      isBroken = false
      assert.equal((await fetch(running.url)).status, 200)
    })
  }
}

test('what is no affinity is refused with the options', () => {
  for (const [affinity, message] of [
    ['cookie', /affinity .*has no find, no bind/],
    [{ find() {} }, /affinity .*has no bind/],
    [{ ...byCookie(), onLost: 'never' }, /affinity .*onLost/],
  ] as const) {
    const make = (): unknown => createProxy({ target: 'http://127.0.0.1:1', affinity: affinity as unknown as Affinity })
    assert.throws(make, (error: unknown) => {
      assert.ok(error instanceof OptionsError)
      assert.match(error.message, message)
      return true
    })
  }
})
