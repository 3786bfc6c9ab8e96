import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'

/** What a thread knows of a backend, in bits. */
export const ELIGIBLE = 1
export const EJECTED = 2

/** The bits of a backend as it is now. */
export function bitsOf(backend: Backend): number {
  return (backend.isEligible ? ELIGIBLE : 0) | (backend.isEjected ? EJECTED : 0)
}

/** An operator has taken it out, whatever is known of its health. */
export function isTakenOut({ isDraining, isDisabled, weight }: Backend): boolean {
  return isDraining || isDisabled || weight === 0
}

/** There is something to pick from. */
export function isNotEmpty(backends: readonly Backend[]): backends is Candidates {
  return backends.length > 0
}

/** Those of `available` that are not in `tried`; all of them if each has been tried; `null` for none. */
export function untriedOf(available: readonly Backend[], tried: readonly Backend[]): Candidates | null {
  if (tried.length > 0) {
    const untried = available.filter((backend) => !tried.includes(backend))
    if (isNotEmpty(untried)) return untried
  }
  return isNotEmpty(available) ? available : null
}
