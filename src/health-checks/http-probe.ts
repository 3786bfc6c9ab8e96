import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { connect } from '../pools/dial.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { type Complete, complete } from '../runtime/complete.ts'
import { PROBE_DEFAULTS, type ProbeOptions } from './probe-options.ts'
import { probing } from './probe-watch.ts'

/**
 * Probes each backend at intervals and marks those that fail as unhealthy. A backend starts healthy. The first probe
 * alone can mark it unhealthy; after that it takes `fall` failures in a row. Each probe has its own connection, and the
 * probes of a backend never overlap.
 *
 * Source: HAProxy's health checks (`option httpchk`, `inter`, `rise`, `fall`; a failed first check marks a server down at once).
 */
export function httpProbe(options: ProbeOptions = {}, clock: Clock = systemClock): HealthCheck {
  const settings = complete(PROBE_DEFAULTS, options)
  return probing('http-probe', settings, clock, (backend, attemptMs, end) => {
    const request = requestFor(backend, settings, attemptMs)
    request
      .on('error', end)
      .on('close', () => end('the connection was closed before the end of the response'))
      .on('upgrade', (_response, socket) => socket.destroy())
      .on('response', (response) => {
        response
          .on('error', end)
          .on('end', () => end(faultOf(response.statusCode ?? 0, settings)))
          .resume()
      })
      .end()
    return request
  })
}

function requestFor(backend: Backend, settings: Complete<ProbeOptions>, attemptMs: number): http.ClientRequest {
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
  if (endpoint.proxyProtocol !== null) {
    // In place of an agent: the PROXY header comes before TLS. It says that the connection is nobody's.
    const createConnection = (): Socket => connect(endpoint, { protocols: ['http/1.1'] }, attemptMs)
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
