import type { EventEmitter } from 'eventemitter3'
import type { ProxyEvents } from '../contracts/events.ts'
import { fieldValue } from '../http1/fields.ts'
import { Backend } from '../model/backend.ts'
import { type Phase, ProxyError, type ProxyErrorCode } from '../model/errors.ts'
import type { ExchangeView, HeaderList, Timeouts } from '../model/exchange-view.ts'
import { describeError } from '../runtime/describe-error.ts'

/** Events of a proxy in a thread that are forwarded to the proxy in the main thread. */
export const FORWARDED = [
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
] as const satisfies readonly (keyof ProxyEvents)[]

/** The events of a proxy, as far as the bridge needs them. */
export interface EventHub {
  readonly emitter: EventEmitter<ProxyEvents>
  emit<E extends keyof ProxyEvents>(event: E, ...args: Parameters<ProxyEvents[E]>): void
}

/** One of {@link FORWARDED}. */
export type ForwardedEvent = (typeof FORWARDED)[number]

/** An event as cloneable data. */
export interface PlainEvent {
  readonly event: ForwardedEvent
  readonly args: readonly PlainValue[]
}

/** An argument of any of the events. */
type EventArgument = Parameters<ProxyEvents[ForwardedEvent]>[number]

type PlainValue =
  | { readonly kind: 'exchange'; readonly view: PlainView }
  | ({ readonly kind: 'backend' } & PlainBackend)
  | { readonly kind: 'error'; readonly error: PlainError }
  /** Cloneable as it is. */
  | { readonly kind: 'value'; readonly value: Exclude<EventArgument, ExchangeView | Backend | ProxyError> }

interface PlainBackend {
  readonly id: string
  readonly url: string
}

interface PlainView {
  readonly id: number
  readonly method: string
  readonly target: string
  readonly path: string
  readonly host: string
  readonly protocol: 'http' | 'https'
  readonly clientAddress: string
  readonly clientCertificate: ExchangeView['clientCertificate']
  readonly headers: HeaderList
  readonly upgrade: string | null
  readonly group: string
  readonly attempts: number
  readonly isRetry: boolean
  readonly backend: PlainBackend | null
  readonly timeouts: Timeouts
}

interface PlainError {
  readonly code: ProxyErrorCode
  readonly message: string
  readonly phase: Phase
  readonly backend: string | null
  readonly attempt: number
  readonly blamesBackend: boolean
  readonly streamCode: number
  readonly cause: string | null
}

/**
 * Makes the function by which another thread subscribes to a proxy's events. `notify` gets the events in `wanted`; the others
 * cost nothing.
 */
export function eventForwarder(
  events: EventHub,
): (wanted: readonly ForwardedEvent[], notify: (event: PlainEvent) => void) => void {
  const listeners = new Map<ForwardedEvent, (...args: EventArgument[]) => void>()
  const emitter = events.emitter as unknown as EventEmitter<string>
  return (wanted, notify) => {
    for (const [event, listener] of listeners) emitter.off(event, listener)
    listeners.clear()
    for (const event of wanted) {
      const listener = (...args: EventArgument[]): void => notify({ event, args: args.map(toPlain) })
      listeners.set(event, listener)
      emitter.on(event, listener)
    }
  }
}

/** Emits an event of another thread. Its exchange is a copy from the time of the event. */
export function emitForwarded(
  events: EventHub,
  { event, args }: PlainEvent,
  findBackend: (id: string) => Backend | null,
): void {
  // The arguments belong to the event, but types cannot follow a name that is known only at run time.
  const emit = events.emit.bind(events) as (event: ForwardedEvent, ...args: readonly EventArgument[]) => void
  emit(event, ...args.map((arg) => fromPlain(arg, findBackend)))
}

function toPlain(value: EventArgument): PlainValue {
  if (value instanceof Backend) return { kind: 'backend', ...plainBackend(value) }
  if (value instanceof ProxyError) {
    const { code, message, phase, backend, attempt, blamesBackend, streamCode, cause } = value
    const why = cause === undefined ? null : describeError(cause)
    const where = { phase, backend: backend?.id ?? null, attempt }
    const error = { code, message, ...where, blamesBackend, streamCode, cause: why }
    return { kind: 'error', error }
  }
  if (isView(value)) {
    const { id, method, target, path, host, protocol, clientAddress, clientCertificate, upgrade } = value
    const { group, attempts, isRetry, timeouts } = value
    const backend = value.backend === null ? null : plainBackend(value.backend)
    const client = { clientAddress, clientCertificate }
    const request = { id, method, target, path, host, protocol, ...client, headers: [...value.headers], upgrade }
    return { kind: 'exchange', view: { ...request, group, attempts, isRetry, backend, timeouts } }
  }
  return { kind: 'value', value }
}

function plainBackend({ id, url }: Backend): PlainBackend {
  return { id, url: url.href }
}

function fromPlain(plain: PlainValue, findBackend: (id: string) => Backend | null): EventArgument {
  switch (plain.kind) {
    case 'backend':
      return backendOf(plain, findBackend)
    case 'error': {
      const { code, message, phase, backend, attempt, blamesBackend, streamCode, cause } = plain.error
      const found = backend === null ? null : findBackend(backend)
      return new ProxyError(code, message, {
        phase,
        attempt,
        blamesBackend,
        streamCode,
        backend: found,
        ...(cause !== null && { cause: new Error(cause) }),
      })
    }
    case 'exchange':
      return new RemoteExchange(plain.view, findBackend)
    default:
      return plain.value
  }
}

function backendOf(plain: PlainBackend, findBackend: (id: string) => Backend | null): Backend {
  // The backend may have been removed.
  return findBackend(plain.id) ?? new Backend(plain)
}

function isView(value: Exclude<EventArgument, Backend | ProxyError>): value is ExchangeView {
  return typeof value === 'object' && value !== null && 'clientAddress' in value && 'header' in value
}

/** A copy of an exchange in another thread. */
class RemoteExchange implements ExchangeView {
  readonly id: number
  readonly method: string
  readonly target: string
  readonly path: string
  readonly host: string
  readonly protocol: 'http' | 'https'
  readonly clientAddress: string
  readonly clientCertificate: ExchangeView['clientCertificate']
  readonly headers: Readonly<HeaderList>
  readonly upgrade: string | null
  readonly group: string
  readonly attempts: number
  readonly isRetry: boolean
  readonly backend: Backend | null
  readonly timeouts: Timeouts
  /** An object of the other thread, which cannot be sent. */
  readonly context = undefined

  constructor(view: PlainView, findBackend: (id: string) => Backend | null) {
    this.id = view.id
    this.method = view.method
    this.target = view.target
    this.path = view.path
    this.host = view.host
    this.protocol = view.protocol
    this.clientAddress = view.clientAddress
    this.clientCertificate = view.clientCertificate
    this.headers = view.headers
    this.upgrade = view.upgrade
    this.group = view.group
    this.attempts = view.attempts
    this.isRetry = view.isRetry
    this.backend = view.backend === null ? null : backendOf(view.backend, findBackend)
    this.timeouts = view.timeouts
  }

  /** Never aborted: this copy does not follow the other thread. */
  get signal(): AbortSignal {
    return new AbortController().signal
  }

  header(name: string): string | undefined {
    return fieldValue(this.headers, name)
  }

  /** Never: the routes belong to the other thread. */
  takesSameRoute(): boolean {
    return false
  }
}
