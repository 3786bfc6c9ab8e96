import type { Backend } from './backend.ts'

/** Whose fault it is. */
export type Side = 'client' | 'proxy' | 'backend'
/** The step of a request in which it happened. */
export type Phase =
  | 'listen'
  | 'accept'
  | 'route'
  | 'intercept'
  | 'pick'
  | 'acquire'
  | 'connect'
  | 'request'
  | 'headers'
  | 'body'
  | 'upgrade'

interface Fault {
  readonly side: Side
  readonly phase: Phase
  /** Status for the client, where it can still be told; 499 is for the log only. */
  readonly status: number
  /** {@link ProxyError.blamesBackend}, where the code says enough. */
  readonly blames: boolean
}

/** Every way in which an exchange can fail, in one table. */
export const FAULTS = {
  ERR_PROXY_BAD_REQUEST: { side: 'client', phase: 'accept', status: 400, blames: false },
  ERR_PROXY_TARGET_TOO_LONG: { side: 'client', phase: 'accept', status: 414, blames: false },
  ERR_PROXY_HEAD_TOO_LARGE: { side: 'client', phase: 'accept', status: 431, blames: false },
  ERR_PROXY_BODY_TOO_LARGE: { side: 'client', phase: 'request', status: 413, blames: false },
  ERR_PROXY_CLIENT_TIMEOUT: { side: 'client', phase: 'request', status: 408, blames: false },
  ERR_PROXY_CONNECTION_LIMIT: { side: 'client', phase: 'accept', status: 503, blames: false },
  ERR_PROXY_CLIENT_GONE: { side: 'client', phase: 'body', status: 499, blames: false },
  ERR_PROXY_NO_ROUTE: { side: 'proxy', phase: 'route', status: 404, blames: false },
  ERR_PROXY_INTERCEPT_TIMEOUT: { side: 'proxy', phase: 'intercept', status: 504, blames: false },
  ERR_PROXY_NO_BACKEND: { side: 'proxy', phase: 'pick', status: 503, blames: false },
  ERR_PROXY_POOL_FULL: { side: 'proxy', phase: 'acquire', status: 503, blames: false },
  ERR_PROXY_ACQUIRE_TIMEOUT: { side: 'backend', phase: 'acquire', status: 504, blames: false },
  ERR_PROXY_SHORTAGE: { side: 'proxy', phase: 'connect', status: 503, blames: false },
  ERR_PROXY_CLOSED: { side: 'proxy', phase: 'acquire', status: 503, blames: false },
  ERR_PROXY_CONNECT: { side: 'backend', phase: 'connect', status: 502, blames: true },
  ERR_PROXY_CONNECT_TIMEOUT: { side: 'backend', phase: 'connect', status: 504, blames: true },
  ERR_PROXY_TLS: { side: 'backend', phase: 'connect', status: 502, blames: true },
  ERR_PROXY_RESET: { side: 'backend', phase: 'headers', status: 502, blames: true },
  ERR_PROXY_HEADERS_TIMEOUT: { side: 'backend', phase: 'headers', status: 504, blames: true },
  ERR_PROXY_BAD_RESPONSE: { side: 'backend', phase: 'headers', status: 502, blames: true },
  ERR_PROXY_IDLE_TIMEOUT: { side: 'backend', phase: 'body', status: 504, blames: false },
  ERR_PROXY_TOTAL_TIMEOUT: { side: 'backend', phase: 'headers', status: 504, blames: false },
  ERR_PROXY_TRUNCATED: { side: 'backend', phase: 'body', status: 502, blames: true },
  ERR_PROXY_BODY_CONSUMED: { side: 'proxy', phase: 'request', status: 500, blames: false },
  ERR_PROXY_UPGRADE: { side: 'backend', phase: 'upgrade', status: 502, blames: true },
  ERR_PROXY_UPGRADE_IDLE_TIMEOUT: { side: 'backend', phase: 'upgrade', status: 504, blames: false },
  ERR_PROXY_THREADS: { side: 'proxy', phase: 'listen', status: 503, blames: false },
  ERR_PROXY_HOOK: { side: 'proxy', phase: 'accept', status: 500, blames: false },
} as const satisfies Record<string, Fault>

/** Seconds after which a client that was refused for load may try again. */
const RETRY_AFTER_SECONDS = '1'

