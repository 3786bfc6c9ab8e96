import type { Logger } from '../contracts/logger.ts'
import type { Observer, ObserverHook } from '../contracts/observer.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'

type Arguments<Hook extends ObserverHook> = Parameters<NonNullable<Observer[Hook]>>

/** The observers of a proxy: each is guarded, so that none can hurt an exchange or keep another from being notified. */
export class Observers {
  readonly #logger: Logger
  /** The observers that have a hook, by hook. */
  readonly #byHook = new Map<ObserverHook, readonly Observer[]>()

  constructor(observers: readonly Observer[], logger: Logger) {
    this.#logger = logger
    for (const hook of HOOKS) {
      const having = observers.filter((observer) => typeof observer[hook] === 'function')
      if (having.length > 0) this.#byHook.set(hook, having)
    }
  }

  /** Whether an observer wants to be notified. Ask before creating values that only observers need. */
  has(hook: ObserverHook): boolean {
    const observers = this.#byHook.get(hook)
    if (observers === undefined) return false
    for (const observer of observers) if (this.#wants(observer, hook)) return true
    return false
  }

  notify<Hook extends ObserverHook>(hook: Hook, ...args: Arguments<Hook>): void {
    for (const observer of this.#byHook.get(hook) ?? []) {
      if (!this.#wants(observer, hook)) continue
      const note = (error: unknown): void => this.#note(observer, hook, error)
      try {
        catchRejection((observer[hook] as (...args: unknown[]) => unknown)(...args), note)
      } catch (error) {
        note(error)
      }
    }
  }

  #wants(observer: Observer, hook: ObserverHook): boolean {
    if (observer.wants === undefined) return true
    try {
      return observer.wants(hook)
    } catch (error) {
      this.#note(observer, hook, error)
      return false
    }
  }

  #note({ name }: Observer, hook: ObserverHook, error: unknown): void {
    this.#logger.error({ err: error, observer: name }, `observer ${name} threw in ${hook}: ${describeError(error)}`)
  }
}

const HOOKS: readonly ObserverHook[] = [
  'onRequest',
  'onAttempt',
  'onAttemptEnd',
  'onRetry',
  'onResponse',
  'onUpgrade',
  'onError',
  'onFinish',
  'onRefusal',
  'onBackend',
  'onThread',
  'onClose',
]
