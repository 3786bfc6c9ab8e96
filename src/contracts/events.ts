import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { ExchangeRecord } from '../model/record.ts'
import type { ThreadChange } from './executor.ts'

/** The events of a proxy. They are notifications only: an error that a listener throws is logged and has no effect. */
export interface ProxyEvents {
  /** An exchange has begun. */
  request: (exchange: ExchangeView) => void
  /** An attempt at a backend begins. */
  attempt: (exchange: ExchangeView, backend: Backend) => void
  /** An attempt failed, and a retry follows after `delayMs`. */
  retry: (exchange: ExchangeView, error: ProxyError, delayMs: number) => void
  /** The head of a response goes to the client. */
  response: (exchange: ExchangeView, status: number) => void
  /** A connection was switched to another protocol (WebSocket). */
  upgrade: (exchange: ExchangeView, backend: Backend) => void
  /** An exchange failed, or (with `null`) an error occurred outside any exchange. Without a listener nothing happens. */
  error: (error: ProxyError, exchange: ExchangeView | null) => void
  /** An exchange has ended, in success or failure; once for each `request`. */
  finish: (exchange: ExchangeView, record: ExchangeRecord) => void
  /** A backend was ejected: it gets no requests for `ms`. */
  eject: (backend: Backend, ms: number, reason: string) => void
  /** The ejection of a backend has ended. */
  uneject: (backend: Backend) => void
  /** A probe found a backend unhealthy: it gets no requests. In a module of `serveModule()`: only in the thread that probes. */
  unhealthy: (backend: Backend, reason: string) => void
  /** A probe found the backend healthy after it was unhealthy. */
  healthy: (backend: Backend, reason: string) => void
  /** A thread of the executor has started, is retiring or has ended. */
  thread: (change: ThreadChange) => void
  /** The proxy has closed. */
  close: () => void
}
