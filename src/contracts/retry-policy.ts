import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'

/** Decides whether a failed attempt that can safely be repeated is repeated. Safety itself is not a policy; see docs/architecture.md. */
export interface RetryPolicy {
  /** Stable label for logs. */
  readonly name: string
  /** An exchange makes its first attempt. */
  onExchange?(): void
  /** Called for a failure that is safe to repeat. @returns the wait before the next attempt in ms (0: at once), or -1 to give up. What it throws, or returns that is neither, is logged, and given up. */
  next(exchange: ExchangeView, error: ProxyError): number
}
