import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { connect, hasChosenHttp2, protocolsOf } from '../pools/dial.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { type Complete, complete } from '../runtime/complete.ts'
import { type CallRequest, Http2Call } from './http2-call.ts'
import { PROBE_DEFAULTS, type ProbeOptions } from './probe-options.ts'
import { probing } from './probe-watch.ts'

/**
 * Probes each backend at intervals and marks those that fail as unhealthy. A backend starts healthy. The first probe
 * alone can mark it unhealthy; after that it takes `fall` failures in a row. Each probe has its own connection, and the
 * probes of a backend never overlap. They speak the protocol of the backend.
 *
 * Source: HAProxy's health checks (`option httpchk`, `inter`, `rise`, `fall`; a failed first check marks a server down at once).
 */
export function httpProbe(options: ProbeOptions = {}, clock: Clock = systemClock): HealthCheck {
  const settings = complete(PROBE_DEFAULTS, options)
  return probing('http-probe', settings, clock, (backend, attemptMs, end) => {
    const { endpoint } = backend
    const { protocol, isSecure } = endpoint
    const protocols = protocolsOf(endpoint)
    if (!protocols.includes('h2')) return sendHttp1(backend, settings, attemptMs, end)
    const socket = connect(endpoint, { protocols }, attemptMs)
    const call = new Http2Call(socket, isSecure, callFor(backend, settings), clock, (result) =>
      end(typeof result === 'string' || result instanceof Error ? result : faultOf(result.status, settings)),
    )
    socket.once(isSecure ? 'secureConnect' : 'connect', () => {
      if (hasChosenHttp2(socket, endpoint)) call.start()
      else if (protocol === 'h2') end("the backend does not offer HTTP/2 (ALPN); is its protocol 'http/1.1' or 'auto'?")
      else sendHttp1(backend, settings, attemptMs, end, socket)
    })
    return call
  })
}

function callFor({ basePath, host }: Backend, settings: Complete<ProbeOptions>): CallRequest {
  const { path, method } = settings
  return {
    method,
    path: `${basePath}${path}`,
    authority: settings.host || host,
    fields: [],
    body: null,
    maxResponseBytes: 0,
  }
}

/** @param socket its connection, which has been set up; without one it opens its own. */
function sendHttp1(
  backend: Backend,
  settings: Complete<ProbeOptions>,
  attemptMs: number,
  end: (result: string | Error | null) => void,
  socket?: Socket,
): http.ClientRequest {
  return requestFor(backend, settings, attemptMs, socket)
    .on('error', end)
    .on('close', () => end('the connection was closed before the end of the response'))
    .on('upgrade', (_response, upgraded) => upgraded.destroy())
    .on('response', (response) => {
      response
        .on('error', end)
        .on('end', () => end(faultOf(response.statusCode ?? 0, settings)))
        .resume()
    })
    .end()
}

function requestFor(
  backend: Backend,
  settings: Complete<ProbeOptions>,
  attemptMs: number,
  socket: Socket | undefined,
): http.ClientRequest {
  const { basePath, host, endpoint } = backend
  const { hostname, port, socketPath, isSecure, servername, tls } = endpoint
  const { path, method } = settings
  const request: http.RequestOptions = {
    ...(socketPath === null ? { host: hostname, port } : { socketPath }),
    path: `${basePath}${path}`,
    method,
    headers: { Host: settings.host || host, 'User-Agent': 'heddle-probe' },
    // Always a new connection: the probe also checks that the backend accepts connections.
    agent: false,
    ...(attemptMs > 0 && { autoSelectFamilyAttemptTimeout: attemptMs }),
  }
  if (socket !== undefined || endpoint.proxyProtocol !== null) {
    // In place of an agent: the PROXY header comes before TLS. It says that the connection is nobody's.
    const createConnection = (): Socket => socket ?? connect(endpoint, { protocols: ['http/1.1'] }, attemptMs)
    return http.request({ ...request, agent: undefined, createConnection })
  }
  if (!isSecure) return http.request(request)
  return https.request({ ...request, ...(tls as https.RequestOptions), servername })
}

/** Why this status does not pass, or `null` if it does. */
function faultOf(status: number, { statuses }: Complete<ProbeOptions>): string | null {
  const isFine = statuses.length === 0 ? status >= 200 && status < 400 : statuses.includes(status)
  return isFine ? null : `status ${status}`
}
