import { type AccessLog, openAccessLog } from './access-log.ts'
import { Groups } from './groups.ts'
import { inThisContext } from './model/clock.ts'
import { Deadlines } from './model/deadlines.ts'
import type { ResolvedOptions } from './options.ts'
import { Events } from './request/events.ts'
import { type Parts, ProxyState } from './request/parts.ts'
import { createRouter } from './request/router.ts'
import { trustMatcher } from './request/trusted.ts'
import type { ThreadContext } from './thread-context.ts'

/** What a proxy is made of, before anything serves it. */
export interface Built {
  readonly parts: Parts
  readonly groups: Groups
  readonly accessLog: AccessLog | null
}

/** Puts the rooms together. */
export function buildParts(resolved: ResolvedOptions, context: ThreadContext): Built {
  const { logger, xfwd, via, hostHeader, limits, timeouts } = resolved
  const clock = inThisContext(resolved.clock)
  const events = new Events(logger)
  const deadlines = new Deadlines(clock)
  const groups = new Groups({ ...resolved, clock }, context, events, deadlines)
  const router = createRouter(resolved.routes)
  const accessLog = openAccessLog(resolved, context.writeLine)
  const parts: Parts = {
    thread: context.thread,
    clock,
    deadlines,
    events,
    logger,
    accessLog: accessLog?.write ?? null,
    router,
    find(method, host, path) {
      const route = router.match(method, host, path.includes('?') ? path.slice(0, path.indexOf('?')) : path)
      return route === null ? null : { route, group: groups.get(route.group) }
    },
    headerPolicy: { xfwd, via },
    hostHeader,
    via,
    limits,
    timeouts,
    isTrusted: trustMatcher(resolved.trustedProxies),
    state: new ProxyState(context.counters),
  }
  return { parts, groups, accessLog }
}
