import type { HealthCheck } from '../contracts/health-check.ts'
import { fieldValue } from '../http1/fields.ts'
import { connect, hasChosenHttp2 } from '../pools/dial.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { complete } from '../runtime/complete.ts'
import { type CallResponse, Http2Call } from './http2-call.ts'
import { PROBE_DEFAULTS, type ProbeOptions } from './probe-options.ts'
import { probing } from './probe-watch.ts'

/** `HealthCheckResponse.ServingStatus`, by number. */
const SERVING_STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN']
const SERVING = 1
/** A response of more bytes is none of the health service. */
const MAX_RESPONSE_BYTES = 1024
const FIELDS = ['content-type', 'application/grpc', 'te', 'trailers']

/**
 * Probes each backend at intervals by gRPC's health service, over HTTP/2 (with prior knowledge if the backend is `http://`). Everything
 * else is as for `httpProbe()`.
 *
 * Source: gRPC's doc/health-checking.md. Both messages have one field, so no library for protocol buffers is needed.
 */
export function grpcProbe(options: ProbeOptions = {}, clock: Clock = systemClock): HealthCheck {
  const settings = complete(PROBE_DEFAULTS, options)
  const { service, host } = settings
  return probing('grpc-probe', settings, clock, (backend, attemptMs, end) => {
    const { endpoint, basePath } = backend
    const { isSecure } = endpoint
    const socket = connect(endpoint, { protocols: ['h2'] }, attemptMs)
    const request = {
      method: 'POST',
      path: `${basePath}/grpc.health.v1.Health/Check`,
      authority: host || backend.host,
      fields: FIELDS,
      body: requestFor(service),
      maxResponseBytes: MAX_RESPONSE_BYTES,
    }
    const call = new Http2Call(socket, isSecure, request, clock, (result) =>
      end(typeof result === 'string' || result instanceof Error ? result : faultOf(result, service)),
    )
    socket.once(isSecure ? 'secureConnect' : 'connect', () => {
      if (hasChosenHttp2(socket, endpoint)) call.start()
      else end('the backend does not offer HTTP/2 (ALPN h2), which gRPC needs')
    })
    return call
  })
}

/** Judges a response: `null` if the service is serving, else why not. */
function faultOf({ status, head, trailers, body }: CallResponse, name: string): string | null {
  if (status !== 200) return `status ${status}`
  // A response without a body may have its status in the head.
  const grpcStatus = fieldValue(trailers ?? head, 'grpc-status')
  const service = JSON.stringify(name)
  if (grpcStatus === '12') return 'gRPC status 12: the backend does not implement grpc.health.v1.Health'
  if (grpcStatus === '5') return `gRPC status 5: the backend's health service does not know ${service}`
  if (grpcStatus !== '0')
    return grpcStatus === undefined ? 'the response has no grpc-status' : `gRPC status ${grpcStatus}`
  const serving = servingStatus(body)
  return serving === SERVING ? null : `${service} is ${SERVING_STATUSES[serving] ?? serving}`
}

/** `HealthCheckRequest { string service = 1 }` in a frame of gRPC: a flag, four bytes of length, the message. */
function requestFor(service: string): Buffer {
  const name = Buffer.from(service)
  const message = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, name.length]), name])
  return Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message])
}

/** Field 1 of `HealthCheckResponse { ServingStatus status = 1 }`; 0, its default, if it is missing. */
function servingStatus(frame: Buffer): number {
  return frame[5] === 0x08 ? (frame[6] ?? 0) : 0
}
