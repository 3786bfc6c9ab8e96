import type { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { Outcome } from '../model/outcome.ts'

/** At least one backend, in the order of the configuration. Requests get the same array object until something changes. */
export type Candidates = readonly [Backend, ...Backend[]]

/** Chooses the backend for one attempt. */
export interface Balancer {
  /** Stable label for logs and metrics, such as `power-of-two`. */
  readonly name: string
  /**
   * With threads: a pick that collides with one of another thread is undone and repeated, so that no two picks use the same
   * counts. Each pick then contends for one memory location. Default `false`: a count may be late by one request.
   */
  readonly isExact?: boolean | undefined
  /**
   * Chooses one of `candidates`, which are available and untried by this exchange; there is at least one. Hot path: synchronous, no
   * I/O. An error, or any other return value, is ERR_PROXY_HOOK (500).
   */
  pick(candidates: Candidates, exchange: ExchangeView): Backend
  /**
   * {@link pick} for a retry in a large group: chooses one of `candidates` that is not in `tried`; there is at least one. `candidates`
   * is the array that first attempts get, so that no array is created for a retry. Without this method, and in small groups, `pick`
   * is called with a new array of the untried backends.
   */
  pickUntried?(candidates: Candidates, tried: readonly Backend[], exchange: ExchangeView): Backend
  /** An attempt begins at `backend`; `backend.pending` already counts it. */
  onStart?(backend: Backend, exchange: ExchangeView): void
  /** The attempt has ended (its last byte was sent) or failed; `backend.pending` no longer counts it. */
  onEnd?(backend: Backend, outcome: Outcome): void
  /**
   * The group's backends have changed to these, available or not. Also called once before the first pick: an error that it throws
   * then is thrown by `createProxy()`. Later errors are logged.
   */
  onChange?(backends: readonly Backend[]): void
}
