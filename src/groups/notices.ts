import type { Logger } from '../contracts/logger.ts'
import type { Backend } from '../model/backend.ts'
import { describeError } from '../model/errors.ts'
import type { GroupDeps } from './group-deps.ts'

/** Hears what becomes of backends. */
export interface GroupEvents {
  eject(backend: Backend, ms: number, reason: string): void
  uneject(backend: Backend): void
  unhealthy(backend: Backend, reason: string): void
  healthy(backend: Backend, reason: string): void
}

/** What a group has to say, as log lines and events. */
export function notices(
  group: string,
  logger: Logger,
  events: GroupEvents,
): Pick<GroupDeps, 'onEject' | 'onUneject' | 'onHealth' | 'onThrew' | 'onPoolThrew' | 'onBalancerThrew'> {
  const threw = (what: string) => (error: unknown) =>
    logger.error({ err: error, group }, `the ${what} of group ${group} threw: ${describeError(error)}`)
  return {
    onEject(backend, ms, reason) {
      logger.warn({ backend: backend.id, group, ms }, `ejected backend ${backend.id} for ${ms} ms: ${reason}`)
      events.eject(backend, ms, reason)
    },
    onUneject(backend) {
      logger.info({ backend: backend.id, group }, `backend ${backend.id} is back in the balance`)
      events.uneject(backend)
    },
    onHealth(backend, reason) {
      const fields = { backend: backend.id, group, reason }
      if (backend.isUnhealthy) {
        logger.warn(fields, `backend ${backend.id} is unhealthy: ${reason}`)
        events.unhealthy(backend, reason)
      } else {
        logger.info(fields, `backend ${backend.id} is healthy: ${reason}`)
        events.healthy(backend, reason)
      }
    },
    onThrew: threw('health check'),
    onPoolThrew: threw('pool'),
    onBalancerThrew: threw('balancer'),
  }
}
