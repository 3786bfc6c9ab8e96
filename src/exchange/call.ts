import type { ProxyError } from '../model/errors.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { Route } from './snapshot.ts'

/** What one call may say differently. */
export interface ExchangeCall {
  /** Goes there in place of asking the router. */
  readonly route?: Route | undefined
  readonly timeouts?: Partial<Timeouts> | undefined
  /** Called in place of our own response, if nothing has been sent to the client yet. */
  readonly onError?: ((error: ProxyError) => void) | undefined
  /** What is wrong with the call itself. */
  readonly fault?: ProxyError | undefined
}
