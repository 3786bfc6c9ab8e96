import { describe, test } from 'node:test'
import { poolSuite } from '../../src/testing/pool-suite.ts'
import { nodePool } from './node-pool.ts'

// The suite has to be passable by more than our own.
poolSuite(
  'a pool on node:http',
  () => nodePool(Number.POSITIVE_INFINITY, 0),
  { describe, test },
  {
    bounded: ({ maxConnections, maxWaiting }) => nodePool(maxConnections, maxWaiting),
  },
)
