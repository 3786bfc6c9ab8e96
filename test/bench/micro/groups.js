import * as balancers from '../../../dist/src/balancers/index.js'
import { Group } from '../../../dist/src/groups/group.js'
import { createProxy } from '../../../dist/src/index.js'
import { Backend } from '../../../dist/src/model/backend.js'
import { privateStateMemory } from '../../../dist/src/runtime/state-memory.js'
import { exchangeView, manualClock } from '../../../dist/src/testing/index.js'

const SIZE = 10_000
const HOUR_MS = 3_600_000
const EXCHANGES = Array.from({ length: 1024 }, (_, index) => exchangeView({ target: `/path/${index}` }))
const BALANCERS = {
  'round-robin': () => balancers.roundRobin(),
  'least-connections': () => balancers.leastConnections(),
  'power-of-two': () => balancers.powerOfTwo(),
  random: () => balancers.random(),
  'peak-ewma': () => balancers.peakEwma(),
  'consistent-hash': () => balancers.consistentHash({ by: 'path' }),
  'first-available': () => balancers.firstAvailable(),
}

/** What a group of 10,000 backends takes for a pick, for a retry, and for changes. */
export const groupCases = {
  ...Object.fromEntries(
    Object.entries(BALANCERS).flatMap(([name, create]) => [
      [`take of 10,000 with 3,000 ejected, ${name}`, () => takes(create(), 0)],
      [`take for a retry, ${name}`, () => takes(create(), 1)],
    ]),
  ),
  'eject one of 10,000': ejections,
  'setBackends, 10,000 unchanged': () => changes(false),
  'setBackends, one of 10,000 changed': () => changes(true),
}

function groupOf(balancer) {
  const inits = Array.from({ length: SIZE }, (_, index) => ({ url: 'http://127.0.0.1:3000', id: `b${index}` }))
  return new Group({
    name: 'default',
    backends: inits.map((init) => new Backend(init)),
    balancer,
    affinity: null,
    pool: { stats: () => ({ backends: [] }) },
    healthCheck: null,
    maxEjectedPercent: 100,
    slowStartMs: 0,
    retry: null,
    clock: manualClock(),
    state: privateStateMemory.groupState('default'),
    isShared: false,
    onEject() {},
    onUneject() {},
    onHealth() {},
    onThrew: fail,
    onPoolThrew: fail,
    onBalancerThrew: fail,
  })
}

/** With the end of each attempt, and `retries` further ones. */
function takes(balancer, retries) {
  const group = groupOf(balancer)
  for (const [index, backend] of group.backends.entries()) if (index % 10 < 3) group.eject(backend, HOUR_MS, 'test')
  const take = (tried, exchange) => {
    const backend = group.take(tried, exchange)
    balancer.onStart?.(backend, exchange)
    backend.state.addPending(-1)
    balancer.onEnd?.(backend, OUTCOME)
    return backend
  }
  return (index) => {
    const exchange = EXCHANGES[index % EXCHANGES.length]
    const backend = take([], exchange)
    return retries === 0 ? backend : take([backend], exchange)
  }
}

const OUTCOME = { kind: 'answered', status: 200, error: null, firstByteMs: 5, totalMs: 6 }

/** Ejected and back again, and no pick in between. */
function ejections() {
  const group = groupOf(balancers.powerOfTwo())
  return (index) => {
    const backend = group.backends[index % SIZE]
    const isEjected = group.eject(backend, HOUR_MS, 'test')
    group.setUnhealthy(backend, true, 'test')
    group.setUnhealthy(backend, false, 'test')
    return isEjected
  }
}

function changes(isChanged) {
  const backends = Array.from({ length: SIZE }, (_, index) => ({
    url: `http://127.0.0.1:${3000 + index}`,
    id: `b${index}`,
  }))
  const proxy = createProxy({ backends })
  return (index) => {
    if (isChanged) backends[index % SIZE] = { ...backends[index % SIZE], weight: 1 + (index % 7) }
    return proxy.setBackends(backends)
  }
}

function fail(error) {
  throw error
}
