import { describeError } from '../runtime/describe-error.ts'
import type { Backend } from './backend.ts'

/** The side that caused the error. */
export type Side = 'client' | 'proxy' | 'backend'
/** The step of a request in which it failed. */
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
  /** Status for the client, unless the response has begun; 499 is only for the log. */
  readonly status: number
  /** Default of {@link ProxyError.blamesBackend}. */
  readonly blames: boolean
  /** {@link ProxyError.hint}. */
  readonly hint: string
}

/** Every way in which an exchange can fail, in one table. */
export const FAULTS = {
  ERR_PROXY_BAD_REQUEST: { side: 'client', phase: 'accept', status: 400, blames: false, hint: 'fix the client' },
  ERR_PROXY_TARGET_TOO_LONG: {
    side: 'client',
    phase: 'accept',
    status: 414,
    blames: false,
    hint: 'raise limits.maxTargetBytes, or send long queries in a body',
  },
  ERR_PROXY_HEAD_TOO_LARGE: {
    side: 'client',
    phase: 'accept',
    status: 431,
    blames: false,
    hint: 'raise limits.maxHeadBytes or limits.maxHeaders, or shrink cookies',
  },
  ERR_PROXY_MISDIRECTED: {
    side: 'client',
    phase: 'accept',
    status: 421,
    blames: false,
    hint: "nothing if the client repeats it over a new connection; else add a certificate for the host to the listener's tls.certificates",
  },
  ERR_PROXY_BODY_TOO_LARGE: {
    side: 'client',
    phase: 'request',
    status: 413,
    blames: false,
    hint: 'raise limits.maxBodyBytes, or refuse the client',
  },
  ERR_PROXY_CLIENT_TIMEOUT: {
    side: 'client',
    phase: 'request',
    status: 408,
    blames: false,
    hint: 'for slow clients raise timeouts.idle, or lower limits.minBodyBytesPerSecond or limits.minReadBytesPerSecond',
  },
  ERR_PROXY_CONNECTION_LIMIT: {
    side: 'client',
    phase: 'accept',
    status: 503,
    blames: false,
    hint: 'raise limits.maxConnections, or find out who opens so many connections',
  },
  ERR_PROXY_CLIENT_GONE: { side: 'client', phase: 'body', status: 499, blames: false, hint: 'nothing' },
  ERR_PROXY_NO_ROUTE: {
    side: 'proxy',
    phase: 'route',
    status: 404,
    blames: false,
    hint: 'add a route, or a middleware after the proxy',
  },
  ERR_PROXY_INTERCEPT_TIMEOUT: {
    side: 'proxy',
    phase: 'intercept',
    status: 504,
    blames: false,
    hint: 'find out what the interceptors of the route wait for, or raise timeouts.intercept',
  },
  ERR_PROXY_AUTH_UNAVAILABLE: {
    side: 'proxy',
    phase: 'intercept',
    status: 503,
    blames: false,
    hint: 'check that the service or the key set that the message names can be reached from here',
  },
  ERR_PROXY_NO_BACKEND: {
    side: 'proxy',
    phase: 'pick',
    status: 503,
    blames: false,
    hint: 'add backends if there are none; else find out why each is out: eject and unhealthy events, its status in proxy.stats()',
  },
  ERR_PROXY_POOL_FULL: {
    side: 'proxy',
    phase: 'acquire',
    status: 503,
    blames: false,
    hint: 'add backends, or raise pool.maxConnections or pool.maxWaiting',
  },
  ERR_PROXY_ACQUIRE_TIMEOUT: {
    side: 'backend',
    phase: 'acquire',
    status: 504,
    blames: false,
    hint: 'raise pool.maxConnections if streams stay open; else the backends are too slow for the load',
  },
  ERR_PROXY_SHORTAGE: {
    side: 'proxy',
    phase: 'connect',
    status: 503,
    blames: false,
    hint: 'raise the limit of open files (ulimit -n), or lower the load',
  },
  ERR_PROXY_CLOSED: {
    side: 'proxy',
    phase: 'acquire',
    status: 503,
    blames: false,
    hint: 'send requests elsewhere before proxy.close(), or create a new proxy',
  },
  ERR_PROXY_CONNECT: {
    side: 'backend',
    phase: 'connect',
    status: 502,
    blames: true,
    hint: 'check that the backend runs, and that its URL is right',
  },
  ERR_PROXY_CONNECT_TIMEOUT: {
    side: 'backend',
    phase: 'connect',
    status: 504,
    blames: true,
    hint: 'look for a firewall, an overloaded host, or a backend without TLS, or raise timeouts.connect',
  },
  ERR_PROXY_TLS: {
    side: 'backend',
    phase: 'connect',
    status: 502,
    blames: true,
    hint: 'give tls.ca or tls.servername of the backend, fix its certificate, or use http:// if it has no TLS',
  },
  ERR_PROXY_RESET: {
    side: 'backend',
    phase: 'headers',
    status: 502,
    blames: true,
    hint: "see the backend's log; a backend with TLS needs https://",
  },
  ERR_PROXY_REFUSED: {
    side: 'backend',
    phase: 'headers',
    status: 502,
    blames: true,
    hint: 'the backend limits its HTTP/2 streams or shuts down, and did not process the request: see its log, or add backends',
  },
  ERR_PROXY_HEADERS_TIMEOUT: {
    side: 'backend',
    phase: 'headers',
    status: 504,
    blames: true,
    hint: 'see why the backend is slow, or raise timeouts.headers',
  },
  ERR_PROXY_BAD_RESPONSE: {
    side: 'backend',
    phase: 'headers',
    status: 502,
    blames: true,
    hint: 'fix the backend; see docs/http-conformance.md',
  },
  ERR_PROXY_IDLE_TIMEOUT: {
    side: 'backend',
    phase: 'body',
    status: 504,
    blames: false,
    hint: 'raise timeouts.idle, or let the backend send something (SSE comments)',
  },
  ERR_PROXY_TOTAL_TIMEOUT: {
    side: 'backend',
    phase: 'headers',
    status: 504,
    blames: false,
    hint: 'see what takes the time (the attempts of the record), or raise timeouts.total',
  },
  ERR_PROXY_TRUNCATED: { side: 'backend', phase: 'body', status: 502, blames: true, hint: "see the backend's log" },
  ERR_PROXY_BODY_CONSUMED: {
    side: 'proxy',
    phase: 'request',
    status: 500,
    blames: false,
    hint: 'mount the proxy before body parsers, keep req.rawBody, or pass { body }; in an interceptor read body.isReplayable first',
  },
  ERR_PROXY_UPGRADE: {
    side: 'backend',
    phase: 'upgrade',
    status: 502,
    blames: true,
    hint: "fix the backend: it must switch to the protocol of the request's Upgrade header",
  },
  ERR_PROXY_UPGRADE_IDLE_TIMEOUT: {
    side: 'backend',
    phase: 'upgrade',
    status: 504,
    blames: false,
    hint: 'send pings, or raise timeouts.upgradeIdle',
  },
  ERR_PROXY_THREADS: {
    side: 'proxy',
    phase: 'listen',
    status: 503,
    blames: false,
    hint: 'fix what the message names as the last reason; threads that still serve continue',
  },
  ERR_PROXY_HOOK: {
    side: 'proxy',
    phase: 'accept',
    status: 500,
    blames: false,
    hint: 'fix the function that the message names; cause has what it threw',
  },
} as const satisfies Record<string, Fault>

