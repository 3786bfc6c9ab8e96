import * as v from 'valibot'
import type { Executor } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import type { Observer } from '../contracts/observer.ts'
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
  text,
  whole,
  withDefault,
  word,
  wording,
} from './rules.ts'
import { proxyTimeouts } from './timeouts-schema.ts'

/*
 * Every option of the proxy: its check, its default, its wording. Those of groups, backends and routes are in the files
 * next to this one. They define the faults of `resolveOptions()`, the defaults, and the JSON Schema of the configuration
 * file. The public types are in `./options.ts`.
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
  maxConnectionAgeMs: 0,
  headTimeoutMs: 60_000,
  requestTimeoutMs: 0,
  minBodyBytesPerSecond: 0,
  minReadBytesPerSecond: 0,
})

/** The defaults of `limits.http2`. */
export const HTTP2_LIMIT_DEFAULTS = Object.freeze({ maxStreams: 128, windowBytes: 1_048_576, maxDemerits: 300 })

const DRAIN_TIMEOUT_MS = 10_000

const FORMATS = ['off', 'common', 'combined', 'json'] as const
const accessLog = codeOr(
  isPlainObject,
  closed(
    {
      format: word(FORMATS),
      write: v.custom<(line: string) => void>(isFunction, wording('a function', '(line) => {}')),
    },
    { example: { format: 'json', write: '(line) => {}' } },
  ),
  word(FORMATS, ' or { format, write }'),
)
const logger = codeOr(
  isObject,
  contract<Logger | Console>('a logger', ['info', 'warn', 'error'], 'console'),
  word(['warnings', 'console', 'silent'], ' or a logger'),
)

const observer = v.custom<Observer>(
  (input) => isObject(input) && typeof input.name === 'string',
  wording('an Observer: { name, onFinish(exchange, record), ... }', { name: 'mine' }),
)

/** Hints for options of http-proxy and similar packages. */
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
  ['retries', 'is unknown; here it is retry: { maxRetries }'],
  ['ws', 'is unknown; connect proxy.ws to the upgrade event, or use proxy.attach(server)'],
])

