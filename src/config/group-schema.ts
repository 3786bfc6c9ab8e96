import * as v from 'valibot'
import type { Affinity } from '../contracts/affinity.ts'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Pool } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import { EJECTION_DEFAULTS, PROBE_DEFAULTS, type ProbeOptions } from '../health-checks/index.ts'
import { HTTP1_POOL_DEFAULTS } from '../pools/http1/pool.ts'
import { RETRY_DEFAULTS } from '../retry-policies/index.ts'
import { backend, EXAMPLE_URL } from './backend-schema.ts'
import { balancer } from './balancer-schema.ts'
import {
  closed,
  codeOnly,
  codeOr,
  contract,
  hasMethodOf,
  list,
  millis,
  optional,
  renamed,
  type Schema,
  says,
  text,
  whole,
  withDefault,
  word,
} from './rules.ts'
import { timeouts } from './timeouts-schema.ts'

/** `false`, or an object of the application's own, or the options of the built-in. */
function policyOr<C extends Schema, D extends Schema>(methods: readonly string[], code: C, data: D) {
  const off = v.literal(false)
  const dataOrOff = v.lazy((input) => (input === undefined ? v.union([off, data]) : input === false ? off : data))
  return codeOr((input) => hasMethodOf(input, methods), code, dataOrOff)
}

const pool = codeOr(
  (input) => hasMethodOf(input, ['acquire', 'stats', 'drain', 'destroy']),
  contract<Pool>('a Pool', ['acquire', 'stats', 'drain', 'close', 'destroy'], HTTP1_POOL_DEFAULTS),
  closed(
    {
      maxConnections: withDefault(
        'Connections per backend.',
        whole('', 1, 100_000, 256),
        HTTP1_POOL_DEFAULTS.maxConnections,
      ),
      maxWaiting: withDefault(
        'Exchanges that may wait, per backend.',
        whole('', 0, 1e9, 1024),
        HTTP1_POOL_DEFAULTS.maxWaiting,
      ),
      keepAliveMs: withDefault(
        'How long an unused connection is kept, ms.',
        millis('0: a new connection for each request', 4000),
        HTTP1_POOL_DEFAULTS.keepAliveMs,
      ),
      maxResponseHeadBytes: withDefault(
        'Size of a response head, bytes.',
        whole(' of bytes', 1024, 2 ** 30, 65_536),
        HTTP1_POOL_DEFAULTS.maxResponseHeadBytes,
      ),
      maxInterimResponses: withDefault(
        'Interim responses (1xx) before the final one.',
        whole('', 0, 10_000, 100),
        HTTP1_POOL_DEFAULTS.maxInterimResponses,
      ),
    },
    { example: { maxConnections: 256 }, or: 'or a Pool' },
  ),
)

