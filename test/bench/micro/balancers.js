import * as balancers from '../../../dist/src/balancers/index.js'
import { Backend } from '../../../dist/src/model/backend.js'
import { exchangeView } from '../../../dist/src/testing/index.js'

const SIZES = [10, 1000, 10_000]
const IN_FLIGHT = 64
const OUTCOME = { kind: 'answered', status: 200, error: null, firstByteMs: 5, totalMs: 6 }
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

/** An attempt's whole way through a balancer, picked, begun and ended, with 64 under way. */
export const balancerCases = Object.fromEntries(
  Object.entries(BALANCERS).flatMap(([name, create]) =>
    SIZES.map((size) => [`${name}, ${size.toLocaleString('en-US')} backends`, () => attempts(create(), size)]),
  ),
)

function attempts(balancer, size) {
  const backends = Array.from(
    { length: size },
    (_, index) => new Backend({ url: 'http://127.0.0.1:3000', id: `b${index}` }),
  )
  const underWay = []
  balancer.onChange?.(backends)
  return (index) => {
    const exchange = EXCHANGES[index % EXCHANGES.length]
    const slot = index % IN_FLIGHT
    const oldest = underWay[slot]
    if (oldest !== undefined) {
      oldest.state.addPending(-1)
      balancer.onEnd?.(oldest, OUTCOME)
    }
    const backend = balancer.pick(backends, exchange)
    backend.state.addPending(1)
    balancer.onStart?.(backend, exchange)
    underWay[slot] = backend
    return backend
  }
}
