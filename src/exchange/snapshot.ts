import type { Handler, Interceptor } from '../contracts/interceptor.ts'
import type { Transform } from '../contracts/transform.ts'
import type { Group } from '../groups/group.ts'
import type { RequestHeaderPolicy } from '../headers/request.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { Limits } from '../model/limits.ts'
import type { Resolver } from '../routing/resolve.ts'
import type { RouteRule } from '../routing/router.ts'

/** Where requests go. */
export interface Destination {
  readonly group: Group
  readonly timeouts: Timeouts
}

/** A route in use: its rule, its destination, and the steps in between. */
export interface Route extends RouteRule, Destination {
  readonly transforms: readonly Transform[]
  /** Its own time limits, which override those of any destination. */
  readonly ownTimeouts: Partial<Timeouts>
  readonly interceptors: readonly Interceptor[]
  /** Its composed interceptors, which run around the attempts; `null` if it has none. */
  readonly handler: Handler | null
}

/** The configuration that exchanges use: immutable, and replaced whole. */
export interface Snapshot {
  /** Counts up from 1. */
  readonly version: number
  readonly router: Resolver<Route>
  /** The groups by name. */
  readonly destinations: ReadonlyMap<string, Destination>
  readonly limits: Limits
  /** Time limits that apply until a route is found. */
  readonly timeouts: Timeouts
  readonly forwarding: Forwarding
}

/** How message heads are forwarded. */
export interface Forwarding {
  readonly requestHeaders: RequestHeaderPolicy
  readonly hostHeader: 'client' | 'backend'
  /** The proxy's name in `Via`; empty for none. */
  readonly via: string
  /** Whether an address belongs to a proxy whose X-Forwarded-* headers are trusted. */
  readonly isTrusted: (address: string) => boolean
}
