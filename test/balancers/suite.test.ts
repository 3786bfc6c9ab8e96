import {
  consistentHash,
  firstAvailable,
  leastConnections,
  peakEwma,
  powerOfTwo,
  random,
  roundRobin,
} from '../../src/balancers/index.ts'
import { balancerSuite } from '../../src/testing/balancer-suite.ts'

balancerSuite('round-robin', (deps) => roundRobin(deps))
balancerSuite('least-connections', (deps) => leastConnections(deps))
balancerSuite('power-of-two', (deps) => powerOfTwo(deps))
balancerSuite('random', (deps) => random(deps))
balancerSuite('peak-ewma', (deps) => peakEwma(deps))
balancerSuite('first-available', firstAvailable, { sharesByWeight: false, spreadsTies: false, starvesNone: false })

const hashing = { followsKey: true, shareTolerance: 0.3 }
for (const by of ['client-address', 'path', { header: 'x-user' }, { cookie: 'user' }] as const) {
  const what = typeof by === 'string' ? by : Object.keys(by)
  balancerSuite(`consistent-hash by ${what}`, (deps) => consistentHash({ ...deps, by }), hashing)
}
balancerSuite('consistent-hash without a bound', (deps) => consistentHash({ ...deps, boundedLoad: 0 }), hashing)
balancerSuite('consistent-hash without a key', (deps) => consistentHash({ ...deps, by: { header: 'x-none' } }))
