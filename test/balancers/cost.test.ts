import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as balancers from '../../src/balancers/index.ts'
import type { Balancer } from '../../src/contracts/balancer.ts'
import type { Backend } from '../../src/model/backend.ts'
import { exchangeView } from '../../src/testing/exchange-view.ts'
import { seededRandom } from '../../src/testing/random.ts'
import { backendsOf, end, start } from './some-backends.ts'

const random = seededRandom(1)
const ALL: readonly Balancer[] = [
  balancers.roundRobin({ random }),
  balancers.leastConnections({ random }),
  balancers.powerOfTwo({ random }),
  balancers.random({ random }),
  balancers.peakEwma({ random }),
  balancers.consistentHash({ random, by: 'path' }),
  balancers.firstAvailable(),
]

for (const balancer of ALL) {
  test(`${balancer.name} looks at few of 10,000 for a pick`, () => {
    const candidates = backendsOf(...Array.from({ length: 10_000 }, (_, index) => 1 + (index % 3)))
    let looks = 0
    for (const backend of candidates) watch(backend, () => looks++)
    balancer.onChange?.(candidates)
    balancer.pick(candidates, exchangeView())
    looks = 0
    const pickCount = 1000
    for (let each = 0; each < pickCount; each++) {
      const picked = balancer.pick(candidates, exchangeView({ target: `/${each}` }))
      start(balancer, picked)
      end(balancer, picked)
    }
    assert.ok(looks / pickCount < 50, `${looks / pickCount} looks a pick`)
  })
}

for (const balancer of ALL) {
  test(`${balancer.name} looks at few of 10,000 for a retry`, () => {
    const candidates = backendsOf(...Array.from({ length: 10_000 }, (_, index) => 1 + (index % 3)))
    let looks = 0
    for (const backend of candidates) watch(backend, () => looks++)
    balancer.onChange?.(candidates)
    // An array that is new counts once it has come twice: it may be one that was made for a retry.
    for (let each = 0; each < 2; each++) balancer.pick(candidates, exchangeView())
    looks = 0
    const pickCount = 1000
    for (let each = 0; each < pickCount; each++) {
      const exchange = exchangeView({ target: `/${each}` })
      const tried = balancer.pick(candidates, exchange)
      assert.notEqual(balancer.pickUntried?.(candidates, [tried], exchange) ?? tried, tried)
    }
    assert.ok(looks / pickCount < 100, `${looks / pickCount} looks a retry`)
  })
}

/** Calls `onLook` each time the weight of `backend`, or what is pending there, is read. */
function watch(backend: Backend, onLook: () => void): void {
  const { weight, state } = backend
  const properties = {
    weight: () => weight,
    pending: () => state.pending,
  }
  for (const [name, read] of Object.entries(properties)) {
    Object.defineProperty(backend, name, {
      get() {
        onLook()
        return read()
      },
    })
  }
}
