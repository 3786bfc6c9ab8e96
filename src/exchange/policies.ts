import type { Group } from '../groups/group.ts'
import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import { assertSync, catchRejection, isPromise } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Attempt } from './attempt.ts'
import type { Exchange } from './exchange.ts'

// Calls of a group's policies. Errors that they throw are logged, and do not affect the exchange.

/** Notifies the policies that an attempt begins. @param isFirst it is the first of its exchange. */
export function noteStart(
  { balancer, retry, name }: Group,
  exchange: Exchange,
  backend: Backend,
  isFirst: boolean,
): void {
  try {
    guard(balancer.onStart?.(backend, exchange), name, exchange)
  } catch (thrown) {
    notePolicyThrew(name, exchange, thrown)
  }
  if (!isFirst) return
  try {
    guard(retry?.onExchange?.(), name, exchange)
  } catch (thrown) {
    notePolicyThrew(name, exchange, thrown)
  }
}

/** Notifies the policies that an attempt has ended. @param isNoEvidence it says nothing about the backend's health. */
export function noteEnd(group: Group, exchange: Exchange, attempt: Attempt, isNoEvidence: boolean): void {
  const { backend, kind } = attempt
  try {
    guard(group.balancer.onEnd?.(backend, attempt), group.name, exchange)
  } catch (thrown) {
    notePolicyThrew(group.name, exchange, thrown)
  }
  if (isNoEvidence || kind === 'aborted') return
  try {
    guard(group.healthCheck?.observe(backend, attempt, group), group.name, exchange)
  } catch (thrown) {
    notePolicyThrew(group.name, exchange, thrown)
  }
}

/** Asks the retry policy. @returns the delay before a retry, ms; negative: no retry. */
export function retryDelay({ retry, name }: Group, exchange: Exchange, error: ProxyError): number {
  if (retry === null) return -1
  try {
    const delayMs: unknown = retry.next(exchange, error)
    assertSync(delayMs)
    if (typeof delayMs === 'number' && (delayMs < 0 || Number.isFinite(delayMs))) return delayMs
    throw new TypeError(`next() of retry policy ${retry.name} returned ${String(delayMs)}, which is not a time in ms`)
  } catch (thrown) {
    notePolicyThrew(name, exchange, thrown)
    return -1
  }
}

function guard(returned: unknown, group: string, exchange: Exchange): void {
  if (isPromise(returned)) catchRejection(returned, (error) => notePolicyThrew(group, exchange, error))
}

function notePolicyThrew(group: string, exchange: Exchange, error: unknown): void {
  exchange.services.logger.error({ err: error }, `a policy of group ${group} threw: ${describeError(error)}`)
}
