import type { Backend } from './backend.ts'

/** Whose fault it is. */
export type Side = 'client' | 'proxy' | 'backend'
/** The step of a request in which it happened. */
export type Phase =
  | 'listen'
  | 'accept'
  | 'route'
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
}

/** Every way in which an exchange can fail, in one table. */
const FAULTS = {
  ERR_PROXY_BAD_REQUEST: { side: 'client', phase: 'accept', status: 400 },
  ERR_PROXY_TARGET_TOO_LONG: { side: 'client', phase: 'accept', status: 414 },
  ERR_PROXY_HEAD_TOO_LARGE: { side: 'client', phase: 'accept', status: 431 },
  ERR_PROXY_BODY_TOO_LARGE: { side: 'client', phase: 'request', status: 413 },
  ERR_PROXY_CLIENT_TIMEOUT: { side: 'client', phase: 'request', status: 408 },
  ERR_PROXY_CONNECTION_LIMIT: { side: 'client', phase: 'accept', status: 503 },
  ERR_PROXY_CLIENT_GONE: { side: 'client', phase: 'body', status: 499 },
  ERR_PROXY_NO_ROUTE: { side: 'proxy', phase: 'route', status: 404 },
  ERR_PROXY_NO_BACKEND: { side: 'proxy', phase: 'pick', status: 503 },
  ERR_PROXY_POOL_FULL: { side: 'proxy', phase: 'acquire', status: 503 },
  ERR_PROXY_ACQUIRE_TIMEOUT: { side: 'backend', phase: 'acquire', status: 504 },
  ERR_PROXY_CLOSED: { side: 'proxy', phase: 'acquire', status: 503 },
  ERR_PROXY_CONNECT: { side: 'backend', phase: 'connect', status: 502 },
  ERR_PROXY_CONNECT_TIMEOUT: { side: 'backend', phase: 'connect', status: 504 },
  ERR_PROXY_TLS: { side: 'backend', phase: 'connect', status: 502 },
  ERR_PROXY_RESET: { side: 'backend', phase: 'headers', status: 502 },
  ERR_PROXY_HEADERS_TIMEOUT: { side: 'backend', phase: 'headers', status: 504 },
  ERR_PROXY_BAD_RESPONSE: { side: 'backend', phase: 'headers', status: 502 },
  ERR_PROXY_IDLE_TIMEOUT: { side: 'backend', phase: 'body', status: 504 },
  ERR_PROXY_TOTAL_TIMEOUT: { side: 'backend', phase: 'headers', status: 504 },
  ERR_PROXY_CUT: { side: 'backend', phase: 'body', status: 502 },
  ERR_PROXY_BODY_CONSUMED: { side: 'proxy', phase: 'request', status: 500 },
  ERR_PROXY_UPGRADE: { side: 'backend', phase: 'upgrade', status: 502 },
  ERR_PROXY_UPGRADE_IDLE_TIMEOUT: { side: 'backend', phase: 'upgrade', status: 504 },
  ERR_PROXY_THREADS: { side: 'proxy', phase: 'listen', status: 503 },
  ERR_PROXY_HOOK: { side: 'proxy', phase: 'accept', status: 500 },
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
}

/** A failed exchange: what happened (`code`, `message`), where (`phase`, `backend`, `attempt`) and whose fault it is (`side`). */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  readonly code: ProxyErrorCode
  readonly side: Side
  readonly phase: Phase
  /** HTTP status that the client was or would have been given. */
  readonly status: number
  readonly backend: Backend | null
  readonly attempt: number

  constructor(code: ProxyErrorCode, message: string, details: ProxyErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    const fault: Fault = FAULTS[code]
    this.code = code
    this.side = fault.side
    this.phase = details.phase ?? fault.phase
    this.status = fault.status
    this.backend = details.backend ?? null
    this.attempt = details.attempt ?? 0
  }

  /** Headers that belong to an answer with {@link status}; frameworks add them to theirs. */
  get headers(): Readonly<Record<string, string>> {
    return this.status === 503 ? { 'Retry-After': RETRY_AFTER_SECONDS } : {}
  }
}

/** The message of anything thrown, with the system's error code where there is one. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as NodeJS.ErrnoException).code
  return code === undefined || error.message.includes(code) ? error.message : `${error.message} (${code})`
}
