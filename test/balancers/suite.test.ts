import { describe, test } from 'node:test'
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

const runner = { describe, test }
balancerSuite('round-robin', (deps) => roundRobin(deps), runner)
balancerSuite('least-connections', (deps) => leastConnections(deps), runner)
balancerSuite('power-of-two', (deps) => powerOfTwo(deps), runner)
balancerSuite('random', (deps) => random(deps), runner)
balancerSuite('peak-ewma', (deps) => peakEwma(deps), runner)
balancerSuite('first-available', firstAvailable, runner, {
  sharesByWeight: false,
  spreadsTies: false,
  starvesNone: false,
})

const hashing = { followsKey: true, shareTolerance: 0.3 }
for (const by of ['client-address', 'path', { header: 'x-user' }, { cookie: 'user' }] as const) {
  const what = typeof by === 'string' ? by : Object.keys(by)
  balancerSuite(`consistent-hash by ${what}`, (deps) => consistentHash({ ...deps, by }), runner, hashing)
}
balancerSuite('consistent-hash with a bound', (deps) => consistentHash({ ...deps, boundedLoad: 150 }), runner, hashing)
balancerSuite('consistent-hash without a key', (deps) => consistentHash({ ...deps, by: { header: 'x-none' } }), runner)
