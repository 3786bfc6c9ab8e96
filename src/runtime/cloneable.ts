import { describeError } from './describe-error.ts'

/**
 * Checks that a value can be sent to another thread.
 * @param what names the value in the message.
 * @throws TypeError if it cannot: `value` is or contains a function or an instance of a class.
 */
export function assertCloneable(what: string, value: unknown): void {
  try {
    structuredClone(value)
  } catch (cause) {
    throw new TypeError(`${what} cannot be sent to a thread: ${describeError(cause)}; give plain data`, { cause })
  }
}
