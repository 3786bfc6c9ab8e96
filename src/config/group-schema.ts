import * as v from 'valibot'
import type { Affinity } from '../contracts/affinity.ts'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Pool } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import { EJECTION_DEFAULTS, PROBE_DEFAULTS, type ProbeOptions } from '../health-checks/index.ts'
import { POOL_DEFAULTS } from '../pools/settings.ts'
import { RETRY_DEFAULTS } from '../retry-policies/index.ts'
import type { Complete } from '../runtime/complete.ts'
import { backend, EXAMPLE_URL } from './backend-schema.ts'
import { balancer, DEFAULT_BALANCER } from './balancer-schema.ts'
import {
  closed,
  codeOnly,
  codeOr,
  contract,
  defaultsTo,
  hasMethodOf,
  list,
  millis,
  optional,
  renamed,
  type Schema,
  text,
  whole,
  withDefault,
  word,
  wording,
} from './rules.ts'
import { timeouts } from './timeouts-schema.ts'

/** `false`, an object of the application, or the options of the built-in. */
function policyOr<C extends Schema, D extends Schema>(methods: readonly string[], code: C, data: D) {
  const off = v.literal(false)
  const dataOrOff = v.lazy((input) => (input === undefined ? v.union([off, data]) : input === false ? off : data))
  return codeOr((input) => hasMethodOf(input, methods), code, dataOrOff)
}

const pool = codeOr(
  (input) => hasMethodOf(input, ['acquire', 'stats', 'drain', 'destroy']),
  contract<Pool>('a Pool', ['acquire', 'stats', 'drain', 'close', 'destroy'], POOL_DEFAULTS),
  closed(
    {
      maxConnections: withDefault(
        'Connections per backend. Each response that stays open (server-sent events, long polls) and each upgraded connection (WebSocket) takes one.',
        whole('', 1, 100_000, POOL_DEFAULTS.maxConnections),
        POOL_DEFAULTS.maxConnections,
      ),
      maxWaiting: withDefault(
        'Exchanges that may wait for a connection, per backend; one more gets 503 at once.',
        whole('', 0, 1e9, POOL_DEFAULTS.maxWaiting),
        POOL_DEFAULTS.maxWaiting,
      ),
      keepAliveMs: withDefault(
        'How long an unused connection is kept, ms, but always one second less than the backend announces. With 0, requests have `Connection: close`.',
        millis('0: a new connection for each request', POOL_DEFAULTS.keepAliveMs),
        POOL_DEFAULTS.keepAliveMs,
      ),
      maxResponseHeadBytes: withDefault(
        'Size of a response head, bytes; 502 if it is larger.',
        whole(' of bytes', 1024, 2 ** 30, POOL_DEFAULTS.maxResponseHeadBytes),
        POOL_DEFAULTS.maxResponseHeadBytes,
      ),
      maxInterimResponses: withDefault(
        'Interim responses (1xx) before the final one; 502 if there are more.',
        whole('', 0, 10_000, POOL_DEFAULTS.maxInterimResponses),
        POOL_DEFAULTS.maxInterimResponses,
      ),
      pingMs: withDefault(
        'HTTP/2: after so long without a byte from a backend that has requests, ask it whether it is there (PING), ms; without an answer within 5 s its connection is lost. 0: never. gRPC servers count frequent pings as an attack.',
        millis('0: never', POOL_DEFAULTS.pingMs),
        POOL_DEFAULTS.pingMs,
      ),
    },
    { example: { maxConnections: 256 }, or: 'or a Pool' },
  ),
)

