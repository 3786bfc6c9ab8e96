import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { ExchangeRecord } from '../model/record.ts'
import type { ThreadChange } from './executor.ts'

/** The events of a proxy. They inform and carry no control: what a listener throws is logged and changes nothing. */
export interface ProxyEvents {
  /** An exchange has begun. */
  request: (exchange: ExchangeView) => void
  /** It is tried at a backend. */
  attempt: (exchange: ExchangeView, backend: Backend) => void
  /** The attempt failed, and another follows after `delayMs`. */
  retry: (exchange: ExchangeView, error: ProxyError, delayMs: number) => void
  /** The head of a backend's answer goes to the client. */
  response: (exchange: ExchangeView, status: number) => void
  /** A connection was switched to another protocol (WebSocket). */
  upgrade: (exchange: ExchangeView, backend: Backend) => void
  /** An exchange failed, or something went wrong outside of any. With no listener nothing happens. */
  error: (error: ProxyError, exchange: ExchangeView | null) => void
  /** An exchange has ended, however it went; once for each `request`. */
  finish: (exchange: ExchangeView, record: ExchangeRecord) => void
  /** A backend was taken out of the balance for `ms`. */
  eject: (backend: Backend, ms: number, reason: string) => void
  /** It is back. */
  uneject: (backend: Backend) => void
  /** A probe says that a backend does not work: it is out of the balance. In a module of `serveModule()`: only in the thread that probes. */
  unhealthy: (backend: Backend, reason: string) => void
  /** A probe says that it works again. */
  healthy: (backend: Backend, reason: string) => void
  /** A thread of the executor began, retires or ended. */
  thread: (change: ThreadChange) => void
  /** The proxy has closed. */
  close: () => void
}
