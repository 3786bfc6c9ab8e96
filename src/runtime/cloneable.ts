import { describeError } from './describe-error.ts'

/**
 * @param what names the value in the message.
 * @throws TypeError if `value` cannot be sent to another thread: it is or contains a function or an instance of a class.
 */
export function assertCloneable(what: string, value: unknown): void {
  try {
    structuredClone(value)
  } catch (cause) {
    throw new TypeError(`${what} cannot be sent to a thread: ${describeError(cause)}; give plain data`, { cause })
  }
}