const status = whole('', 100, 599, 503)
const PATH = /^\/[\x21\x22\x24-\x7e]*$/
/** Its type is written out: what TypeScript infers for all options together would be longer than it can write. */
const probe: Schema<Required<ProbeOptions>> = closed(
  {
    path: withDefault(
      'Path to ask for.',
      text('a path that starts with /', '/healthz', (value) => (PATH.test(value) ? null : 'is no path')),
      PROBE_DEFAULTS.path,
    ),
    method: withDefault('How to ask.', word(['GET', 'HEAD']), PROBE_DEFAULTS.method),
    host: withDefault(
      "Host of the request; empty: the backend's own.",
      text('a host name', 'app.example.com', (value) => (/^[\w.:[\]-]*$/.test(value) ? null : 'is no host name')),
      PROBE_DEFAULTS.host,
    ),
    statuses: withDefault(
      'Statuses that say that it works; none: 200 to 399.',
      list(status, 'a list of statuses', [200, 204]),
      PROBE_DEFAULTS.statuses,
    ),
    intervalMs: withDefault(
      'From the end of one probe to the next, ms.',
      whole(' of milliseconds', 1, 2_147_483_647, 5000),
      PROBE_DEFAULTS.intervalMs,
    ),
    timeoutMs: withDefault(
      'For an answer to come whole, ms.',
      whole(' of milliseconds', 1, 2_147_483_647, 2000),
      PROBE_DEFAULTS.timeoutMs,
    ),
    rise: withDefault('Probes in a row that must pass.', whole('', 1, 1000, 2), PROBE_DEFAULTS.rise),
    fall: withDefault('Probes in a row that must fail.', whole('', 1, 1000, 3), PROBE_DEFAULTS.fall),
  },
  { example: { path: '/healthz' } },
)
const healthCheck = policyOr(
  ['observe'],
  contract<HealthCheck>('a HealthCheck', ['observe'], EJECTION_DEFAULTS),
  closed(
    {
      consecutiveFailures: withDefault(
        'Failures in a row.',
        whole('', 1, 1e9, 5),
        EJECTION_DEFAULTS.consecutiveFailures,
      ),
      statuses: withDefault(
        'Statuses of responses that count as failures; clients who can cause them can have backends ejected.',
        list(status, 'a list of statuses', [502, 503, 504]),
        EJECTION_DEFAULTS.statuses,
      ),
      baseMs: withDefault(
        'Length of the first ejection, ms; doubles with each one in a row.',
        whole(' of milliseconds', 1, 2_147_483_647, 30_000),
        EJECTION_DEFAULTS.baseMs,
      ),
      maxMs: withDefault(
        'Longest ejection, ms.',
        whole(' of milliseconds', 1, 2_147_483_647, 300_000),
        EJECTION_DEFAULTS.maxMs,
      ),
      maxEjectedPercent: withDefault(
        'Share of the backends that may be ejected at one time, percent; the last available one never is.',
        whole(' of percent', 0, 100, 50),
        EJECTION_DEFAULTS.maxEjectedPercent,
      ),
      probe: optional('Asks each backend from time to time whether it works.', probe),
    },
    { example: { consecutiveFailures: 5 }, or: 'or false, or a HealthCheck' },
  ),
)

const retry = policyOr(
  ['next'],
  contract<RetryPolicy>('a RetryPolicy', ['next'], RETRY_DEFAULTS),
  closed(
    {
      maxRetries: withDefault('Further attempts of one exchange.', whole('', 0, 100, 2), RETRY_DEFAULTS.maxRetries),
      budgetPercent: withDefault(
        'Retries in relation to first attempts over the last ten seconds, percent.',
        whole(' of percent', 0, 1000, 20),
        RETRY_DEFAULTS.budgetPercent,
      ),
      minPerSecond: withDefault(
        'Retries a second that are always allowed.',
        whole('', 0, 1e6, 10),
        RETRY_DEFAULTS.minPerSecond,
      ),
      baseDelayMs: withDefault('Unit of the backoff, ms.', millis('0: no wait', 25), RETRY_DEFAULTS.baseDelayMs),
      maxDelayMs: withDefault('Longest wait, ms.', millis('0: no wait', 250), RETRY_DEFAULTS.maxDelayMs),
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
      says("onLost: 'rebalance' or 'refuse'", AFFINITY, "has an onLost that is neither 'rebalance' nor 'refuse'"),
    ),
  ),
)

/** The options of a group; the proxy has them too, for its unnamed group. */
export const GROUP = {
  backends: optional(
    'The servers to share the load between; none: 503.',
    list(backend, 'a list of backends', [EXAMPLE_URL]),
  ),
  target: optional('Shorthand for a single backend.', backend),
  balancer: optional('Who picks.', balancer),
  affinity: optional('Who stays with which backend.', affinity),
  pool: optional('Bounds of the connections to each backend.', pool),
  healthCheck: optional('When to take a backend out of the balance, or false.', healthCheck),
  slowStartMs: withDefault(
    'For how long a backend that comes back gets less than its share, ms.',
    millis('0: not at all', 30_000),
    0,
  ),
  retry: optional('When to repeat what can safely be repeated, or false.', retry),
  timeouts: optional("Limits for this group, over the proxy's.", timeouts),
}
/** A set of backends and how to treat them. */
export const group = closed(GROUP, { example: { backends: [EXAMPLE_URL] } })

/** What {@link group} makes of its input. */
export type CheckedGroup = v.InferOutput<typeof group>
