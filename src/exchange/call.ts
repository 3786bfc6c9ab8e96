import type { ProxyError } from '../model/errors.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { Route } from './snapshot.ts'

/** Options of one call that override those of the proxy. */
export interface ExchangeCall {
  /** Used instead of the router's choice. */
  readonly route?: Route | undefined
  readonly timeouts?: Partial<Timeouts> | undefined
  /** Called instead of sending the proxy's own error response, if nothing has been sent to the client yet. */
  readonly onError?: ((error: ProxyError) => void) | undefined
  /** An error in the call itself. */
  readonly fault?: ProxyError | undefined
}
