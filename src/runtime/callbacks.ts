import { describeError } from './describe-error.ts'

/**
 * Handles the result of a user's callback that should return nothing. Types do not forbid an `async` callback, and its
 * unhandled rejection would end the process.
 */
export function catchRejection(returned: unknown, onRejected: (error: unknown) => void): void {
  if (!isPromise(returned)) return
  try {
    returned.then(undefined, onRejected)
  } catch (error) {
    onRejected(error)
  }
}

/** Checks the result of a callback that must be synchronous. @throws TypeError for a promise. */
export function assertSync(returned: unknown): void {
  if (!isPromise(returned)) return
  catchRejection(returned, ignore)
  throw new TypeError('it returned a promise, but must be synchronous')
}

/** Whether `value` is a promise of any library or realm. A value whose `then` getter throws is not. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' || value === null) return false
  try {
    return typeof (value as { then?: unknown }).then === 'function'
  } catch {
    return false
  }
}

/** Calls `call` for each of `items`. If it throws for one, `onThrew` gets the error and the others are still called. */
export function callEach<Item>(
  items: Iterable<Item>,
  call: (item: Item) => void,
  onThrew: (error: unknown) => void,
): void {
  for (const item of items) {
    try {
      call(item)
    } catch (error) {
      onThrew(error)
    }
  }
}

/** Reports an error that `what` threw as a process warning, for places without a logger. */
export function warnAbout(what: string): (error: unknown) => void {
  return (error) => process.emitWarning(`${what} threw: ${describeError(error)}`, { code: 'HEDDLE_CALLBACK_THREW' })
}

function ignore(): void {}
