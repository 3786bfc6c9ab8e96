import type { Logger } from '../contracts/logger.ts'
import type { Observer, ObserverHook } from '../contracts/observer.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Deadlines } from '../runtime/deadlines.ts'
import type { FailureLog } from './failure-log.ts'
import type { Snapshot } from './snapshot.ts'

/** The parts of a proxy that live as long as it does. */
export interface Services {
  /** Number of the executor's thread; 0: not in a thread of an executor. */
  readonly thread: number
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly observers: Notifier
  readonly logger: Logger
  /** Log of failed requests, limited in rate. */
  readonly failures: FailureLog
  readonly activity: Activity
}

/** All observers of a proxy. It catches the errors that they throw. */
export interface Notifier {
  /** Whether an observer has this hook. Check it before creating arguments that only observers need. */
  has(hook: ObserverHook): boolean
  notify<Hook extends ObserverHook>(hook: Hook, ...args: Parameters<NonNullable<Observer[Hook]>>): void
}

/** A proxy as its fronts see it. */
export interface Core {
  readonly services: Services
  /** The current configuration. An update replaces it whole; an exchange keeps the one with which it began. */
  snapshot: Snapshot
}

/** Counts the exchanges of a proxy, and says whether it accepts more. */
export class Activity {
  /** `close()` was called, or the thread retires: responses announce that their connection ends. */
  isClosing = false
  /** No exchange is accepted any more. */
  isClosed = false
  /** Exchanges whose routes have interceptors. While one has no backend, nothing else ends it when the proxy is closed. */
  readonly intercepted = new Set<{ onClosed(): void }>()
  /** Called when {@link active} falls to 0. `null` unless something waits for that. */
  onIdle: (() => void) | null = null
  readonly #counters: Float64Array

  /** @param counters two numbers, which another thread may read. */
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

  /** Counts a new exchange. @returns its number, from 1. */
  begin(): number {
    this.#counters[1] = this.active + 1
    this.#counters[0] = this.exchanges + 1
    return this.exchanges
  }
  end(): void {
    this.#counters[1] = this.active - 1
  }

  /** Stops accepting exchanges, and waits for no interceptor. */
  close(): void {
    this.isClosed = true
    for (const one of this.intercepted) one.onClosed()
  }
}
