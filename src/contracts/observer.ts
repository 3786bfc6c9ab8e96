import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { Outcome } from '../model/outcome.ts'
import type { ExchangeRecord } from '../model/record.ts'
import type { ThreadChange } from './executor.ts'

/** The parts of an attempt's time, ms; -1 for a part that it did not reach. */
export interface AttemptTimes {
  /** Wait for a connection from the pool, without the time to set one up. */
  readonly queueMs: number
  /** Time to connect, including name look-up; 0 on a kept connection. */
  readonly connectMs: number
  /** Time of the TLS handshake; 0 if there was none. */
  readonly tlsMs: number
  /** From the lease of the connection to the first byte of the response. */
  readonly firstByteMs: number
  /** From the first byte to the end of the attempt. */
  readonly bodyMs: number
}

/** One attempt at one backend, as observers see it. */
export interface AttemptView {
  readonly exchange: ExchangeView
  readonly backend: Backend
  /** 1 for the first attempt. */
  readonly number: number
  /** Complete after the attempt has ended. */
  readonly times: AttemptTimes
}

/** A backend's state has changed. */
export interface BackendChange {
  readonly what: 'ejected' | 'unejected' | 'unhealthy' | 'healthy'
  readonly backend: Backend
  readonly group: string
  /** Length of an ejection, ms. */
  readonly ms?: number
  /** Explanation in words; empty for `unejected`. */
  readonly reason: string
}

/**
 * Notified of everything that happens in a proxy; it decides nothing. Synchronous, in the async context of the request. Errors that
 * it throws, and rejections, are logged and have no effect.
 */
export interface Observer {
  /** Stable label for logs. */
  readonly name: string
  /** Whether it needs a hook now. If not, data only for that hook is not created. Default: it needs every hook that it has. */
  wants?(hook: ObserverHook): boolean
  /** An exchange has begun. */
  onRequest?(exchange: ExchangeView): void
  onAttempt?(attempt: AttemptView): void
  onAttemptEnd?(attempt: AttemptView, outcome: Outcome): void
  /** An attempt failed, and a retry follows after `delayMs`. */
  onRetry?(exchange: ExchangeView, error: ProxyError, delayMs: number): void
  /** The head of a response goes to the client. */
  onResponse?(exchange: ExchangeView, status: number): void
  /** A connection was switched to another protocol (WebSocket). */
  onUpgrade?(exchange: ExchangeView, backend: Backend): void
  /** An exchange failed; `null`: an error occurred outside any exchange. */
  onError?(error: ProxyError, exchange: ExchangeView | null): void
  /** An exchange has ended, in success or failure; once for each `onRequest`. */
  onFinish?(exchange: ExchangeView, record: ExchangeRecord): void
  /** A request was refused before there was an exchange. */
  onRefusal?(error: ProxyError, record: ExchangeRecord): void
  onBackend?(change: BackendChange): void
  /** A thread of the executor has started, is retiring or has ended. */
  onThread?(change: ThreadChange): void
  onClose?(): void
}

/** Name of an {@link Observer} method that receives notifications. */
export type ObserverHook = Exclude<keyof Observer, 'name' | 'wants'>
