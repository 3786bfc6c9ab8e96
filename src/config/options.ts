import type { ConsistentHashOptions, PeakEwmaOptions } from '../balancers/index.ts'
import type { Affinity } from '../contracts/affinity.ts'
import type { Balancer } from '../contracts/balancer.ts'
import type { Executor } from '../contracts/executor.ts'
import type { HealthCheck } from '../contracts/health-check.ts'
import type { Interceptor } from '../contracts/interceptor.ts'
import type { Logger } from '../contracts/logger.ts'
import type { Observer } from '../contracts/observer.ts'
import type { Pool } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { Transform } from '../contracts/transform.ts'
import type { EjectionOptions, ProbeOptions } from '../health-checks/index.ts'
import type {
  AddressesOptions,
  CompressOptions,
  CorsOptions,
  ErrorPageOptions,
  FollowRedirectsOptions,
  ForwardAuthOptions,
  RewriteCookiesOptions,
  RewriteLocationOptions,
} from '../interceptors/index.ts'
import type { BackendInit } from '../model/backend.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { Limits } from '../model/limits.ts'
import type { PoolOptions } from '../pools/settings.ts'
import type { RetryOptions } from '../retry-policies/index.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Complete } from '../runtime/complete.ts'
import type { HeaderChanges } from '../transforms/index.ts'

// The options of a built-in are declared next to it.
export type { EjectionOptions, HeaderChanges, PoolOptions, ProbeOptions, RetryOptions }

/** Time limits in ms, by phase. `0` disables a limit. */
export interface TimeoutOptions {
  /** To establish a connection to a backend, TLS included. Default 5000. */
  connect?: number | undefined
  /** To wait for a free connection if the backend has as many as the pool allows. Default 3000. */
  acquire?: number | undefined
  /** From sending the request to the first byte of the response head. Default 30000. */
  headers?: number | undefined
  /** Without a byte of body in either direction, on either side. Default 60000. */
  idle?: number | undefined
  /** For the whole exchange, all attempts and waits included. Default 0: off, since it would end long downloads. */
  total?: number | undefined
  /** Without a byte in either direction on an upgraded connection (WebSocket). Default 0: off. */
  upgradeIdle?: number | undefined
  /** For the interceptors of a route, until they respond or send the request on. Default 10000. */
  intercept?: number | undefined
}

/** A built-in balancer by name, with its options, for configuration files. The proxy provides time and chance. */
export type NamedBalancer =
  | { name: BalancerName }
  | ({ name: 'peak-ewma' } & Omit<PeakEwmaOptions, 'random' | 'now'>)
  | ({ name: 'consistent-hash' } & Omit<ConsistentHashOptions, 'random'>)

/** The built-in balancers. */
export type BalancerName =
  | 'round-robin'
  | 'least-connections'
  | 'power-of-two'
  | 'random'
  | 'peak-ewma'
  | 'consistent-hash'
  | 'first-available'

/** The built-in interceptors that configuration files can name; their options are those of the functions with these names. */
export type InterceptorName =
  | 'addresses'
  | 'compress'
  | 'cors'
  | 'error-page'
  | 'follow-redirects'
  | 'forward-auth'
  | 'rewrite-cookies'
  | 'rewrite-location'

/** A built-in interceptor by name, with its options, for configuration files. */
export type NamedInterceptor =
  | ({ name: 'addresses' } & AddressesOptions)
  | ({ name: 'compress' } & CompressOptions)
  | ({ name: 'cors' } & CorsOptions)
  | ({ name: 'error-page' } & ErrorPageOptions)
  | ({ name: 'follow-redirects' } & FollowRedirectsOptions)
  | ({ name: 'forward-auth' } & ForwardAuthOptions)
  | ({ name: 'rewrite-cookies' } & RewriteCookiesOptions)
  | ({ name: 'rewrite-location' } & RewriteLocationOptions)

