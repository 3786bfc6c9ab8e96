import type { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'

/** Binds the exchanges of one client to one backend (sticky sessions). An error that a method throws is ERR_PROXY_HOOK (500). */
export interface Affinity {
  /** Stable label for logs. */
  readonly name: string
  /**
   * How to handle an exchange whose backend may not serve it: it is removed, disabled, unhealthy, ejected or of weight 0.
   * `rebalance`: the balancer picks another backend, and a retry may go to another one too. `refuse`: the exchange fails with
   * ERR_PROXY_NO_BACKEND (503), and a retry goes to the same backend.
   */
  readonly onLost: 'rebalance' | 'refuse'
  /**
   * The backend to which the exchange is bound, or `null` if there is none yet: then the balancer picks. Called before the balancer,
   * on the first attempt, and with `refuse` on retries too. Hot path: synchronous, no I/O.
   * @param backends all backends of the group, including draining ones, which still serve the clients that are bound to them.
   */
  find(exchange: ExchangeView, backends: readonly Backend[]): Backend | null
  /** Adds the data by which {@link find} will recognise the client. Called before the response head of `backend` goes to the client. */
  bind(backend: Backend, response: HeaderView, exchange: ExchangeView): void
}
