import type { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { Outcome } from '../model/outcome.ts'

/** At least one backend, in the order of the configuration. The array is the same object from one request to the next while nothing has changed. */
export type Candidates = readonly [Backend, ...Backend[]]

/** Chooses the backend for one attempt. */
export interface Balancer {
  /** Stable label for logs and metrics, such as `power-of-two`. */
  readonly name: string
  /**
   * With threads: a pick that another thread's has met is taken back and made again, so that no two are made on the same
   * counts. Threads then meet at one place of memory for each pick. Default `false`: a count may be a request behind.
   */
  readonly isExact?: boolean
  /** One of `candidates`: available, untried by this exchange, never empty. Hot path: synchronous, no I/O. What it throws, and anything but one of them, is ERR_PROXY_HOOK (500). */
  pick(candidates: Candidates, exchange: ExchangeView): Backend
  /**
   * {@link pick} for a retry in a large group: one of `candidates` that is not in `tried`; there is at least one. `candidates` is the
   * array that first attempts get, so that nothing need be built for a retry. Without this method, and in small groups, `pick` is
   * called with an array of the untried ones, made for the retry.
   */
  pickUntried?(candidates: Candidates, tried: readonly Backend[], exchange: ExchangeView): Backend
  /** An attempt begins at `backend`; `backend.pending` counts it already. */
  onStart?(backend: Backend, exchange: ExchangeView): void
  /** The last byte of the attempt is gone, or it failed; `backend.pending` has fallen already. */
  onEnd?(backend: Backend, outcome: Outcome): void
  /** The group's backends are now these, available or not. Called once before the first pick: what it throws then comes out of `createProxy()`, and later is logged. */
  onChange?(backends: readonly Backend[]): void
}
