import type { ResolvedOptions, ResolvedRoute } from '../config/options.ts'
import { compose } from '../exchange/intercept.ts'
import type { Route, Snapshot } from '../exchange/snapshot.ts'
import type { Group } from '../groups/group.ts'
import { trustMatcher } from '../headers/trust.ts'
import { createResolver } from '../routing/resolve.ts'

/** Creates the configuration that exchanges use, with the groups of its routes. @throws any error that an interceptor throws. */
export function takeSnapshot(version: number, resolved: ResolvedOptions, groupOf: (name: string) => Group): Snapshot {
  const { forwarded, hostHeader, limits, looksAtPaths, routing, timeouts, trustedProxies, via, xfwd } = resolved
  const routes = resolved.routes.map((route) => routeOf(route, groupOf(route.group)))
  const destinations = Array.from(
    resolved.groups.values(),
    ({ name, timeouts: own }) => [name, { group: groupOf(name), timeouts: own }] as const,
  )
  return {
    version,
    router: createResolver(routes, routing.encodedSlashes, looksAtPaths),
    destinations: new Map(destinations),
    limits,
    timeouts,
    forwarding: {
      requestHeaders: { xfwd, via, pass: new Set(forwarded.pass) },
      hostHeader,
      via,
      isTrusted: trustMatcher(trustedProxies),
    },
  }
}

function routeOf(route: ResolvedRoute, group: Group): Route {
  const { host, path, exact, methods, transforms, timeouts, ownTimeouts, interceptors } = route
  return {
    host,
    path,
    exact,
    methods,
    group,
    transforms,
    timeouts,
    ownTimeouts,
    interceptors,
    handler: compose(interceptors),
  }
}
