import type { Complete } from '../runtime/complete.ts'

/** How to probe a backend. */
export interface ProbeOptions {
  /**
   * What is sent: an HTTP request, or a call of gRPC's health service (`grpc.health.v1.Health/Check`) over HTTP/2, which passes if the
   * status is SERVING. Default `http`.
   */
  type?: 'http' | 'grpc' | undefined
  /** Service that `grpc` asks for, for example `shop.Orders`. Default empty: the server as a whole. */
  service?: string | undefined
  /** Path to request, appended to the path of the backend's URL. Default `/`. Only for `http`, like `method` and `statuses`. */
  path?: string | undefined
  /** `GET` or `HEAD`. Default `GET`. */
  method?: 'GET' | 'HEAD' | undefined
  /** `Host` (`:authority` in gRPC) of the request. Default: the backend's own. */
  host?: string | undefined
  /** Statuses that pass. Default: 200 to 399. */
  statuses?: readonly number[] | undefined
  /**
   * Time from the end of one probe to the next, ms; a random tenth more at most, so that probes do not synchronise.
   * Default 5000.
   */
  intervalMs?: number | undefined
  /** Time limit for the connection and the whole response, ms. Default 2000. */
  timeoutMs?: number | undefined
  /** Probes in a row that must pass before an unhealthy backend is healthy. Default 2. */
  rise?: number | undefined
  /**
   * Probes in a row that must fail before a healthy backend is unhealthy. The first probe alone can mark it unhealthy.
   * Default 3.
   */
  fall?: number | undefined
}

/** The defaults of {@link ProbeOptions}. An empty string or list stands for the default that is described there. */
export const PROBE_DEFAULTS: Readonly<Complete<ProbeOptions>> = Object.freeze({
  type: 'http',
  service: '',
  path: '/',
  method: 'GET',
  host: '',
  statuses: [],
  intervalMs: 5000,
  timeoutMs: 2000,
  rise: 2,
  fall: 3,
})
