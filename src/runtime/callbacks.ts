import { describeError } from './describe-error.ts'

/**
 * A function of the user's that should have returned nothing may be `async` all the same, which no type forbids: the
 * rejection of its promise is told, or it would end the process.
 */
export function catchRejection(returned: unknown, tell: (error: unknown) => void): void {
  if (!isPromise(returned)) return
  try {
    returned.then(undefined, tell)
  } catch (error) {
    tell(error)
  }
}

/** The same where it had to be done at once. @throws TypeError for a promise. */
export function assertSync(returned: unknown): void {
  if (!isPromise(returned)) return
  catchRejection(returned, ignore)
  throw new TypeError('it returned a promise, and must be synchronous')
}

/** Of any library, and of any realm. Not where to ask for its `then` throws. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' || value === null) return false
  try {
    return typeof (value as { then?: unknown }).then === 'function'
  } catch {
    return false
  }
}

/** Calls `call` for each of `items`; one for which it throws is told, and takes nothing from the others. */
export function callEach<Item>(
  items: Iterable<Item>,
  call: (item: Item) => void,
  tell: (error: unknown) => void,
): void {
  for (const item of items) {
    try {
      call(item)
    } catch (error) {
      tell(error)
    }
  }
}

/** Tells what `what` threw where there is no logger: as a process warning, since nothing of ours ends the process. */
export function warnAbout(what: string): (error: unknown) => void {
  return (error) => process.emitWarning(`${what} threw: ${describeError(error)}`, { code: 'HEDDLE_CALLBACK_THREW' })
}

function ignore(): void {}
