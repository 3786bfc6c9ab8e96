import type { Affinity } from '../contracts/affinity.ts'
import { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import { assertSync } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Availability } from './availability.ts'

/**
 * The backend to which an affinity binds an exchange.
 * @returns `null` if the balancer must pick; `refused` if the exchange may go only to a backend that may not serve it.
 * @throws any error of the affinity.
 */
export function ownerOf(
  affinity: Affinity,
  exchange: ExchangeView,
  backends: readonly Backend[],
  availability: Availability,
): Backend | 'refused' | null {
  const isRefusing = affinity.onLost === 'refuse'
  // A retry may go to another backend, unless the affinity insists on its own.
  if (exchange.attempts > 0 && !isRefusing) return null
  const found = guarded(affinity, () => {
    const found: unknown = affinity.find(exchange, backends)
    if (found === null || found instanceof Backend) return found
    assertSync(found)
    throw new TypeError('find() returned neither a backend nor null')
  })
  if (found === null || mayServe(found, availability)) return found
  return isRefusing ? 'refused' : null
}

/** Calls a method of an affinity, and adds the affinity's name to an error that it throws. */
export function guarded<T>({ name }: Affinity, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw new TypeError(`affinity ${name}: ${describeError(error)}`, { cause: error })
  }
}

/** Whether a bound exchange may go to `backend`. A draining backend still serves the clients that are bound to it. */
function mayServe(backend: Backend, availability: Availability): boolean {
  if (!availability.includes(backend)) return false
  availability.sync()
  if (availability.has(backend)) return true
  const { isDraining, isDisabled, isUnhealthy, isEjected, weight } = backend
  return isDraining && !isDisabled && !isUnhealthy && !isEjected && weight > 0
}