/** The built-in health check: it ejects backends whose requests fail, and probes backends if `probe` is set. */
export interface HealthCheckOptions extends EjectionOptions {
  /** Probes each backend at intervals. Default: no probes. */
  probe?: ProbeOptions | undefined
}

/** A set of backends and how to treat them. */
export interface GroupOptions {
  /** The servers that share the load. With an empty list requests get 503 until `setBackends()` adds some. */
  backends?: readonly (string | URL | BackendInit)[] | undefined
  /** Shorthand for a single backend. */
  target?: string | URL | BackendInit | undefined
  /**
   * Picks the backend of each request: a balancer, a built-in's name, or `{ name, ...options }`. Default
   * `power-of-two`.
   */
  balancer?: Balancer | BalancerName | NamedBalancer | undefined
  /** Keeps a client with its backend (sticky sessions); asked before the balancer. Default: none. */
  affinity?: Affinity | undefined
  /** The connections to the backends: your own pool, or the bounds of the built-in one. */
  pool?: Pool | PoolOptions | undefined
  /** Ejection and probes: your own health check, the built-in's options, or `false`. */
  healthCheck?: HealthCheck | HealthCheckOptions | false | undefined
  /**
   * How long a backend that was added (by `setBackends`) or has returned (from ejection, or healthy again) gets a growing share of
   * its traffic, ms; it starts at a tenth. Relative to the oldest available backend of the group, so backends that are added
   * together share evenly. Default 0: the whole share at once.
   */
  slowStartMs?: number | undefined
  /** Your own retry policy, the built-in's options, or `false`. */
  retry?: RetryPolicy | RetryOptions | false | undefined
  /** Time limits of this group; they override the proxy's. */
  timeouts?: TimeoutOptions | undefined
}

/** A route: its conditions, group and changes. The longest match wins; see docs/configuration.md. */
export interface RouteOptions {
  /** Host without a port: `example.com`, or `*.example.com` for any name below it (not itself). Default: any. */
  host?: string | undefined
  /**
   * Path prefix in whole segments: `/api` (or `/api/`) matches `/api` and `/api/x`, not `/apix`. Other spellings of a path match as
   * well: `/%61pi`, `//api`, `/x/../api`. Percent-encode characters beyond ASCII as UTF-8. Default `/`.
   */
  path?: string | undefined
  /** Match `path` as the whole path, not as a prefix. Default false. */
  exact?: boolean | undefined
  /** Methods to match, in any case. Default: any. */
  method?: string | readonly string[] | undefined
  /** Name of the group that serves the request. Default: the unnamed group. */
  group?: string | undefined
  /** Prefix to remove from the path before the request is sent, in whole segments. */
  stripPrefix?: string | undefined
  /** Prefix to put before the path, after `stripPrefix`. */
  addPrefix?: string | undefined
  /** Changes to the request's headers. */
  requestHeaders?: HeaderChanges | undefined
  /** Changes to the response's headers. */
  responseHeaders?: HeaderChanges | undefined
  /** Your own transforms, after the changes above. */
  transforms?: readonly Transform[] | undefined
  /**
   * Wrap the forwarding of a request, the first one outermost: they may wait, respond, retry, and rewrite bodies. An interceptor, a
   * built-in's name, or `{ name, ...options }`.
   */
  interceptors?: readonly (Interceptor | InterceptorName | NamedInterceptor)[] | undefined
  /**
   * For gRPC, whose calls may be quiet for long: `timeouts.idle` and `timeouts.headers` are off unless this route sets them, and
   * `limits.requestTimeoutMs` does not end a call. A call still ends by its own deadline (`grpc-timeout`) and by `timeouts.total`.
   * Calls of gRPC are recognised on all routes. Default false.
   */
  grpc?: boolean | undefined
  /** Time limits of this route; they override the group's. */
  timeouts?: TimeoutOptions | undefined
}

