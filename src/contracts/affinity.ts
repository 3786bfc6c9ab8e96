import type { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'

/** Keeps the exchanges of one client with one backend (sticky sessions). What a method throws is ERR_PROXY_HOOK (500). */
export interface Affinity {
  /** Stable label for logs. */
  readonly name: string
  /**
   * What becomes of an exchange whose backend may not serve it: it is gone, disabled, unhealthy, ejected or of weight 0.
   * `rebalance`: the balancer picks another one, and a retry may go to another one, too. `refuse`: ERR_PROXY_NO_BACKEND (503), and
   * a retry goes to the same one.
   */
  readonly onLost: 'rebalance' | 'refuse'
  /**
   * The backend that the exchange belongs to, or `null` for none yet: then the balancer picks. Asked before the balancer, on the
   * first attempt. Hot path: synchronous, no I/O.
   * @param backends all of the group, draining ones included: those still serve what belongs to them.
   */
  find(exchange: ExchangeView, backends: readonly Backend[]): Backend | null
  /** The response head of `backend` has come and goes to the client next: add what {@link find} will know the client by. */
  bind(backend: Backend, response: HeaderView, exchange: ExchangeView): void
}
