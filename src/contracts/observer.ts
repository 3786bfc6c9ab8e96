import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { Outcome } from '../model/outcome.ts'
import type { ExchangeRecord } from '../model/record.ts'
import type { ThreadChange } from './executor.ts'

/** The parts of an attempt's time, ms; -1 for a part that it did not get to. */
export interface AttemptTimes {
  /** Until the pool gave a connection, without the time that it took to set one up. */
  readonly queueMs: number
  /** To connect, name look-up included; 0 on a kept connection. */
  readonly connectMs: number
  /** The TLS handshake; 0 without one. */
  readonly tlsMs: number
  /** From the connection to the first byte of the response. */
  readonly firstByteMs: number
  /** From there to the end of the attempt. */
  readonly bodyMs: number
}

/** One try at one backend, as observers see it. */
export interface AttemptView {
  readonly exchange: ExchangeView
  readonly backend: Backend
  /** 1 for the first try. */
  readonly number: number
  /** Complete when the attempt has ended. */
  readonly times: AttemptTimes
}

/** A backend's state has changed. */
export interface BackendChange {
  readonly what: 'ejected' | 'unejected' | 'unhealthy' | 'healthy'
  readonly backend: Backend
  readonly group: string
  /** Length of an ejection. */
  readonly ms?: number
  /** In words; empty for `unejected`. */
  readonly reason: string
}

/**
 * Notified of everything that happens in a proxy; never asked. Synchronous, in the async context of the request. Anything that it
 * throws, or rejects with, is logged and changes nothing.
 */
export interface Observer {
  /** Stable label for logs. */
  readonly name: string
  /** Whether a hook is of interest now: what only it would need is not made. Default: all that are there are. */
  wants?(hook: ObserverHook): boolean
  /** An exchange has begun. */
  onRequest?(exchange: ExchangeView): void
  onAttempt?(attempt: AttemptView): void
  onAttemptEnd?(attempt: AttemptView, outcome: Outcome): void
  /** The attempt failed, and another follows after `delayMs`. */
  onRetry?(exchange: ExchangeView, error: ProxyError, delayMs: number): void
  /** The head of a response goes to the client. */
  onResponse?(exchange: ExchangeView, status: number): void
  /** A connection was switched to another protocol (WebSocket). */
  onUpgrade?(exchange: ExchangeView, backend: Backend): void
  /** An exchange failed; `null`: something went wrong outside of any. */
  onError?(error: ProxyError, exchange: ExchangeView | null): void
  /** An exchange has ended, however it went; once for each `onRequest`. */
  onFinish?(exchange: ExchangeView, record: ExchangeRecord): void
  /** A request was refused before there was an exchange. */
  onRefusal?(error: ProxyError, record: ExchangeRecord): void
  onBackend?(change: BackendChange): void
  /** A thread of the executor began, retires or ended. */
  onThread?(change: ThreadChange): void
  onClose?(): void
}

/** A method of an {@link Observer} that is notified. */
export type ObserverHook = Exclude<keyof Observer, 'name' | 'wants'>
