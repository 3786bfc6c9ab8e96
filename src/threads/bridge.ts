import type { EventEmitter } from 'eventemitter3'
import { fieldValue } from '../http1/fields.ts'
import { Backend } from '../model/backend.ts'
import { describeError, type Phase, ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { ExchangeView, HeaderList, Timeouts } from '../model/exchange-view.ts'
import type { Events, ProxyEvents } from '../observers/events.ts'

/** Events of a proxy in a thread that are told in the one that started it. */
export const FORWARDED: readonly (keyof ProxyEvents)[] = [
  'request',
  'attempt',
  'retry',
  'response',
  'upgrade',
  'error',
  'finish',
  'eject',
  'uneject',
  'unhealthy',
  'healthy',
]

type Plain =
  | { readonly kind: 'exchange'; readonly view: PlainView }
  | { readonly kind: 'backend'; readonly id: string; readonly url: string }
  | { readonly kind: 'error'; readonly error: PlainError }
  | { readonly kind: 'value'; readonly value: unknown }

interface PlainView {
  readonly id: number
  readonly method: string
  readonly target: string
  readonly host: string
  readonly clientAddress: string
  readonly headers: HeaderList
  readonly upgrade: string | null
  readonly group: string
  readonly attempts: number
  readonly timeouts: Timeouts
}

interface PlainError {
  readonly code: ProxyErrorCode
  readonly message: string
  readonly phase: Phase
  readonly backend: string | null
  readonly attempt: number
  readonly blamesBackend: boolean
  readonly cause: string | null
}

/** An argument of an event as data that can be cloned. */
export function toPlain(value: unknown): Plain {
  if (value instanceof Backend) return { kind: 'backend', id: value.id, url: value.url.href }
  if (value instanceof ProxyError) {
    const { code, message, phase, backend, attempt, blamesBackend, cause } = value
    const why = cause === undefined ? null : describeError(cause)
    const error = { code, message, phase, backend: backend?.id ?? null, attempt, blamesBackend, cause: why }
    return { kind: 'error', error }
  }
  if (isView(value)) {
    const { id, method, target, host, clientAddress, headers, upgrade, group, attempts, timeouts } = value
    const view = { id, method, target, host, clientAddress, headers: [...headers], upgrade, group, attempts, timeouts }
    return { kind: 'exchange', view }
  }
  return { kind: 'value', value }
}

/** The argument again; an exchange is as it was when the event happened. */
export function fromPlain(plain: Plain, findBackend: (id: string) => Backend | null): unknown {
  switch (plain.kind) {
    case 'backend':
      // It may be gone by now.
      return findBackend(plain.id) ?? new Backend(plain)
    case 'error': {
      const { code, message, phase, backend, attempt, blamesBackend, cause } = plain.error
      const found = backend === null ? null : findBackend(backend)
      return new ProxyError(code, message, {
        phase,
        attempt,
        blamesBackend,
        backend: found,
        ...(cause !== null && { cause: new Error(cause) }),
      })
    }
    case 'exchange':
      return new RemoteExchange(plain.view)
    default:
      return plain.value
  }
}

/** An exchange of another thread, as it was at one moment. */
class RemoteExchange implements ExchangeView {
  readonly id: number
  readonly method: string
  readonly target: string
  readonly host: string
  readonly clientAddress: string
  readonly headers: Readonly<HeaderList>
  readonly upgrade: string | null
  readonly group: string
  readonly attempts: number
  readonly timeouts: Timeouts

  constructor(view: PlainView) {
    this.id = view.id
    this.method = view.method
    this.target = view.target
    this.host = view.host
    this.clientAddress = view.clientAddress
    this.headers = view.headers
    this.upgrade = view.upgrade
    this.group = view.group
    this.attempts = view.attempts
    this.timeouts = view.timeouts
  }

  /** Never aborted: what happens in the other thread is not known here. */
  get signal(): AbortSignal {
    return new AbortController().signal
  }

  header(name: string): string | undefined {
    return fieldValue(this.headers, name)
  }
}

/** Makes what lets another thread hear a proxy's events: only those that it asks for cost anything. */
export function forwarder(
  events: Events,
): (wanted: readonly string[], tell: (event: string, args: readonly unknown[]) => void) => void {
  const listeners = new Map<string, (...args: unknown[]) => void>()
  const emitter = events.emitter as unknown as EventEmitter<string>
  return (wanted, tell) => {
    for (const [event, listener] of listeners) emitter.off(event, listener)
    listeners.clear()
    for (const event of wanted) {
      const listener = (...args: unknown[]): void => tell(event, args.map(toPlain))
      listeners.set(event, listener)
      emitter.on(event, listener)
    }
  }
}

function isView(value: unknown): value is ExchangeView {
  return typeof value === 'object' && value !== null && 'clientAddress' in value && 'header' in value
}
