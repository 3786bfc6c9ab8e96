import type { Logger } from '../contracts/logger.ts'
import type { Observer, ObserverHook } from '../contracts/observer.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Deadlines } from '../runtime/deadlines.ts'
import type { RefusalLog } from './refusals.ts'
import type { Snapshot } from './snapshot.ts'

/** The parts of a proxy that live as long as it does. */
export interface Services {
  /** Number of the thread; 0: none of an executor's. */
  readonly thread: number
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly observers: Notifier
  readonly logger: Logger
  /** Diagnostics of what clients do wrong. */
  readonly refusals: RefusalLog
  readonly activity: Activity
}

/** The observers of a proxy, as one. Guarded: nothing comes out of it. */
export interface Notifier {
  /** Somebody wants to be notified. Ask before making what only observers need. */
  has(hook: ObserverHook): boolean
  notify<Hook extends ObserverHook>(hook: Hook, ...args: Parameters<NonNullable<Observer[Hook]>>): void
}

/** A proxy as its fronts see it. */
export interface Core {
  readonly services: Services
  /** The current one. An update replaces it whole; an exchange keeps the one that it began with. */
  snapshot: Snapshot
}

/** The exchanges of a proxy, and whether it takes more of them. */
export class Activity {
  /** `close()` was called, or the thread retires: responses say that their connection ends. */
  isClosing = false
  /** Nothing is accepted any more. */
  isClosed = false
  /** Exchanges whose routes have interceptors: without a backend, nothing else ends them when the proxy is closed. */
  readonly intercepted = new Set<{ onClosed(): void }>()
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

  /** Accepts nothing any more, and waits for no interceptor. */
  close(): void {
    this.isClosed = true
    for (const one of this.intercepted) one.onClosed()
  }
}
