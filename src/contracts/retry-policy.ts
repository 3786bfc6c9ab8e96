import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'

/** Decides whether to retry a failed attempt that is safe to retry. Safety itself is not a policy; see docs/architecture.md. */
export interface RetryPolicy {
  /** Stable label for logs. */
  readonly name: string
  /** An exchange begins its first attempt. */
  onExchange?(): void
  /**
   * Called for a failure that is safe to retry. @returns the wait before the retry, ms (0: at once), or -1 to give up. An error, or
   * an invalid return value, is logged, and there is no retry.
   */
  next(exchange: ExchangeView, error: ProxyError): number
}
