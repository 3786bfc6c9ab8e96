import { LONGEST_MS } from './clock.ts'

/** More than our own time limit may be noticed late, ms. */
const MARGIN_MS = 250

/**
 * Node tries the addresses of a host name one after another, and gives each but the last a fraction of a second, whatever
 * our own time limit is. If none connects, the addresses that timed out share the rest of our limit in a second attempt.
 * @param error of the first attempt.
 * @param leftMs rest of our own limit.
 * @returns `autoSelectFamilyAttemptTimeout` for the second attempt, or 0 if no address timed out.
 */
export function longerAttemptMs(error: unknown, leftMs: number): number {
  const timedOut = error instanceof AggregateError ? error.errors.filter(isTimeout).length : 0
  if (timedOut === 0) return 0
  // A little more than the share, so that our own limit ends the last attempt.
  return Math.min(Math.ceil(Math.max(0, leftMs) / timedOut) + MARGIN_MS, LONGEST_MS)
}

function isTimeout(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ETIMEDOUT'
}
