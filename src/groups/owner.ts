import type { Affinity } from '../contracts/affinity.ts'
import { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import { assertSync } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Availability } from './availability.ts'

/**
 * The backend that an affinity keeps an exchange with. @returns `null` if the balancer is to pick, `refused` if the exchange may go
 * to no other than one that may not serve it.
 * @throws what the affinity throws.
 */
export function ownerOf(
  affinity: Affinity,
  exchange: ExchangeView,
  backends: readonly Backend[],
  availability: Availability,
): Backend | 'refused' | null {
  const isRefusing = affinity.onLost === 'refuse'
  // A retry goes to another backend, unless only one will do.
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

/** What `call` throws says which affinity it was. */
export function guarded<T>({ name }: Affinity, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw new TypeError(`affinity ${name}: ${describeError(error)}`, { cause: error })
  }
}

/** What has an owner may finish there while it is drained. */
function mayServe(backend: Backend, availability: Availability): boolean {
  if (!availability.includes(backend)) return false
  availability.sync()
  if (availability.has(backend)) return true
  const { isDraining, isDisabled, isUnhealthy, isEjected, weight } = backend
  return isDraining && !isDisabled && !isUnhealthy && !isEjected && weight > 0
}
