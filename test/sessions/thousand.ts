import { sessionTests } from './suite.ts'

// Not one of the tests of `npm test`, which has a short form of it: `npm run sessions`, and .ci/run.
sessionTests(1000, [
  ['consistent-hash by address', 'polling'],
  ['consistent-hash by cookie, in threads', 'polling, then WebSocket'],
  ['an affinity by sid', 'polling'],
])
