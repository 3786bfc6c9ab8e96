import * as v from 'valibot'
import type { Executor } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { classify, FORWARDING, LOOKALIKE, WRITTEN } from '../headers/facts.ts'
import { trustMatcher } from '../headers/trust.ts'
import { isToken } from '../http1/fields.ts'
import type { Clock } from '../runtime/clock.ts'
import { EXAMPLE_URL } from './backend-schema.ts'
import { GROUP, group } from './group-schema.ts'
import { route } from './route-schema.ts'
import {
  closed,
  codeOnly,
  codeOr,
  contract,
  flag,
  isObject,
  isPlainObject,
  list,
  millis,
  named,
  optional,
  renamed,
  says,
  text,
  whole,
  withDefault,
  word,
} from './rules.ts'
import { TIMEOUT_DEFAULTS, timeouts } from './timeouts-schema.ts'

/*
 * Every option of the proxy: its check, its default, its wording; those of groups, backends and routes are in the files
 * beside. From here come the faults of `resolveOptions()`, its defaults, and the JSON Schema of the configuration file.
 * The types that users see are in `./options.ts`.
 */

/** The defaults of `limits`. */
export const LIMIT_DEFAULTS = Object.freeze({
  maxHeadBytes: 16_384,
  maxHeaders: 100,
  maxTargetBytes: 8192,
  maxBodyBytes: 0,
  replayBytes: 65_536,
  maxConnections: 0,
  maxConnectionsPerAddress: 0,
  halfClose: 'respond',
  maxRequestsPerConnection: 0,
  headTimeoutMs: 60_000,
  requestTimeoutMs: 0,
  minBodyBytesPerSecond: 0,
  minReadBytesPerSecond: 0,
})

const FORMATS = ['off', 'common', 'combined', 'json'] as const
const accessLog = codeOr(
  isPlainObject,
  closed(
    { format: word(FORMATS), write: v.custom<(line: string) => void>(isFunction, says('a function', '(line) => {}')) },
    { example: { format: 'json', write: '(line) => {}' } },
  ),
  word(FORMATS, ' or { format, write }'),
)
const logger = codeOr(
  isObject,
  contract<Logger | Console>('a logger', ['info', 'warn', 'error'], 'console'),
  word(['silent', 'console'], ' or a logger'),
)

/** Answers for those who come from http-proxy and its kin. */
const HINTS = new Map([
  ...renamed({ closeGraceMs: 'drainTimeoutMs' }),
  ['changeOrigin', "is unknown; here it is hostHeader: 'backend'"],
  ['secure', 'is unknown; here it is tls: { rejectUnauthorized } of a backend'],
  ['ssl', 'is unknown; here it is tls of a backend, and your own https server'],
  ['agent', 'is unknown; connections are kept alive by default, see pool'],
  ['headers', 'is unknown; here it is requestHeaders: { set } of a route'],
  ['pathRewrite', 'is unknown; here it is stripPrefix and addPrefix of a route'],
  ['pathFilter', 'is unknown; here it is path of a route'],
  ['router', 'is unknown; here it is routes and groups'],
  ['timeout', 'is unknown; here it is timeouts: { idle, total }'],
  ['proxyTimeout', 'is unknown; here it is timeouts: { headers, idle }'],
  ['ws', 'is unknown; connect proxy.ws to the upgrade event, or use proxy.attach(server)'],
])

