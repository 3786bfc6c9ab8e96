/**
 * What a contract suite registers its tests with. `node:test`, vitest and jest have both functions:
 * `import { describe, test } from 'node:test'`.
 */
export interface SuiteRunner {
  /** Registers a test; a rejected promise fails it. */
  test(name: string, body: () => void | Promise<void>): unknown
  /** Groups the tests that `body` registers. */
  describe(name: string, body: () => void): unknown
}