/** How to read paths that routes match, or that get a prefix; see docs/configuration.md. */
export interface RoutingOptions {
  /**
   * How to treat an encoded slash, backslash or NUL (`%2F`, `%5C`, `%00`) in a path, if any route has `path`, `stripPrefix` or
   * `addPrefix`. `refuse` (default): 400, since backends disagree on its meaning; if only the URL of a backend has a path, only
   * requests that would lead out of that path get 400. `decode`: `%2F` and `%5C` become slashes, for routes and the backend; `%00`
   * gets 400. `pass`: each is an ordinary character and keeps its bytes, for backends that read it that way.
   */
  encodedSlashes?: 'refuse' | 'decode' | 'pass' | undefined
}

/**
 * Limits for clients. Those marked `listen()` apply only if the proxy itself listens: other servers have their own
 * limits.
 */
export interface LimitOptions {
  /** Target, names and values of a request head, bytes; 431 if it is larger. `listen()` only. Default 16384. */
  maxHeadBytes?: number | undefined
  /** Header lines of a request; 431 if there are more. Default 100. */
  maxHeaders?: number | undefined
  /** Request target, bytes; 414 if it is longer. Default 8192. */
  maxTargetBytes?: number | undefined
  /**
   * Request body, bytes; 413 if it is larger. An announced length is checked before a backend is used. Default 0: no
   * limit.
   */
  maxBodyBytes?: number | undefined
  /** How much of a request body is kept for a retry, bytes. Default 65536. */
  replayBytes?: number | undefined
  /** Open client connections; further ones are closed at once. `listen()` only, for each thread. Default 0: no limit. */
  maxConnections?: number | undefined
  /**
   * Open connections of one client address, or of the /64 network of an IPv6 address. Further ones are closed at once, with a line
   * at `debug`. Unix sockets and `trustedProxies` are exempt. `listen()` only, for each listener and thread. Default 0: no limit.
   */
  maxConnectionsPerAddress?: number | undefined
  /**
   * What to do if a client ends its side of the connection (FIN) after a complete request. `respond`: it gets its responses, and
   * then the connection ends (RFC 9112 section 9.6 allows this). A client that has disconnected completely looks the same until
   * something is written to it, so its backend keeps working until then. `abort`: the client counts as gone, and its exchanges end
   * at once. `listen()` only. Default `respond`.
   */
  halfClose?: 'respond' | 'abort' | undefined
  /** Requests that one client connection may carry; the last response announces the end. Default 0: no limit. */
  maxRequestsPerConnection?: number | undefined
  /**
   * How old a client connection may become, ms, give or take a tenth: the next response announces the end; in HTTP/2 the connection is told at
   * once (GOAWAY), and its streams finish. Clients then connect anew, to other threads or machines: without it, the one connection of a
   * gateway or a gRPC channel stays where it is. Default 0: any age.
   */
  maxConnectionAgeMs?: number | undefined
  /**
   * Time for a complete request head to arrive, ms; 408 after it. `listen()` only. Default 60000. `0` disables the
   * limit, which also leaves slow-head attacks unchecked.
   */
  headTimeoutMs?: number | undefined
  /**
   * Time for a complete request to arrive, head and body, ms; 408 after it. `listen()` only. Default 0: off, since it
   * would end long uploads; `timeouts.idle` ends stalled ones.
   */
  requestTimeoutMs?: number | undefined
  /**
   * Bytes a second of a request body that a client must send, on average while the proxy waits for it, after 5000 ms of grace;
   * 408 below. Time in which the backend does not keep up is not counted. Default 0: no limit. Kestrel's default
   * (MinRequestBodyDataRate) is 240, with the same grace.
   */
  minBodyBytesPerSecond?: number | undefined
  /**
   * Bytes a second of a response that a client must read, on average while the proxy waits for it, after 5000 ms of grace. Below,
   * the response is truncated and recorded as the client's fault (`ERR_PROXY_CLIENT_TIMEOUT`). Time in which the backend does not
   * deliver is not counted. Default 0: no limit, so slow readers hold connections to backends until `timeouts.idle` or
   * `timeouts.total`. Kestrel's default (MinResponseDataRate) is 240, with the same grace.
   */
  minReadBytesPerSecond?: number | undefined
  /** Limits for each connection of HTTP/2. `listen()` only. */
  http2?: Http2LimitOptions | undefined
}