const NO_HEADERS = Object.freeze({})
/** A client that was refused because of load may retry after a second. */
const RETRY_LATER = Object.freeze({ 'Retry-After': '1' })

/** A stable code. Branch on it, never on the message. */
export type ProxyErrorCode = keyof typeof FAULTS

/** The facts that {@link ProxyError} adds to its code. */
export interface ProxyErrorDetails {
  readonly cause?: unknown | undefined
  readonly backend?: Backend | null | undefined
  /** 1 for the first attempt. */
  readonly attempt?: number | undefined
  /** Default: the code's usual phase. */
  readonly phase?: Phase | undefined
  /** See {@link ProxyError.blamesBackend}. Default: that of the code. */
  readonly blamesBackend?: boolean | undefined
  /** See {@link ProxyError.streamCode}. */
  readonly streamCode?: number | undefined
  /** See {@link ProxyError.headers}. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/**
 * A failed exchange: the kind of failure (`code`, `message`), its place (`phase`, `backend`, `attempt`), the side that caused
 * it (`side`), and whether it counts against the backend (`blamesBackend`).
 */
export class ProxyError extends Error {
  override readonly name = 'ProxyError'
  readonly code: ProxyErrorCode
  readonly side: Side
  readonly phase: Phase
  /** HTTP status of the response to the client, if it could still be sent. */
  readonly status: number
  readonly backend: Backend | null
  /** 1 for the first attempt; 0 if it happened in none. The exchange sets it on an error of its pool. */
  attempt: number
  /**
   * Whether health checks count it against the backend: the connection was refused, reset or not established in time, the
   * response is invalid, or no response head came in time. `false` if the backend may be healthy, even if {@link side} is
   * `backend`: a time limit ended an exchange while both sides were quiet, or while it waited for a connection of the pool.
   */
  readonly blamesBackend: boolean
  /** Code by which the backend has ended the stream (HTTP/2's RST_STREAM or GOAWAY); -1 if it has not. */
  readonly streamCode: number
  /** Headers for a response with {@link status}; frameworks add them to theirs. */
  readonly headers: Readonly<Record<string, string>>

