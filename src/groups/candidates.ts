import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'

/** Bits for the facts that a thread knows about a backend. */
export const ELIGIBLE = 1
export const EJECTED = 2

/** The current bits of a backend. */
export function bitsOf(backend: Backend): number {
  return (backend.isEligible ? ELIGIBLE : 0) | (backend.isEjected ? EJECTED : 0)
}

/** Whether exchanges that wait for an unavailable backend pick another one. @param hasAny some backend may be picked. */
export function isLeft({ isUnhealthy, isEjected, isDraining, isDisabled, weight }: Backend, hasAny: boolean): boolean {
  // If no other is left, it is worth waiting for a failing backend, but not for one that an operator has taken out of use.
  return hasAny || !(isUnhealthy || isEjected) || isDraining || isDisabled || weight === 0
}

/** Ends the ejection of a backend if its time is over. @returns whether this call has ended it. */
export function hasEndedEjection({ isEjected, state }: Backend, clock: Clock): boolean {
  return isEjected && state.endEjection(clock.now())
}

/** Whether there is a backend to pick. */
export function isNotEmpty(backends: readonly Backend[]): backends is Candidates {
  return backends.length > 0
}

/** The backends of `available` that are not in `tried`; all of them if each was tried; `null` if `available` is empty. */
export function untriedOf(available: readonly Backend[], tried: readonly Backend[]): Candidates | null {
  if (tried.length > 0) {
    const untried = available.filter((backend) => !tried.includes(backend))
    if (isNotEmpty(untried)) return untried
  }
  return isNotEmpty(available) ? available : null
}
