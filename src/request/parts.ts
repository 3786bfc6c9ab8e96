import type { Logger } from '../contracts/logger.ts'
import type { Clock } from '../model/clock.ts'
import type { Deadlines } from '../model/deadlines.ts'
import type { Timeouts } from '../model/exchange.ts'
import type { ExchangeRecord } from '../model/record.ts'
import type { LimitOptions, ResolvedRoute } from '../options.ts'
import type { Events } from './events.ts'
import type { Group } from './group.ts'
import type { RequestHeaderPolicy } from './request-headers.ts'
import type { Router } from './router.ts'

/** What every exchange of a proxy shares. */
export interface Parts {
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly events: Events
  readonly logger: Logger
  /** Takes the record of each exchange, or `null` for no access log. */
  readonly accessLog: ((record: ExchangeRecord) => void) | null
  readonly router: Router
  /** The route of a request and its group. */
  find(method: string, host: string, path: string): Destination | null
  readonly headerPolicy: RequestHeaderPolicy
  readonly hostHeader: 'client' | 'backend'
  readonly via: string
  readonly limits: Readonly<Required<LimitOptions>>
  readonly timeouts: Timeouts
  /** Whether an address is that of a proxy whose X-Forwarded-* are believed. */
  readonly isTrusted: (address: string) => boolean
  readonly state: ProxyState
}

/** The few things of a proxy that change. */
export interface ProxyState {
  /** Exchanges since the start. */
  exchanges: number
  /** Exchanges that have not ended. */
  active: number
  /** `close()` was called: responses say that their connection ends. */
  isClosing: boolean
  /** Nothing is accepted any more. */
  isClosed: boolean
  /** Called when {@link active} falls to 0, while closing. */
  onIdle: (() => void) | null
}

/** Where a request goes. */
export interface Destination {
  readonly route: ResolvedRoute
  readonly group: Group
}
