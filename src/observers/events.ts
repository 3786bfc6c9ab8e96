import { EventEmitter } from 'eventemitter3'
import type { ProxyEvents } from '../contracts/events.ts'
import type { ThreadChange } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import type { AttemptView, BackendChange, Observer, ObserverHook } from '../contracts/observer.ts'
import type { Backend } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { ExchangeRecord } from '../model/record.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'

/** The events that each hook emits. */
const EVENTS: Readonly<Partial<Record<ObserverHook, readonly (keyof ProxyEvents)[]>>> = {
  onRequest: ['request'],
  onAttempt: ['attempt'],
  onRetry: ['retry'],
  onResponse: ['response'],
  onUpgrade: ['upgrade'],
  onError: ['error'],
  onFinish: ['finish'],
  onBackend: ['eject', 'uneject', 'unhealthy', 'healthy'],
  onThread: ['thread'],
  onClose: ['close'],
}

/** Emits the events of a proxy. A listener that throws, or rejects, can hurt neither an exchange nor another listener. */
export class Events implements Observer {
  readonly name = 'events'
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

  wants(hook: ObserverHook): boolean {
    const events = EVENTS[hook]
    if (events === undefined) return false
    for (const event of events) if (this.has(event)) return true
    return false
  }

  onRequest(exchange: ExchangeView): void {
    this.emit('request', exchange)
  }
  onAttempt({ exchange, backend }: AttemptView): void {
    this.emit('attempt', exchange, backend)
  }
  onRetry(exchange: ExchangeView, error: ProxyError, delayMs: number): void {
    this.emit('retry', exchange, error, delayMs)
  }
  onResponse(exchange: ExchangeView, status: number): void {
    this.emit('response', exchange, status)
  }
  onUpgrade(exchange: ExchangeView, backend: Backend): void {
    this.emit('upgrade', exchange, backend)
  }
  onError(error: ProxyError, exchange: ExchangeView | null): void {
    this.emit('error', error, exchange)
  }
  onFinish(exchange: ExchangeView, record: ExchangeRecord): void {
    this.emit('finish', exchange, record)
  }
  onBackend({ what, backend, ms = 0, reason }: BackendChange): void {
    if (what === 'ejected') this.emit('eject', backend, ms, reason)
    else if (what === 'unejected') this.emit('uneject', backend)
    else this.emit(what, backend, reason)
  }
  onThread(change: ThreadChange): void {
    this.emit('thread', change)
  }
  onClose(): void {
    this.emit('close')
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
