import type { ProxyErrorCode } from './errors.ts'

/** Status codes of gRPC (its doc/statuscodes.md). */
export const GRPC = Object.freeze({
  CANCELLED: 1,
  DEADLINE_EXCEEDED: 4,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
})

/**
 * The gRPC status of each error. UNAVAILABLE invites the client to try again, so the proxy's own shortages and unreachable backends
 * have it. A response that was cut is INTERNAL for clients: HTTP/2 tells them so by its own code.
 */
export const GRPC_STATUS: Readonly<Record<ProxyErrorCode, number>> = Object.freeze({
  ERR_PROXY_BAD_REQUEST: GRPC.INTERNAL,
  ERR_PROXY_MISDIRECTED: GRPC.INTERNAL,
  ERR_PROXY_TARGET_TOO_LONG: GRPC.RESOURCE_EXHAUSTED,
  ERR_PROXY_HEAD_TOO_LARGE: GRPC.RESOURCE_EXHAUSTED,
  ERR_PROXY_BODY_TOO_LARGE: GRPC.RESOURCE_EXHAUSTED,
  ERR_PROXY_CLIENT_TIMEOUT: GRPC.UNAVAILABLE,
  ERR_PROXY_CONNECTION_LIMIT: GRPC.UNAVAILABLE,
  ERR_PROXY_CLIENT_GONE: GRPC.CANCELLED,
  ERR_PROXY_NO_ROUTE: GRPC.UNIMPLEMENTED,
  ERR_PROXY_INTERCEPT_TIMEOUT: GRPC.UNAVAILABLE,
  ERR_PROXY_AUTH_UNAVAILABLE: GRPC.UNAVAILABLE,
  ERR_PROXY_NO_BACKEND: GRPC.UNAVAILABLE,
  ERR_PROXY_POOL_FULL: GRPC.UNAVAILABLE,
  ERR_PROXY_ACQUIRE_TIMEOUT: GRPC.UNAVAILABLE,
  ERR_PROXY_SHORTAGE: GRPC.UNAVAILABLE,
  ERR_PROXY_CLOSED: GRPC.UNAVAILABLE,
  ERR_PROXY_CONNECT: GRPC.UNAVAILABLE,
  ERR_PROXY_CONNECT_TIMEOUT: GRPC.UNAVAILABLE,
  ERR_PROXY_TLS: GRPC.UNAVAILABLE,
  ERR_PROXY_RESET: GRPC.UNAVAILABLE,
  ERR_PROXY_REFUSED: GRPC.UNAVAILABLE,
  ERR_PROXY_HEADERS_TIMEOUT: GRPC.UNAVAILABLE,
  ERR_PROXY_BAD_RESPONSE: GRPC.INTERNAL,
  ERR_PROXY_IDLE_TIMEOUT: GRPC.UNAVAILABLE,
  ERR_PROXY_TOTAL_TIMEOUT: GRPC.DEADLINE_EXCEEDED,
  ERR_PROXY_TRUNCATED: GRPC.INTERNAL,
  ERR_PROXY_BODY_CONSUMED: GRPC.INTERNAL,
  ERR_PROXY_UPGRADE: GRPC.INTERNAL,
  ERR_PROXY_UPGRADE_IDLE_TIMEOUT: GRPC.UNAVAILABLE,
  ERR_PROXY_THREADS: GRPC.UNAVAILABLE,
  ERR_PROXY_HOOK: GRPC.INTERNAL,
})

/** Whether a Content-Type is that of gRPC, and not of gRPC-Web, which is plain HTTP. */
export function isGrpcType(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?:[+; \t]|$)/i.test(contentType)
}

/** Units of `grpc-timeout`, ms. */
const UNITS: Readonly<Record<string, number>> = Object.freeze({
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
})

/** Reads a `grpc-timeout`. @returns whole ms, at least 1; -1 if it is malformed. */
export function readGrpcTimeout(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? []
  return digits === undefined ? -1 : Math.max(1, Math.ceil(Number(digits) * (UNITS[unit] as number)))
}

/** Reads a `grpc-status`. @returns `null` if there is none, or if it is not a number. */
export function readGrpcStatus(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null
}

/** Encodes a `grpc-message`: percent signs, and all but printable ASCII. */
export function grpcMessage(text: string): string {
  return text.replace(/[^ -$&-~]+/g, (chars) =>
    Array.from(Buffer.from(chars), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  )
}

/** Statuses of gRPC by which a backend says that it is not well, and the HTTP statuses that say the same. */
const UNWELL: ReadonlyMap<number | null, number> = new Map([
  [GRPC.RESOURCE_EXHAUSTED, 503],
  [GRPC.INTERNAL, 500],
  [GRPC.UNAVAILABLE, 503],
])

/**
 * The HTTP status by which a response is judged. gRPC says in a response with status 200 that a call has failed: UNAVAILABLE and
 * RESOURCE_EXHAUSTED count as 503, INTERNAL as 500. Other failures are most often the client's.
 */
export function judgedStatus({ status, grpcStatus }: { status: number; grpcStatus: number | null }): number {
  return UNWELL.get(grpcStatus) ?? status
}