/** Stable; branch on this, never on the message. */
export type ProxyErrorCode = keyof typeof FAULTS

/** The facts that {@link ProxyError} adds to its code. */
export interface ProxyErrorDetails {
  readonly cause?: unknown
  readonly backend?: Backend | null
  /** 1 for the first try. */
  readonly attempt?: number
  /** Where it differs from the code's usual phase. */
  readonly phase?: Phase
  /** Where it differs from what the code says by itself: see {@link ProxyError.blamesBackend}. */
  readonly blamesBackend?: boolean
}

/**
 * A failed exchange: what happened (`code`, `message`), where (`phase`, `backend`, `attempt`), whose fault it is (`side`), and
 * whether it counts against the backend (`blamesBackend`).
 */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  readonly code: ProxyErrorCode
  readonly side: Side
  readonly phase: Phase
  /** HTTP status that the client was or would have been given. */
  readonly status: number
  readonly backend: Backend | null
  /** 1 for the first try; 0 if it happened in none. The exchange writes it into an error of its pool. */
  attempt: number
  /**
   * Whether it is evidence against the backend, for health checks: the connection was refused, reset or not made in time, what
   * came is garbage, or no head came in time. `false` where {@link side} is `backend` and it could be as healthy as any: a limit
   * that ended an exchange in which both sides were quiet, or one that waited for a connection of the pool.
   */
  readonly blamesBackend: boolean

  constructor(code: ProxyErrorCode, message: string, details: ProxyErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    const fault: Fault = FAULTS[code]
    this.code = code
    this.side = fault.side
    this.phase = details.phase ?? fault.phase
    this.status = fault.status
    this.backend = details.backend ?? null
    this.attempt = details.attempt ?? 0
    this.blamesBackend = details.blamesBackend ?? fault.blames
  }

  /** Headers that belong to an answer with {@link status}; frameworks add them to theirs. */
  get headers(): Readonly<Record<string, string>> {
    return this.status === 503 ? { 'Retry-After': RETRY_AFTER_SECONDS } : {}
  }
}

/** The system has no descriptor, port, buffer or memory left for us: every backend would fail alike. */
const SHORTAGES = new Set<unknown>(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM'])

/** Whether a connection failed for want of something on this machine, and says nothing about the backend. */
export function isShortage(error: unknown): boolean {
  // Of a name with several addresses: what was not tried for want of a descriptor is no evidence, whatever the others did.
  if (error instanceof AggregateError) return error.errors.some(isShortage)
  return error instanceof Error && SHORTAGES.has((error as NodeJS.ErrnoException).code)
}

/**
 * A connection to `backend` that the system did not make: a {@link isShortage shortage} of ours, a name that cannot be looked up
 * for now (`EAI_AGAIN`: our resolver does not answer, so that it does not count against the backend), or the backend's fault.
 */
export function connectError(backend: Backend | null, cause: unknown, details: ProxyErrorDetails = {}): ProxyError {
  const text = describeError(cause)
  if (isShortage(cause)) {
    const message = `no connection to backend ${backend?.id} could be made: this machine or process has run out of what it takes: ${text}`
    return new ProxyError('ERR_PROXY_SHORTAGE', message, { ...details, cause, backend })
  }
  const isResolvers = (cause as NodeJS.ErrnoException | undefined)?.code === 'EAI_AGAIN'
  const message = `backend ${backend?.id} could not be connected to: ${text}`
  return new ProxyError('ERR_PROXY_CONNECT', message, { ...details, cause, backend, blamesBackend: !isResolvers })
}

/** A function of the application's, or a pool of its own, has thrown. @param whose in words. */
export function hookError(
  whose: string,
  cause: unknown,
  backend: Backend | null = null,
  phase: Phase = 'accept',
): ProxyError {
  return new ProxyError('ERR_PROXY_HOOK', `${whose} threw: ${describeError(cause)}`, { cause, backend, phase })
}

/** The message of anything thrown, with the system's error code where there is one. Whatever that is, it throws nothing itself. */
export function describeError(error: unknown): string {
  try {
    if (!(error instanceof Error)) return String(error)
    const message = String(error.message)
    const code = (error as NodeJS.ErrnoException).code
    return code === undefined || message.includes(code) ? message : `${message} (${code})`
  } catch {
    return 'something that cannot be read'
  }
}
