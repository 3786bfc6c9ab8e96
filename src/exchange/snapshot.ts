import type { Handler } from '../contracts/interceptor.ts'
import type { Transform } from '../contracts/transform.ts'
import type { Group } from '../groups/group.ts'
import type { RequestHeaderPolicy } from '../headers/request.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { Limits } from '../model/limits.ts'
import type { Resolver } from '../routing/resolve.ts'
import type { RouteRule } from '../routing/router.ts'

/** A route at work: what it matches, where it leads, and what is done on the way. */
export interface Route extends RouteRule {
  readonly group: Group
  readonly transforms: readonly Transform[]
  readonly timeouts: Timeouts
  /** Its interceptors, composed around the way to a backend; `null` if it has none. */
  readonly handler: Handler | null
}

/** The configuration that exchanges are carried by: immutable, and replaced whole. */
export interface Snapshot {
  /** Counts up from 1. */
  readonly version: number
  readonly router: Resolver<Route>
  readonly limits: Limits
  /** Limits that hold until a route is found. */
  readonly timeouts: Timeouts
  readonly forwarding: Forwarding
}

/** How heads are passed on. */
export interface Forwarding {
  readonly requestHeaders: RequestHeaderPolicy
  readonly hostHeader: 'client' | 'backend'
  /** Our name in `Via`, or empty. */
  readonly via: string
  /** Whether an address is that of a proxy whose X-Forwarded-* are believed. */
  readonly isTrusted: (address: string) => boolean
}
