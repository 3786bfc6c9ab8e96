import type { Logger } from '../contracts/logger.ts'
import type { BackendChange } from '../contracts/observer.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { GroupDeps } from './group-deps.ts'

/** Callbacks of a group that write log lines and emit events. */
export function notices(
  group: string,
  logger: Logger,
  onBackend: (change: BackendChange) => void,
): Pick<GroupDeps, 'onEject' | 'onUneject' | 'onHealth' | 'onThrew' | 'onPoolThrew' | 'onBalancerThrew'> {
  const threw = (what: string) => (error: unknown) =>
    logger.error({ err: error, group }, `the ${what} of group ${group} threw: ${describeError(error)}`)
  return {
    onEject(backend, ms, reason) {
      logger.warn({ backend: backend.id, group, ms }, `ejected backend ${backend.id} for ${ms} ms: ${reason}`)
      onBackend({ what: 'ejected', backend, group, ms, reason })
    },
    onUneject(backend) {
      logger.info({ backend: backend.id, group }, `backend ${backend.id} is back in the balance`)
      onBackend({ what: 'unejected', backend, group, reason: '' })
    },
    onHealth(backend, reason) {
      const fields = { backend: backend.id, group, reason }
      if (backend.isUnhealthy) {
        logger.warn(fields, `backend ${backend.id} is unhealthy: ${reason}`)
        onBackend({ what: 'unhealthy', backend, group, reason })
      } else {
        logger.info(fields, `backend ${backend.id} is healthy: ${reason}`)
        onBackend({ what: 'healthy', backend, group, reason })
      }
    },
    onThrew: threw('health check'),
    onPoolThrew: threw('pool'),
    onBalancerThrew: threw('balancer'),
  }
}