/** {@link import('./options.ts').ProxyOptions}, checked and with the defaults that do not depend on other options. */
export const proxySchema = closed(
  {
    ...GROUP,
    name: optional(
      'Name of the proxy. Needed if a module that several threads run creates several proxies.',
      text('a word of letters, digits and _ . -', 'api', (value) =>
        /^[\w.-]+$/.test(value) ? null : 'is not such a word',
      ),
    ),
    timeouts: optional('Time limits by phase, of all groups and routes that have none of their own.', proxyTimeouts),
    groups: optional(
      'Sets of backends by name, for `routes`.',
      named(group, 'groups by name', { api: { backends: [EXAMPLE_URL] } }, (value) =>
        /^[\w.-]+$/.test(value) ? null : 'is not a valid name: use letters, digits, _ . -',
      ),
    ),
    routes: withDefault(
      'Which request goes to which group. Without routes every request goes to the unnamed group.',
      list(route, 'a list of routes', [{ path: '/api' }]),
      [],
    ),
    routing: withDefault(
      'How paths are read.',
      closed(
        {
          encodedSlashes: withDefault(
            'What to do with `%2F`, `%5C` and `%00` in a path that a route looks at: refuse the request with 400, treat them as slashes, or pass them as ordinary characters.',
            word(['refuse', 'decode', 'pass']),
            'refuse',
          ),
        },
        { example: { encodedSlashes: 'refuse' } },
      ),
      { encodedSlashes: 'refuse' },
    ),
    logger: withDefault(
      'Where diagnostics go: `warnings` writes warnings and errors to standard error, `console` information too, `silent` nothing.',
      logger,
      'warnings',
    ),
    accessLog: withDefault('One line for each exchange, on standard output or to `write`.', accessLog, 'off'),
    observers: optional(
      'Observers of your own, notified of everything that happens.',
      codeOnly(list(observer, 'a list of observers', [])),
    ),
    trustedProxies: withDefault(
      'Proxies in front of this one: addresses, CIDR ranges, `loopback`, `private`, or `unix` (clients on a unix socket). Their `X-Forwarded-*` is kept and added to; their `X-Real-IP`, `Forwarded`, `X-Original-URL` and `X-Rewrite-URL` are passed on.',
      list(
        text('an address, a CIDR range, loopback, private or unix', '10.0.0.0/8', rangeFault),
        'a list of addresses and CIDR ranges',
        ['10.0.0.0/8'],
      ),
      [],
    ),
    xfwd: withDefault(
      'Set `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`. `false` passes on none, not even received ones.',
      flag(true),
      true,
    ),
    forwarded: optional(
      'Exceptions from what only trusted proxies may send.',
      closed(
        {
          pass: optional(
            'Headers that are passed on from every client. Danger: a backend that believes them believes every client; `X-Original-URL` and `X-Rewrite-URL` replace the path in IIS, Symfony and others, past your routes. `Proxy` never passes.',
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
      "`Host` that backends get: the client's, or their own.",
      word(['client', 'backend']),
      'client',
    ),
    via: withDefault(
      'Name of this proxy in `Via`, both ways. By default no `Via` is added.',
      text('a word of letters, digits and . - _', 'heddle', (value) =>
        /^[\w.-]*$/.test(value) ? null : 'is not such a word',
      ),
      '',
    ),
    limits: optional(
      'Limits for clients.',
      closed(
        {
          maxHeadBytes: withDefault(
            'Target, names and values of a request head, bytes; 431 if it is larger. `listen()` only.',
            whole(' of bytes', 1024, 2 ** 20, 32_768),
            LIMIT_DEFAULTS.maxHeadBytes,
          ),
          maxHeaders: withDefault(
            'Header lines of a request; 431 if there are more.',
            whole(' of header lines', 1, 10_000, 200),
            LIMIT_DEFAULTS.maxHeaders,
          ),
          maxTargetBytes: withDefault(
            'Request target, bytes; 414 if it is longer.',
            whole(' of bytes', 1, 2 ** 20, 16_384),
            LIMIT_DEFAULTS.maxTargetBytes,
          ),
          maxBodyBytes: withDefault(
            'Request body, bytes; 413 if it is larger.',
            whole(' of bytes (0: any)', 0, Number.MAX_SAFE_INTEGER, 10_485_760),
            LIMIT_DEFAULTS.maxBodyBytes,
          ),
          replayBytes: withDefault(
            'How much of a request body is kept for a retry, bytes.',
            whole(' of bytes', 0, 2 ** 30, 65_536),
            LIMIT_DEFAULTS.replayBytes,
          ),
          maxConnections: withDefault(
            'Open client connections, for each listener and thread; one more is closed at once, with a line in the access log. `listen()` only.',
            whole(' of connections (0: any)', 0, 2 ** 30, 10_000),
            LIMIT_DEFAULTS.maxConnections,
          ),
          maxConnectionsPerAddress: withDefault(
            'The same for one client address, or the /64 network of an IPv6 address; with a line at `debug` only. Clients on a unix socket and `trustedProxies` are exempt. `listen()` only.',
            whole(' of connections (0: any)', 0, 2 ** 30, 100),
            LIMIT_DEFAULTS.maxConnectionsPerAddress,
          ),
          halfClose: withDefault(
            'A client that ends its side of the connection (FIN) after a whole request: `respond` sends its responses and then ends the connection; `abort` treats the client as gone. `listen()` only.',
            word(['respond', 'abort']),
            LIMIT_DEFAULTS.halfClose,
          ),
          maxRequestsPerConnection: withDefault(
            'Requests that one client connection may carry; the last response ends it.',
            whole(' of requests (0: any)', 0, 2 ** 30, 1000),
            LIMIT_DEFAULTS.maxRequestsPerConnection,
          ),
          maxConnectionAgeMs: withDefault(
            'Age of a client connection, ms, give or take a tenth; the next response ends it (HTTP/2: GOAWAY at once). Clients then spread anew over threads and machines.',
            millis('0: any', 600_000),
            LIMIT_DEFAULTS.maxConnectionAgeMs,
          ),
          headTimeoutMs: withDefault(
            'For a whole request head to arrive, ms; 408 after it (HTTP/2: the connection ends). 0 also leaves slow-head attacks unchecked. `listen()` only.',
            millis('0: off', 10_000),
            LIMIT_DEFAULTS.headTimeoutMs,
          ),
          requestTimeoutMs: withDefault(
            'For a whole request to arrive, body included, ms; 408 after it. `listen()` only.',
            millis('0: off', 300_000),
            LIMIT_DEFAULTS.requestTimeoutMs,
          ),
          minBodyBytesPerSecond: withDefault(
            'Bytes a second that a client must send of a body that the proxy waits for, after 5 s of grace; 408 below. 240 stops slow-body attacks; leave it off for streams of rare events.',
            whole(' of bytes a second (0: any)', 0, 2 ** 30, 240),
            LIMIT_DEFAULTS.minBodyBytesPerSecond,
          ),
          minReadBytesPerSecond: withDefault(
            'Bytes a second that a client must read of a response that the proxy has for it, after 5 s of grace; below, the response is truncated. 240 keeps slow readers from holding connections to backends.',
            whole(' of bytes a second (0: any)', 0, 2 ** 30, 240),
            LIMIT_DEFAULTS.minReadBytesPerSecond,
          ),
          http2: optional(
            'Limits for each connection of HTTP/2. `listen()` only.',
            closed(
              {
                maxStreams: withDefault(
                  'Streams that a client may have open at a time; one more is refused (REFUSED_STREAM).',
                  whole(' of streams', 1, 10_000, 256),
                  HTTP2_LIMIT_DEFAULTS.maxStreams,
                ),
                windowBytes: withDefault(
                  'Window of a connection, and the largest one of a stream, bytes: an upload gets at most this much for each round trip, and a client leaves at most twice as much unread in the proxy.',
                  whole(' of bytes', 65_535, 2 ** 30, 4_194_304),
                  HTTP2_LIMIT_DEFAULTS.windowBytes,
                ),
                maxDemerits: withDefault(
                  'Points that a client may lose for what a flood consists of (a reset 1, a fault 2, PING 1, ...) before its connection ends; a sixth comes back each second.',
                  whole(' of points', 10, 1_000_000, 1000),
                  HTTP2_LIMIT_DEFAULTS.maxDemerits,
                ),
              },
              { example: { maxStreams: 256 } },
            ),
          ),
        },
        {
          example: { maxBodyBytes: 10_485_760 },
          hints: renamed({ minBodyRate: 'minBodyBytesPerSecond', minReadRate: 'minReadBytesPerSecond' }),
        },
      ),
    ),
    drainTimeoutMs: withDefault(
      'How long `close()` lets exchanges and upgraded connections finish, ms.',
      millis('0: not at all', DRAIN_TIMEOUT_MS),
      DRAIN_TIMEOUT_MS,
    ),
    executor: optional(
      'Serves the connections of `listen()`: `inline()` (default) or `workerThreads()`.',
      codeOnly(contract<Executor>('an executor', ['start'], 'workerThreads()')),
    ),
    clock: optional(
      'Time and chance, for tests. By default those of the machine.',
      codeOnly(contract<Clock>('a Clock', ['now', 'epoch', 'random', 'schedule'], 'manualClock()')),
    ),
  },
  { example: { backends: [EXAMPLE_URL] }, hints: HINTS },
)

/** The output of {@link proxySchema}. */
export type CheckedOptions = v.InferOutput<typeof proxySchema>

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
