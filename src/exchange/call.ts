import type { ProxyError } from '../model/errors.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { Destination, Route, Snapshot } from './snapshot.ts'

/** Options of one call that override those of the proxy. */
export interface ExchangeCall {
  /** Chooses the route of the request. @param found the router's choice. @returns `null` if no route matches. */
  readonly routeFor?: ((found: Route | null) => Route | ProxyError | null) | undefined
  /** The path that the call sends; it is then judged in place of the request's target. */
  readonly path?: string | undefined
  readonly hostHeader?: 'client' | 'backend' | undefined
  readonly timeouts?: Partial<Timeouts> | undefined
  /** Shown to hooks. */
  readonly context?: unknown
  /** Called instead of sending the proxy's own error response, if nothing has been sent to the client yet. */
  readonly onError?: ((error: ProxyError) => void) | undefined
  /** An error in the call itself. */
  readonly fault?: ProxyError | undefined
}

/** The destination of a group, by its name. @throws RangeError if there is none. */
export function destinationNamed({ destinations }: Snapshot, name: string): Destination {
  const destination = destinations.get(name)
  if (destination !== undefined) return destination
  const names = Array.from(destinations.keys(), (known) => JSON.stringify(known)).join(', ')
  throw new RangeError(`there is no group ${JSON.stringify(name)}; the groups are ${names}`)
}

/** The route with another destination. Time limits of its own stay. */
export function withDestination(route: Route, { group, timeouts }: Destination): Route {
  return { ...route, group, timeouts: { ...timeouts, ...route.ownTimeouts } }
}
