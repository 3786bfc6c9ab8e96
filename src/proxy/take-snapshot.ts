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
  return {
    version,
    router: createResolver(routes, routing.encodedSlashes, looksAtPaths),
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
  const { host, path, exact, methods, transforms, timeouts, interceptors } = route
  return {
    host,
    path,
    exact,
    methods,
    group,
    transforms,
    timeouts,
    handler: compose(interceptors),
  }
}

/** A route that matches everything, without its group and limits. */
export const EVERYTHING = { host: '', path: '/', exact: false, methods: [], transforms: [], handler: null }