/** {@link import('./options.ts').ProxyOptions}, checked and with the defaults that do not depend on other options. */
export const proxySchema = closed(
  {
    ...GROUP,
    timeouts: optional(
      `Time limits by phase, ms; for all groups and routes. Default: ${limits(TIMEOUT_DEFAULTS)}.`,
      timeouts,
    ),
    groups: optional(
      'Named sets of backends, for `routes`.',
      named(group, 'groups by name', { api: { backends: [EXAMPLE_URL] } }, (value) =>
        /^[\w.-]+$/.test(value) ? null : 'is no name: use letters, digits, _ . -',
      ),
    ),
    routes: withDefault('Which request goes to which group.', list(route, 'a list of routes', [{ path: '/api' }]), []),
    routing: withDefault(
      'How routes read paths.',
      closed(
        {
          encodedSlashes: withDefault(
            'What becomes of %2F, %5C and %00 in a path that is looked at: 400, or read and sent as a slash, or an ordinary character.',
            word(['refuse', 'decode', 'pass']),
            'refuse',
          ),
        },
        { example: { encodedSlashes: 'refuse' } },
      ),
      { encodedSlashes: 'refuse' },
    ),
    logger: withDefault('Diagnostics.', logger, 'silent'),
    accessLog: withDefault('One line for each exchange.', accessLog, 'off'),
    trustedProxies: withDefault(
      'Addresses or CIDR ranges of proxies in front of us, whose X-Forwarded-* and the like are kept.',
      list(
        text('an address, a CIDR range, loopback, private or unix', '10.0.0.0/8', rangeFault),
        'a list of addresses and CIDR ranges',
        ['10.0.0.0/8'],
      ),
      [],
    ),
    xfwd: withDefault('Set X-Forwarded-For, -Proto, -Host and -Port.', flag(true), true),
    forwarded: optional(
      'What of the headers that only trusted proxies may send is passed on from everybody.',
      closed(
        {
          pass: optional(
            'Names of headers.',
            list(
              text('the name of such a header that the proxy does not write itself', 'X-Forwarded-Prefix', passFault),
              'a list of names',
              ['X-Forwarded-Prefix'],
            ),
          ),
        },
        { example: { pass: ['X-Forwarded-Prefix'] } },
      ),
    ),
    hostHeader: withDefault(
      "Host that backends see: the client's or their own.",
      word(['client', 'backend']),
      'client',
    ),
    via: withDefault(
      'Our name in Via; none, where left out.',
      text('a word of letters, digits and . - _', 'heddle', (value) => (/^[\w.-]*$/.test(value) ? null : 'is no word')),
      '',
    ),
    limits: optional(
      'Bounds on what a client may send.',
      closed(
        {
          maxHeadBytes: withDefault(
            'Target, names and values of a request head, bytes; on a listener of our own.',
            whole(' of bytes', 1024, 2 ** 20, 32_768),
            LIMIT_DEFAULTS.maxHeadBytes,
          ),
          maxHeaders: withDefault(
            'Header lines of a request.',
            whole(' of header lines', 1, 10_000, 200),
            LIMIT_DEFAULTS.maxHeaders,
          ),
          maxTargetBytes: withDefault(
            'Request target, bytes.',
            whole(' of bytes', 1, 2 ** 20, 16_384),
            LIMIT_DEFAULTS.maxTargetBytes,
          ),
          maxBodyBytes: withDefault(
            'Request body, bytes.',
            whole(' of bytes (0: any)', 0, Number.MAX_SAFE_INTEGER, 10_485_760),
            LIMIT_DEFAULTS.maxBodyBytes,
          ),
          replayBytes: withDefault(
            'How much of a request body is kept for a retry, bytes.',
            whole(' of bytes', 0, 2 ** 30, 65_536),
            LIMIT_DEFAULTS.replayBytes,
          ),
          maxConnections: withDefault(
            'Open client connections of a listener of our own, for each thread.',
            whole(' of connections (0: any)', 0, 2 ** 30, 10_000),
            LIMIT_DEFAULTS.maxConnections,
          ),
          maxConnectionsPerAddress: withDefault(
            'Open connections of one client address (IPv6: /64 network) to a listener of our own, for each thread.',
            whole(' of connections (0: any)', 0, 2 ** 30, 100),
            LIMIT_DEFAULTS.maxConnectionsPerAddress,
          ),
          halfClose: withDefault(
            'A client that ends its side after a whole request gets its responses, or counts as gone; on a listener of our own.',
            word(['respond', 'abort']),
            LIMIT_DEFAULTS.halfClose,
          ),
          maxRequestsPerConnection: withDefault(
            'Requests that one client connection may carry.',
            whole(' of requests (0: any)', 0, 2 ** 30, 1000),
            LIMIT_DEFAULTS.maxRequestsPerConnection,
          ),
          headTimeoutMs: withDefault(
            'For a request head to come whole, ms; on a listener of our own.',
            millis('0: off', 10_000),
            LIMIT_DEFAULTS.headTimeoutMs,
          ),
          requestTimeoutMs: withDefault(
            'For a whole request, ms; on a listener of our own.',
            millis('0: off', 300_000),
            LIMIT_DEFAULTS.requestTimeoutMs,
          ),
          minBodyBytesPerSecond: withDefault(
            'Bytes a second that a client must send of its body, after five seconds.',
            whole(' of bytes a second (0: any)', 0, 2 ** 30, 240),
            LIMIT_DEFAULTS.minBodyBytesPerSecond,
          ),
          minReadBytesPerSecond: withDefault(
            'Bytes a second that a client must take of a response, after five seconds.',
            whole(' of bytes a second (0: any)', 0, 2 ** 30, 240),
            LIMIT_DEFAULTS.minReadBytesPerSecond,
          ),
        },
        {
          example: { maxBodyBytes: 10_485_760 },
          hints: renamed({ minBodyRate: 'minBodyBytesPerSecond', minReadRate: 'minReadBytesPerSecond' }),
        },
      ),
    ),
    drainTimeoutMs: withDefault('How long close() lets exchanges finish, ms.', millis('0: not at all', 10_000), 10_000),
    executor: optional(
      'What serves the connections of listen().',
      codeOnly(contract<Executor>('an executor', ['start'], 'workerThreads()')),
    ),
    clock: optional(
      'Time and chance, for tests.',
      codeOnly(contract<Clock>('a Clock', ['now', 'epoch', 'random', 'schedule'], 'manualClock()')),
    ),
  },
  { example: { backends: [EXAMPLE_URL] }, hints: HINTS },
)

/** What {@link proxySchema} makes of the options. */
export type CheckedOptions = v.InferOutput<typeof proxySchema>

function limits(defaults: Readonly<Record<string, number>>): string {
  return Object.entries(defaults)
    .map(([phase, ms]) => `${phase} ${ms}`)
    .join(', ')
}

function rangeFault(range: string): string | null {
  try {
    trustMatcher([range])
    return null
  } catch {
    return 'is neither an address nor a CIDR range'
  }
}

function passFault(name: string): string | null {
  if (!isToken(name)) return 'is not a header name'
  const facts = classify(name)
  if ((facts & WRITTEN) !== 0) return 'is written by the proxy itself; see trustedProxies and xfwd'
  if (name.toLowerCase() === 'proxy') return 'is never passed on: CGI makes HTTP_PROXY of it'
  return (facts & (FORWARDING | LOOKALIKE)) === FORWARDING
    ? null
    : 'is passed on in any case, or never; forwarded.pass is for X-Forwarded-*, X-Real-IP, X-Original-URL, X-Rewrite-URL and Forwarded'
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}