  /** What to do about errors of this {@link code}, in a few words. Log lines have it too. */
  get hint(): string {
    return FAULTS[this.code].hint
  }

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
    this.streamCode = details.streamCode ?? -1
    this.headers = details.headers ?? (fault.status === 503 ? RETRY_LATER : NO_HEADERS)
  }
}

/** Codes of the system for a lack of descriptors, ports, buffers or memory: every backend would fail the same way. */
const SHORTAGES = new Set<unknown>(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM'])

/** Whether a connection failed because this machine lacks a resource, which says nothing about the backend. */
export function isShortage(error: unknown): boolean {
  // A host name with several addresses: an address may have been skipped for lack of a descriptor, whatever the others did.
  if (error instanceof AggregateError) return error.errors.some(isShortage)
  return error instanceof Error && SHORTAGES.has((error as NodeJS.ErrnoException).code)
}

/**
 * The error for a failed connection to `backend`: a {@link isShortage shortage} of this machine, a resolver that does not
 * respond (`EAI_AGAIN`, which does not count against the backend), or the backend's fault.
 */
export function connectError(backend: Backend | null, cause: unknown, details: ProxyErrorDetails = {}): ProxyError {
  const text = describeError(cause)
  if (isShortage(cause)) {
    const message = `cannot connect to backend ${backend?.id}: this machine or process has run out of a resource: ${text}`
    return new ProxyError('ERR_PROXY_SHORTAGE', message, { ...details, cause, backend })
  }
  const isResolverFailure = (cause as NodeJS.ErrnoException | undefined)?.code === 'EAI_AGAIN'
  const message = `cannot connect to backend ${backend?.id}: ${text}`
  return new ProxyError('ERR_PROXY_CONNECT', message, { ...details, cause, backend, blamesBackend: !isResolverFailure })
}

/** The error for a function of the application, or its pool, that threw. @param whose names it in the message. */
export function hookError(
  whose: string,
  cause: unknown,
  backend: Backend | null = null,
  phase: Phase = 'accept',
): ProxyError {
  return new ProxyError('ERR_PROXY_HOOK', `${whose} threw: ${describeError(cause)}`, { cause, backend, phase })
}
