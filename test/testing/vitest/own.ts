import { describe, test } from 'vitest'
import type { Balancer } from '../../../src/contracts/balancer.ts'
import type { Logger } from '../../../src/contracts/logger.ts'
import { balancerSuite, loggerSuite, poolSuite } from '../../../src/testing/index.ts'
import { nodePool } from '../node-pool.ts'

// What a user of vitest writes. Its own `expect` is not needed.
const first: Balancer = { name: 'first', pick: (candidates) => candidates[0] }
balancerSuite(
  'first',
  () => first,
  { describe, test },
  { sharesByWeight: false, spreadsTies: false, starvesNone: false },
)

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }
loggerSuite('silent', () => silent, { describe, test })

poolSuite('a pool on node:http', () => nodePool(Number.POSITIVE_INFINITY, 0), { describe, test })
