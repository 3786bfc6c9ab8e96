import type { LimitOptions, ResolvedRoute } from '../config/options.ts'
import type { Logger } from '../contracts/logger.ts'
import type { Group } from '../groups/group.ts'
import type { RequestHeaderPolicy } from '../headers/request.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { PathReading } from '../model/path.ts'
import type { ExchangeRecord } from '../model/record.ts'
import type { Events } from '../observers/events.ts'
import type { ReadTarget } from '../routing/target.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Deadlines } from '../runtime/deadlines.ts'
import type { RefusalLog } from './refusals.ts'

/** What every exchange of a proxy shares. */
export interface Parts {
  /** Number of the thread; 0: none of an executor's. */
  readonly thread: number
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly events: Events
  readonly logger: Logger
  /** Diagnostics of what clients do wrong. */
  readonly refusals: RefusalLog
  /** Takes the record of each exchange, or `null` for no access log. */
  readonly accessLog: ((record: ExchangeRecord) => void) | null
  /** Reads a request target: the one way for every front, so that none takes a path for another. `null`: it cannot be passed on. */
  read(method: string, target: string): ReadTarget | null
  /** Makes a path such as stays below what is put before it. */
  confine(path: string): PathReading
  /** The route of a request and its group. @param path the `matched` of what {@link Parts.read} gave. */
  find(method: string, host: string, path: string): Destination | null
  /**
   * Where a request would go, for a front that leaves to others what has no route; `null`: not to us. A request that is going to be
   * refused for its path is ours where one of its readings is.
   * @param isHostSet the application has set `host`: it counts for more than the host of an absolute-form target.
   */
  claim(method: string, target: string, host: string, isHostSet?: boolean): Destination | null
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
export class ProxyState {
  /** `close()` was called, or the thread retires: responses say that their connection ends. */
  isClosing = false
  /** Nothing is accepted any more. */
  isClosed = false
  /** Called when {@link active} falls to 0, while closing. */
  onIdle: (() => void) | null = null
  readonly #counters: Float64Array

  /** @param counters two of them, which another thread may read. */
  constructor(counters: Float64Array) {
    this.#counters = counters
  }

  /** Exchanges since the start. */
  get exchanges(): number {
    return this.#counters[0] ?? 0
  }
  /** Exchanges that have not ended. */
  get active(): number {
    return this.#counters[1] ?? 0
  }

  /** An exchange begins. @returns its number, from 1. */
  begin(): number {
    this.#counters[1] = this.active + 1
    this.#counters[0] = this.exchanges + 1
    return this.exchanges
  }
  end(): void {
    this.#counters[1] = this.active - 1
  }
}

/** Where a request goes. */
export interface Destination {
  readonly route: ResolvedRoute
  readonly group: Group
}
