/**
 * A function of the user's that should have returned nothing may be `async` all the same, which no type forbids: the
 * rejection of its promise is told, or it would end the process.
 */
export function heed(returned: unknown, tell: (error: unknown) => void): void {
  if (returned instanceof Promise) returned.catch(tell)
}

/** The same where it had to be done at once. @throws TypeError for a promise. */
export function refusePromise(returned: unknown): void {
  if (!(returned instanceof Promise)) return
  returned.catch(ignore)
  throw new TypeError('it returned a promise, and must be synchronous')
}

function ignore(): void {}
