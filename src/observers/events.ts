import { EventEmitter } from 'eventemitter3'
import type { ThreadChange } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import type { Backend } from '../model/backend.ts'
import { describeError, type ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { ExchangeRecord } from '../model/record.ts'
import { catchRejection } from '../runtime/callbacks.ts'

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

/** Emits guarded: a listener that throws, or rejects, cannot hurt an exchange, nor keep another listener from being told. */
export class Events {
  readonly emitter: EventEmitter<ProxyEvents>

  constructor(logger: Logger) {
    this.emitter = new GuardedEmitter((event, error) =>
      logger.error({ err: error, event }, `a listener of "${event}" threw: ${describeError(error)}`),
    ) as unknown as EventEmitter<ProxyEvents>
  }

  has(event: keyof ProxyEvents): boolean {
    return this.emitter.listenerCount(event) > 0
  }

  emit<E extends keyof ProxyEvents>(event: E, ...args: Parameters<ProxyEvents[E]>): void {
    // eventemitter3's own type cannot follow a generic event name.
    ;(this.emitter.emit as (event: E, ...args: unknown[]) => boolean).call(this.emitter, event, ...args)
  }
}

type Listener = (...args: unknown[]) => unknown

class GuardedEmitter extends EventEmitter<string> {
  readonly #tell: (event: string, error: unknown) => void
  readonly #guards = new WeakMap<Listener, Map<string, Listener>>()

  constructor(tell: (event: string, error: unknown) => void) {
    super()
    this.#tell = tell
  }

  override on(event: string, listener: Listener): this {
    return super.on(event, this.#guard(event, listener))
  }
  override once(event: string, listener: Listener): this {
    return super.once(event, this.#guard(event, listener))
  }
  override off(event: string, listener: Listener): this {
    return super.off(event, this.#guard(event, listener))
  }

  #guard(event: string, listener: Listener): Listener {
    const guards = this.#guards.get(listener) ?? new Map<string, Listener>()
    this.#guards.set(listener, guards)
    let guard = guards.get(event)
    if (guard === undefined) {
      const tell = (error: unknown): void => this.#tell(event, error)
      guard = (...args) => {
        try {
          catchRejection(listener(...args), tell)
        } catch (error) {
          tell(error)
        }
      }
      guards.set(event, guard)
    }
    return guard
  }
}
