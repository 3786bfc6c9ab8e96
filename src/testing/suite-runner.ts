/**
 * What a contract suite registers its tests with. `node:test`, vitest and jest have both functions:
 * `import { describe, test } from 'node:test'`.
 */
export interface SuiteRunner {
  /** Registers a test. `body` may return a promise, and the test ends with it; `void` is what the types of all three can take. */
  test(name: string, body: () => void): unknown
  /** Groups the tests that `body` registers. */
  describe(name: string, body: () => void): unknown
}
