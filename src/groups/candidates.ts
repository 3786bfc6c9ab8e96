import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'

/** What a thread knows of a backend, in bits. */
export const ELIGIBLE = 1
export const EJECTED = 2

/** The bits of a backend as it is now. */
export function bitsOf(backend: Backend): number {
  return (backend.isEligible ? ELIGIBLE : 0) | (backend.isEjected ? EJECTED : 0)
}

/** Whether those who wait for a backend that is out pick again. @param hasAny there is a backend that is not out. */
export function isLeft({ isUnhealthy, isEjected, isDraining, isDisabled, weight }: Backend, hasAny: boolean): boolean {
  // If no other is left, one that fails may still answer; one that an operator has taken out will not.
  return hasAny || !(isUnhealthy || isEjected) || isDraining || isDisabled || weight === 0
}

/** The time of its ejection was over, and has ended here. */
export function hasEndedEjection({ isEjected, state }: Backend, clock: Clock): boolean {
  return isEjected && state.endEjection(clock.now())
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