const status = whole('', 100, 599, 503)
const PATH = /^\/[\x21\x22\x24-\x7e]*$/
/** The explicit type keeps the inferred type of all options below TypeScript's size limit. */
const probe: Schema<Complete<ProbeOptions>> = closed(
  {
    type: withDefault(
      "What a probe sends: an HTTP request, or a call of gRPC's health service (`grpc.health.v1`) over HTTP/2, which passes if the status is SERVING.",
      word(['http', 'grpc']),
      PROBE_DEFAULTS.type,
    ),
    service: withDefault(
      'Service that a probe of type `grpc` asks for. By default the server as a whole.',
      text('a name of at most 127 characters', 'shop.Orders', (value) =>
        /^[\w./-]{0,127}$/.test(value) ? null : 'is not the name of a service',
      ),
      PROBE_DEFAULTS.service,
    ),
    path: withDefault(
      'Path that a probe requests. Only for type `http`, like `method` and `statuses`.',
      text('a path that starts with /', '/healthz', (value) => (PATH.test(value) ? null : 'is not a path')),
      PROBE_DEFAULTS.path,
    ),
    method: withDefault('Method of a probe.', word(['GET', 'HEAD']), PROBE_DEFAULTS.method),
    host: withDefault(
      "Host (in gRPC `:authority`) of a probe. By default the backend's own.",
      text('a host name', 'app.example.com', (value) => (/^[\w.:[\]-]*$/.test(value) ? null : 'is not a host name')),
      PROBE_DEFAULTS.host,
    ),
    statuses: withDefault(
      'Statuses that pass. By default 200 to 399.',
      list(status, 'a list of statuses', [200, 204]),
      [...PROBE_DEFAULTS.statuses],
    ),
    intervalMs: withDefault(
      'Time from the end of one probe to the next, ms, plus a random tenth at most.',
      whole(' of milliseconds', 1, 2_147_483_647, PROBE_DEFAULTS.intervalMs),
      PROBE_DEFAULTS.intervalMs,
    ),
    timeoutMs: withDefault(
      'Time limit for the whole response, connection included, ms.',
      whole(' of milliseconds', 1, 2_147_483_647, PROBE_DEFAULTS.timeoutMs),
      PROBE_DEFAULTS.timeoutMs,
    ),
    rise: withDefault(
      'Probes in a row that must pass before an unhealthy backend is healthy.',
      whole('', 1, 1000, PROBE_DEFAULTS.rise),
      PROBE_DEFAULTS.rise,
    ),
    fall: withDefault(
      'Probes in a row that must fail before a healthy backend is unhealthy. The first probe alone can mark it unhealthy.',
      whole('', 1, 1000, PROBE_DEFAULTS.fall),
      PROBE_DEFAULTS.fall,
    ),
  },
  { example: { path: '/healthz' } },
)
const healthCheck = policyOr(
  ['observe'],
  contract<HealthCheck>('a HealthCheck', ['observe'], EJECTION_DEFAULTS),
  closed(
    {
      consecutiveFailures: withDefault(
        'Failures in a row that eject a backend.',
        whole('', 1, 1e9, EJECTION_DEFAULTS.consecutiveFailures),
        EJECTION_DEFAULTS.consecutiveFailures,
      ),
      statuses: withDefault(
        'Statuses of responses that count as failures. Danger: a client that can cause one of them can have healthy backends ejected.',
        list(status, 'a list of statuses', [502, 503, 504]),
        [...EJECTION_DEFAULTS.statuses],
      ),
      baseMs: withDefault(
        'Length of the first ejection, ms; each one in a row is twice as long.',
        whole(' of milliseconds', 1, 2_147_483_647, EJECTION_DEFAULTS.baseMs),
        EJECTION_DEFAULTS.baseMs,
      ),
      maxMs: withDefault(
        'Longest ejection, ms.',
        whole(' of milliseconds', 1, 2_147_483_647, EJECTION_DEFAULTS.maxMs),
        EJECTION_DEFAULTS.maxMs,
      ),
      maxEjectedPercent: withDefault(
        'Share of the backends that may be ejected at one time, percent. The last available backend is never ejected.',
        whole(' of percent', 0, 100, EJECTION_DEFAULTS.maxEjectedPercent),
        EJECTION_DEFAULTS.maxEjectedPercent,
      ),
      probe: optional('Asks each backend at intervals, and marks those unhealthy that fail. Off by default.', probe),
    },
    { example: { consecutiveFailures: 5 }, or: 'or false, or a HealthCheck' },
  ),
)

const retry = policyOr(
  ['next'],
  contract<RetryPolicy>('a RetryPolicy', ['next'], RETRY_DEFAULTS),
  closed(
    {
      maxRetries: withDefault(
        'Attempts after the first one.',
        whole('', 0, 100, RETRY_DEFAULTS.maxRetries),
        RETRY_DEFAULTS.maxRetries,
      ),
      budgetPercent: withDefault(
        'Retries allowed for each 100 first attempts of the last ten seconds.',
        whole(' of percent', 0, 1000, RETRY_DEFAULTS.budgetPercent),
        RETRY_DEFAULTS.budgetPercent,
      ),
      minPerSecond: withDefault(
        'Retries a second that are always allowed.',
        whole('', 0, 1e6, RETRY_DEFAULTS.minPerSecond),
        RETRY_DEFAULTS.minPerSecond,
      ),
      baseDelayMs: withDefault(
        'Unit of the backoff, ms. The first retry is immediate; the Nth waits a random time below (2^N - 1) units.',
        millis('0: no wait', RETRY_DEFAULTS.baseDelayMs),
        RETRY_DEFAULTS.baseDelayMs,
      ),
      maxDelayMs: withDefault(
        'Longest wait before a retry, ms.',
        millis('0: no wait', RETRY_DEFAULTS.maxDelayMs),
        RETRY_DEFAULTS.maxDelayMs,
      ),
    },
    {
      example: { maxRetries: 2 },
      or: 'or false, or a RetryPolicy',
      hints: renamed({ attempts: 'maxRetries' }),
    },
  ),
)

const AFFINITY = { name: 'cookie', onLost: 'rebalance' }
const affinity = codeOnly(
  v.pipe(
    contract<Affinity>('an Affinity', ['find', 'bind'], AFFINITY),
    v.check(
      ({ onLost }) => onLost === 'rebalance' || onLost === 'refuse',
      wording("onLost: 'rebalance' or 'refuse'", AFFINITY, "has an onLost that is neither 'rebalance' nor 'refuse'"),
    ),
  ),
)

/** The options of a group; the proxy has them too, for its unnamed group. */
export const GROUP = {
  backends: optional(
    'The servers that share the load. With an empty list requests get 503 until `setBackends()` adds some.',
    list(backend, 'a list of backends', [EXAMPLE_URL]),
  ),
  target: optional('A single backend; in place of `backends`.', backend),
  balancer: defaultsTo('How a backend is picked for each request.', balancer, DEFAULT_BALANCER),
  affinity: optional('How a client stays with its backend.', affinity),
  pool: optional('Connections to the backends.', pool),
  healthCheck: optional('Ejects failing backends, and probes backends if `probe` is set. On by default.', healthCheck),
  slowStartMs: withDefault(
    'How long a new or returning backend gets a growing share of the traffic, ms; it starts at a tenth. Relative to the oldest backend of the group, so backends that are added together share evenly.',
    millis('0: not at all', 30_000),
    0,
  ),
  retry: optional('Retries of requests that can safely be sent again. On by default.', retry),
  timeouts: optional("Time limits of this group. By default the proxy's.", timeouts),
}
/** A set of backends and how to treat them. */
export const group = closed(GROUP, { example: { backends: [EXAMPLE_URL] } })

/** The output of {@link group}. */
export type CheckedGroup = v.InferOutput<typeof group>
