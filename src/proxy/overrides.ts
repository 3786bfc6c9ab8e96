import type { ExchangeCall } from '../exchange/call.ts'
import { ProxyError } from '../model/errors.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { ProxyGroups } from './assemble.ts'
import type { CallOverrides } from './types.ts'

/** The route and time limits that a call's overrides ask for. Never throws: a mistake in them fails only this exchange. */
export function resolveOverrides(groups: ProxyGroups, { target, group, timeouts }: CallOverrides): ExchangeCall {
  if (target === undefined && group === undefined) return { timeouts }
  try {
    const route = target === undefined ? groups.everythingTo(group as string) : groups.target(String(target))
    return { route, timeouts }
  } catch (error) {
    const message = `the override ${target === undefined ? 'group' : 'target'}: ${describeError(error)}`
    return { fault: new ProxyError('ERR_PROXY_HOOK', message) }
  }
}

/** Whether the argument can be overrides. A framework may pass its own argument in that position, such as `next`. */
export function isOverrides<Overrides extends CallOverrides>(given: Overrides | undefined): given is Overrides {
  return typeof given === 'object' && given !== null
}
