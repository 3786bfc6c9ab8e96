import { STATUS_CODES } from 'node:http'
import { fieldValue } from '../http1/fields.ts'
import { ProxyError } from '../model/errors.ts'
import type { HeaderList, Timeouts } from '../model/exchange-view.ts'
import { GRPC_STATUS, grpcMessage, isGrpcType, readGrpcStatus, readGrpcTimeout } from '../model/grpc.ts'
import type { Front } from './front.ts'
import type { LocalResponse } from './local-response.ts'

/**
 * What is different about an exchange that is a gRPC call. gRPC takes its status from the trailers of a response with status 200
 * (Trailers-Only: from its head), so the proxy's own responses have this form too.
 *
 * Source: gRPC's doc/PROTOCOL-HTTP2.md.
 */
export class GrpcCall {
  /** The client's time limit for the whole call, ms; 0: none, -1: its header is malformed. */
  readonly timeoutMs: number
  #status: number | null = null

  constructor(headers: Readonly<HeaderList>) {
    const timeout = fieldValue(headers, 'grpc-timeout')
    this.timeoutMs = timeout === undefined ? 0 : readGrpcTimeout(timeout)
  }

  /** Why the call is refused, or `null`. Most implementations of gRPC refuse it too, with INTERNAL. */
  get fault(): ProxyError | null {
    if (this.timeoutMs >= 0) return null
    return new ProxyError('ERR_PROXY_BAD_REQUEST', 'the request has a malformed grpc-timeout header')
  }

  /** The time limits of a route, within that of the client. */
  within(timeouts: Timeouts): Timeouts {
    const { timeoutMs } = this
    const isShorter = timeoutMs > 0 && (timeouts.total === 0 || timeoutMs < timeouts.total)
    return isShorter ? { ...timeouts, total: timeoutMs } : timeouts
  }

  /** Notes the status of a response. @param fields its trailers, or its head. */
  note(fields: Readonly<HeaderList>): number | null {
    this.#status = readGrpcStatus(fieldValue(fields, 'grpc-status'))
    return this.#status
  }

  /** The status of the call for its record, `null` if the backend has sent none. */
  statusFor(error: ProxyError | null): number | null {
    return error === null ? this.#status : GRPC_STATUS[error.code]
  }

  /** The proxy's response to a failed call: Trailers-Only. */
  responseTo({ code, status }: ProxyError): LocalResponse {
    const message = grpcMessage(`${status} ${STATUS_CODES[status] ?? 'Error'} (${code})`)
    const fields = ['grpc-status', String(GRPC_STATUS[code]), 'grpc-message', message]
    return { status: 200, headers: ['content-type', 'application/grpc', ...fields], text: '' }
  }
}

/** @returns `null` if the request is no gRPC call. Those need HTTP/2: without it gRPC-Web is used, which is plain HTTP. */
export function grpcCallOf({ version, method }: Front, headers: Readonly<HeaderList>): GrpcCall | null {
  if (version !== '2' || method !== 'POST' || !isGrpcType(fieldValue(headers, 'content-type'))) return null
  return new GrpcCall(headers)
}