/** Limits for each client connection of HTTP/2, of listeners of the proxy's own. */
export interface Http2LimitOptions {
  /** Streams that a client may have open at a time, from 1; one more is refused (REFUSED_STREAM), 128 in a row end the connection. Default 128. */
  maxStreams?: number | undefined
  /**
   * Flow-control window of a connection, and the largest one of a stream, bytes. An upload gets at most this much for each round trip, and the streams of
   * a connection together leave at most twice as much unread in the proxy. Windows of streams begin with 65535 bytes, and grow while they are emptied
   * fast. Default 1048576.
   */
  windowBytes?: number | undefined
  /**
   * Points that a client may lose for what a flood consists of; then its connection ends (GOAWAY, ENHANCE_YOUR_CALM). A request that it resets costs 1, one
   * that must be reset for its fault 2, PING, SETTINGS and empty DATA 1, other small frames a quarter. A sixth of the points comes back each second, and one
   * for each exchange that ends well. Raise it for clients that give up many requests. Default 300.
   */
  maxDemerits?: number | undefined
}

/** Forwarding headers that are accepted from every client, not only from trusted proxies. */
export interface ForwardedOptions {
  /**
   * Names among `Forwarded`, `X-Real-IP`, `X-Forwarded-*`, `X-Original-URL` and `X-Rewrite-URL`, in any case, except the four that the
   * proxy writes itself (see `xfwd`). A backend that believes them believes every client. Default: none.
   */
  pass?: readonly string[] | undefined
}

/** Names of the access log formats. */
export type AccessLogFormat = 'off' | 'common' | 'combined' | 'json'

/**
 * Options of `createProxy()`. One unnamed group (`backends` or `target`), or `groups` and `routes`, or both. Without any
 * backends, each call of `proxy.web` and `proxy.ws` needs a `target`; `setBackends()` can add some.
 */
export interface ProxyOptions extends GroupOptions {
  /**
   * Name of the proxy, also in `stats()`. Needed if a module that several threads run creates several proxies: those of the same
   * name share their state. Proxies without names are matched by the order of their creation, which fails if one is created only
   * under a condition. Letters, digits, `_ . -`. Default: none.
   */
  name?: string | undefined
  /** Named sets of backends for `routes`. */
  groups?: Readonly<Record<string, GroupOptions>> | undefined
  /** Which request goes to which group. Without routes every request goes to the unnamed group. */
  routes?: readonly RouteOptions[] | undefined
  /** How routes read paths. */
  routing?: RoutingOptions | undefined
  /**
   * Diagnostics: a pino-shaped logger, `console`, or a word. `'warnings'` (default): warnings and errors on standard error, by
   * `consoleLogger({ level: 'warn' })`; so are failed requests, up to ten a second of a kind. `'console'`: information too.
   * `'silent'`: nothing, for unit tests.
   */
  logger?: Logger | Console | 'warnings' | 'console' | 'silent' | undefined
  /** One line for each exchange on standard output, or to `write`. Default `off`. */
  accessLog?: AccessLogFormat | { format: AccessLogFormat; write: (line: string) => void } | undefined
  /** Notified of everything that happens; see the contract. Default: none. */
  observers?: readonly Observer[] | undefined
  /**
   * Proxies in front of this one: addresses, CIDR ranges, `loopback`, `private`, or `unix` (clients on a unix socket). Their
   * X-Forwarded-*, X-Real-IP, Forwarded, X-Original-URL and X-Rewrite-URL are believed and passed on. Default: none.
   */
  trustedProxies?: readonly string[] | undefined
  /** Exceptions from what only trusted proxies may send. */
  forwarded?: ForwardedOptions | undefined
  /** Set X-Forwarded-For, -Proto, -Host and -Port. Default true. `false` passes on none, not even received ones. */
  xfwd?: boolean | undefined
  /** `Host` that backends get: the client's (`client`, default) or their own (`backend`; http-proxy's `changeOrigin`). */
  hostHeader?: 'client' | 'backend' | undefined
  /** Name of this proxy in `Via`, both ways. Default: no `Via` is added. */
  via?: string | undefined
  /** Time limits of all groups and routes that have none of their own. */
  timeouts?: TimeoutOptions | undefined
  /** Limits for clients. */
  limits?: LimitOptions | undefined
  /** How long `close()` lets exchanges and upgraded connections finish, ms. Default 10000. */
  drainTimeoutMs?: number | undefined
  /** Serves the connections of `listen()`: `inline()` (default) or `workerThreads()`. */
  executor?: Executor | undefined
  /** Time and chance, for tests. Default: the machine's. */
  clock?: Clock | undefined
}

