import { describeError } from './describe-error.ts'

/**
 * @param what in words, for the message.
 * @throws TypeError where `value` cannot be sent to another thread: it is, or has in it, a function or an object of a class.
 */
export function assertCloneable(what: string, value: unknown): void {
  try {
    structuredClone(value)
  } catch (cause) {
    throw new TypeError(`${what} cannot be sent to a thread: ${describeError(cause)}; give plain data`, { cause })
  }
}
