/**
 * The functions by which a contract suite registers its tests. `node:test`, vitest and jest have both:
 * `import { describe, test } from 'node:test'`.
 */
export interface SuiteRunner {
  /**
   * Registers a test. `body` may return a promise, which the runner awaits. The type `void` suits the types of all
   * three runners.
   */
  test(name: string, body: () => void): unknown
  /** Groups the tests that `body` registers. */
  describe(name: string, body: () => void): unknown
}
