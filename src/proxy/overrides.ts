import type { WebCall } from '../fronts/node/web.ts'
import type { Groups } from '../groups/registry.ts'
import { describeError } from '../model/errors.ts'
import type { CallOverrides } from './types.ts'

/** Where the overrides of a call send it, and its limits. A mistake in them ends the one exchange, not the application. */
export function resolveOverrides(
  groups: Groups,
  { target, group, timeouts }: CallOverrides,
): Pick<WebCall, 'destination' | 'timeouts' | 'fault'> {
  if (target === undefined && group === undefined) return { timeouts }
  try {
    if (target !== undefined) return { destination: groups.target(String(target)), timeouts }
    return { destination: groups.everythingTo(group as string), timeouts }
  } catch (error) {
    return { fault: `the override ${target === undefined ? 'group' : 'target'}: ${describeError(error)}` }
  }
}

/** A framework may call us with an argument of its own in their place. */
export function isOverrides<Overrides extends CallOverrides>(given: Overrides | undefined): given is Overrides {
  return typeof given === 'object' && given !== null
}
