import type { ResolvedGroup, ResolvedOptions } from '../config/options.ts'
import { RefusalLog } from '../exchange/refusals.ts'
import { type Destination, type Parts, ProxyState } from '../exchange/services.ts'
import { Groups } from '../groups/registry.ts'
import { trustMatcher } from '../headers/trust.ts'
import { describeError } from '../model/errors.ts'
import { confinePath, withSlashesDecoded } from '../model/path.ts'
import { type AccessLog, openAccessLog } from '../observers/access-log.ts'
import { Events } from '../observers/events.ts'
import { http1Pool } from '../pools/http1/pool.ts'
import { createRouter } from '../routing/router.ts'
import { readTarget } from '../routing/target.ts'
import { inThisContext } from '../runtime/clock.ts'
import { Deadlines } from '../runtime/deadlines.ts'
import type { ThreadContext } from '../threads/context.ts'

/** What a proxy is made of, before anything serves it. */
export interface Built {
  readonly parts: Parts
  readonly groups: Groups<ResolvedGroup, Destination>
  readonly accessLog: AccessLog | null
}

/** Puts the rooms together. */
export function assemble(resolved: ResolvedOptions, context: ThreadContext): Built {
  const { logger, xfwd, via, forwarded, hostHeader, limits, timeouts } = resolved
  const { encodedSlashes } = resolved.routing
  const clock = inThisContext(resolved.clock)
  const events = new Events(logger)
  const deadlines = new Deadlines(clock, (error) =>
    logger.error({ err: error }, `what was to end at its time threw: ${describeError(error)}`),
  )
  const groups = new Groups<ResolvedGroup, Destination>({
    groups: resolved.groups,
    clock,
    logger,
    context,
    events: {
      eject: (backend, ms, reason) => events.emit('eject', backend, ms, reason),
      uneject: (backend) => events.emit('uneject', backend),
      unhealthy: (backend, reason) => events.emit('unhealthy', backend, reason),
      healthy: (backend, reason) => events.emit('healthy', backend, reason),
    },
    makePool: ({ pool }) => ('acquire' in pool ? pool : http1Pool(pool, { clock, deadlines })),
    destinationOf: (group, { timeouts }) => ({ group, route: everything(group.name, timeouts) }),
  })
  const router = createRouter(resolved.routes)
  const accessLog = openAccessLog(resolved, context.writeLine)
  const parts: Parts = {
    thread: context.thread,
    clock,
    deadlines,
    events,
    logger,
    refusals: new RefusalLog(clock, logger),
    accessLog: accessLog?.write ?? null,
    read: (method, target) => readTarget(method, target, resolved.looksAtPaths ? encodedSlashes : null),
    confine: (path) => confinePath(path, encodedSlashes),
    find(method, host, path) {
      const route = router.match(method, host, path)
      return route === null ? null : { route, group: groups.get(route.group) }
    },
    claim(method, target, host, isHostSet) {
      const read = parts.read(method, target)
      // What cannot be read is ours to refuse.
      if (read === null) return parts.find(method, '', '/')
      const { matched, fault } = read
      const name = isHostSet ? host : (read.host ?? host)
      const decoded = fault === null ? null : parts.find(method, name, withSlashesDecoded(matched))
      return decoded ?? parts.find(method, name, matched)
    },
    headerPolicy: { xfwd, via, pass: new Set(forwarded.pass) },
    hostHeader,
    via,
    limits,
    timeouts,
    isTrusted: trustMatcher(resolved.trustedProxies),
    state: new ProxyState(context.counters),
  }
  return { parts, groups, accessLog }
}

/** The route of what goes to a group, whatever the routes say. */
function everything(group: string, timeouts: ResolvedGroup['timeouts']): Destination['route'] {
  return { host: '', path: '/', exact: false, methods: [], group, transforms: [], timeouts }
}
