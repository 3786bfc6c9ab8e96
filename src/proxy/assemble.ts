import { resolveTarget } from '../config/backends.ts'
import type { ResolvedGroup, ResolvedOptions } from '../config/options.ts'
import { FailureLog } from '../exchange/failure-log.ts'
import { Activity, type Core, type Services } from '../exchange/services.ts'
import type { Destination } from '../exchange/snapshot.ts'
import { Groups } from '../groups/registry.ts'
import { lineWriter } from '../loggers/index.ts'
import { type AccessLog, openAccessLog } from '../observers/access-log.ts'
import { diagnostics } from '../observers/diagnostics.ts'
import { Events } from '../observers/events.ts'
import { Observers } from '../observers/observers.ts'
import { standardPool } from '../pools/standard/pool.ts'
import { type Clock, inThisContext } from '../runtime/clock.ts'
import { Deadlines } from '../runtime/deadlines.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { ThreadContext } from '../threads/context.ts'
import { takeSnapshot } from './take-snapshot.ts'

/** The groups of a proxy. */
export type ProxyGroups = Groups<ResolvedGroup, Destination>

/** The parts of a proxy that exist before it serves. */
export interface Assembled {
  readonly core: Core
  readonly events: Events
  readonly groups: ProxyGroups
  readonly accessLog: AccessLog | null
}

/** Creates the parts of a proxy and connects them. */
export function assemble(resolved: ResolvedOptions, context: ThreadContext): Assembled {
  const { logger } = resolved
  const clock = inThisContext(resolved.clock)
  const events = new Events(logger)
  const accessLog = accessLogOf(resolved, clock, context)
  const own = accessLog === null ? [events] : [accessLog, events]
  const observers = new Observers([...own, diagnostics(resolved.name), ...resolved.observers], logger)
  const deadlines = new Deadlines(clock, (error) =>
    logger.error({ err: error }, `an action at its deadline threw: ${describeError(error)}`),
  )
  const groups: ProxyGroups = new Groups({
    groups: resolved.groups,
    clock,
    logger,
    context,
    onBackend: (change) => observers.notify('onBackend', change),
    makePool: ({ pool }) => ('acquire' in pool ? pool : standardPool(pool, { clock, deadlines })),
    checkTarget: resolveTarget,
    destinationOf: (group, { timeouts }) => ({ group, timeouts }),
  })
  const services: Services = {
    thread: context.thread,
    clock,
    deadlines,
    observers,
    logger,
    failures: new FailureLog(clock, logger),
    activity: new Activity(context.counters),
  }
  return {
    core: { services, snapshot: takeSnapshot(1, resolved, (name) => groups.get(name)) },
    events,
    groups,
    accessLog,
  }
}

/** Opens the access log, if any. In a thread, lines for standard output go to the thread that started it. */
function accessLogOf(resolved: ResolvedOptions, clock: Clock, { writeLine }: ThreadContext): AccessLog | null {
  const { accessLog, drainTimeoutMs, logger } = resolved
  if (accessLog.format === 'off') return null
  return openAccessLog({
    format: accessLog.format,
    write: accessLog.write ?? writeLine,
    openStandardOutput: (onError) => lineWriter(1, { onError }),
    clock,
    logger,
    closeTimeoutMs: drainTimeoutMs,
  })
}
