import { LONGEST_MS } from './clock.ts'

/** By so much our own limit on connecting may be noticed late, ms, and more. */
const MORE_THAN_SHARE_MS = 250

/**
 * node tries the addresses of a name one after another and gives each but the last a fraction of a second, whatever our own
 * limit is. Where none of them connects, those that were cut short share what is left of it in a second attempt.
 * @param error of the first attempt.
 * @param leftMs of our own limit.
 * @returns `autoSelectFamilyAttemptTimeout` for the second attempt, or 0 where no address was cut short.
 */
export function longerAttemptMs(error: unknown, leftMs: number): number {
  const cutShort = error instanceof AggregateError ? error.errors.filter(isTimeout).length : 0
  if (cutShort === 0) return 0
  // A little more than its share, so that it is our limit that ends the last one.
  return Math.min(Math.ceil(Math.max(0, leftMs) / cutShort) + MORE_THAN_SHARE_MS, LONGEST_MS)
}

function isTimeout(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ETIMEDOUT'
}