/** {@link TimeoutOptions} with every default filled in. */
export type ResolvedTimeouts = Timeouts

/** {@link GroupOptions} with every default filled in and every policy created. */
export interface ResolvedGroup {
  readonly name: string
  /** The policies as they were given, to compare two configurations. */
  readonly given: Readonly<Record<string, unknown>>
  readonly backends: readonly BackendInit[]
  readonly balancer: Balancer
  readonly affinity: Affinity | null
  /** The user's pool, or the bounds of the built-in one. */
  readonly pool: Pool | Readonly<Complete<PoolOptions>>
  readonly healthCheck: HealthCheck | null
  readonly maxEjectedPercent: number
  readonly slowStartMs: number
  readonly retry: RetryPolicy | null
  readonly timeouts: ResolvedTimeouts
}

/** {@link RouteOptions} with every default filled in. */
export interface ResolvedRoute {
  /** As it was given, to compare two configurations. */
  readonly given: object
  /** Lower case; empty: any; `*.example.com`: any name below it. */
  readonly host: string
  /** In the form of `normalPath()`. */
  readonly path: string
  readonly exact: boolean
  /** Upper case; empty: any. */
  readonly methods: readonly string[]
  readonly group: string
  readonly transforms: readonly Transform[]
  readonly interceptors: readonly Interceptor[]
  readonly timeouts: ResolvedTimeouts
  /** Its own time limits, which override those of any group. */
  readonly ownTimeouts: Partial<ResolvedTimeouts>
}

/** {@link ProxyOptions}, checked, with every default filled in; frozen. */
export interface ResolvedOptions {
  /** What cannot change while a proxy lives, as it was given, to compare two configurations. */
  readonly given: Readonly<Record<string, unknown>>
  /** Empty: none. */
  readonly name: string
  /** By name; the unnamed group is `default`. At least one. */
  readonly groups: ReadonlyMap<string, ResolvedGroup>
  /** At least one; without routes, one that matches everything. */
  readonly routes: readonly ResolvedRoute[]
  readonly routing: Readonly<Complete<RoutingOptions>>
  /** Whether a route matches the path, or changes its prefix. */
  readonly looksAtPaths: boolean
  readonly logger: Logger
  readonly accessLog: { readonly format: AccessLogFormat; readonly write: ((line: string) => void) | null }
  readonly observers: readonly Observer[]
  readonly trustedProxies: readonly string[]
  readonly xfwd: boolean
  /** Lower case. */
  readonly forwarded: { readonly pass: readonly string[] }
  readonly hostHeader: 'client' | 'backend'
  readonly via: string
  readonly timeouts: ResolvedTimeouts
  readonly limits: Limits
  readonly drainTimeoutMs: number
  readonly executor: Executor
  readonly clock: Clock
}
