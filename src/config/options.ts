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
import type { BackendInit } from '../model/backend.ts'
import type { Timeouts } from '../model/exchange-view.ts'
import type { Limits } from '../model/limits.ts'
import type { PoolOptions } from '../pools/http1/pool.ts'
import type { RetryOptions } from '../retry-policies/index.ts'
import type { Clock } from '../runtime/clock.ts'
import type { HeaderChanges } from '../transforms/index.ts'

// The options of a built-in are declared beside it.
export type { EjectionOptions, HeaderChanges, PoolOptions, ProbeOptions, RetryOptions }

/** Time limits in ms, by phase. `0` switches a limit off. */
export interface TimeoutOptions {
  /** To establish a connection to a backend, TLS included. Default 5000. */
  connect?: number
  /** To wait for a free connection once a backend has as many as it may have. Default 3000. */
  acquire?: number
  /** From the request being sent to the first byte of the response head. Default 30000. */
  headers?: number
  /** Without a byte of body in either direction, client's or backend's. Default 60000. */
  idle?: number
  /** For the whole exchange, all attempts and waits included. Default 0: off, so that long downloads live. */
  total?: number
  /** Without a byte in either direction on an upgraded connection (WebSocket). Default 0: off. */
  upgradeIdle?: number
  /** For the interceptors of a route, until they respond or send the request on. Default 10000. */
  intercept?: number
}

/** A built-in balancer by name, with its options, for where only data fits (a configuration file). */
export interface NamedBalancer {
  name: BalancerName
  [option: string]: unknown
}

/** The built-in balancers. */
export type BalancerName =
  | 'round-robin'
  | 'least-connections'
  | 'power-of-two'
  | 'random'
  | 'peak-ewma'
  | 'consistent-hash'
  | 'first-available'

/** The built-in health check: ejection on the evidence of requests, and probes where they are asked for. */
export interface HealthCheckOptions extends EjectionOptions {
  /** Asks each backend from time to time. Default: no probes. */
  probe?: ProbeOptions
}

/** A set of backends and how to treat them. */
export interface GroupOptions {
  /** The servers to share the load between. With an empty list requests are answered 503 until `setBackends()` gives some. */
  backends?: (string | URL | BackendInit)[]
  /** Shorthand for a single backend. */
  target?: string | URL | BackendInit
  /** Who picks. A value, a built-in's name, or `{ name, ...options }`. Default `power-of-two`. */
  balancer?: Balancer | BalancerName | NamedBalancer
  /** Who stays with which backend (sticky sessions), asked before the balancer. Default: nobody. */
  affinity?: Affinity
  /** Who owns the connections: a pool of your own, or the bounds of the built-in one. */
  pool?: Pool | PoolOptions
  /** Passive ejection and probes: a check of your own, the built-in's options, or `false`. */
  healthCheck?: HealthCheck | HealthCheckOptions | false
  /**
   * For so long a backend that has come (by `setBackends`), or come back (from ejection, or healthy again), gets a growing share of
   * what is its own, ms: a tenth at first. Measured by the oldest available one of the group: backends that come together share
   * evenly. Default 0: all of it at once.
   */
  slowStartMs?: number
  /** A policy of your own, the built-in's options, or `false`. */
  retry?: RetryPolicy | RetryOptions | false
  /** Limits for this group, over the proxy's. */
  timeouts?: TimeoutOptions
}

/** What to match and what to do with it. The longest match wins; see docs/configuration.md. */
export interface RouteOptions {
  /** Without a port: `example.com`, or `*.example.com` for any name below it (not itself). Default: any. */
  host?: string
  /**
   * Path prefix in whole segments: `/api` (or `/api/`) matches `/api` and `/api/x`, not `/apix`, however a client writes them:
   * `/%61pi`, `//api`, `/x/../api`. Characters beyond ASCII are percent-encoded UTF-8. Default `/`.
   */
  path?: string
  /** `path` must be the whole path. Default false. */
  exact?: boolean
  /** Methods to match, in any case. Default: any. */
  method?: string | string[]
  /** Name of the group that answers. Default: the unnamed group. */
  group?: string
  /** Removed from the start of the path before the request is sent, in whole segments. */
  stripPrefix?: string
  /** Put before the path after `stripPrefix`. */
  addPrefix?: string
  /** Changes to the request's headers. */
  requestHeaders?: HeaderChanges
  /** Changes to the response's headers. */
  responseHeaders?: HeaderChanges
  /** Further transforms of your own, after the above. */
  transforms?: Transform[]
  /** Stand around the way to a backend, the first one outermost: they may wait, respond, retry, and rewrite bodies. */
  interceptors?: Interceptor[]
  /** Limits for this route, over the group's. */
  timeouts?: TimeoutOptions
}

/** How paths are read where routes look at them, or something is put before them; see docs/configuration.md. */
export interface RoutingOptions {
  /**
   * What becomes of a request whose path has an encoded slash, backslash or NUL (`%2F`, `%5C`, `%00`), where a route has `path`,
   * `stripPrefix` or `addPrefix`. `refuse` (default): 400, since backends disagree on what it means; where only the URL of a backend
   * has a path, those alone that would lead out of it. `decode`: `%2F` and `%5C` are slashes, for routes and in what is sent to
   * the backend; `%00` is refused. `pass`: each is an ordinary character and keeps its bytes: for backends that take it so.
   */
  encodedSlashes?: 'refuse' | 'decode' | 'pass'
}

/** Bounds on what a client may send. Those that say so hold only where the proxy listens by itself: other servers have their own. */
export interface LimitOptions {
  /** Target, names and values of a request head, bytes; 431 past it. `listen()` only. Default 16384. */
  maxHeadBytes?: number
  /** Header lines of a request; 431 past it. Default 100. */
  maxHeaders?: number
  /** Request target, bytes; 414 past it. Default 8192. */
  maxTargetBytes?: number
  /** Request body, bytes; 413 past it, before a backend is bothered where the length is announced. Default 0: none. */
  maxBodyBytes?: number
  /** How much of a request body is kept for a retry, bytes. Default 65536. */
  replayBytes?: number
  /** Open client connections; one more is closed at once. `listen()` only, and for each thread. Default 0: any. */
  maxConnections?: number
  /**
   * Open connections of one client address (of an IPv6 address: of its /64 network); one more is closed at once, with a line at
   * `debug`. Unix sockets and `trustedProxies` are exempt. `listen()` only, for each listener and thread. Default 0: any.
   */
  maxConnectionsPerAddress?: number
  /**
   * What becomes of a client that ends its side of the connection (FIN) after a whole request. `respond`: it gets its responses,
   * and then the connection ends (RFC 9112 section 9.6 lets a client do this); one that has gone altogether looks the same until
   * something is written to it, so that its backend works on meanwhile. `abort`: it counts as gone, its exchanges end at once.
   * `listen()` only. Default `respond`.
   */
  halfClose?: 'respond' | 'abort'
  /** Requests that one client connection may carry; its last answer says that it ends. Default 0: any. */
  maxRequestsPerConnection?: number
  /** For a request head to come whole, ms; 408 past it. `listen()` only. Default 60000. `0` leaves slow clients in peace, and attackers. */
  headTimeoutMs?: number
  /** For a request to come whole, head and body, ms; 408 past it. `listen()` only. Default 0: off, so that long uploads live; `timeouts.idle` ends those that stop. */
  requestTimeoutMs?: number
  /**
   * Bytes a second of a request body that a client must keep up, on the average since it was asked for what it sends, after
   * 5000 ms of grace; 408 below. Time in which the backend does not keep up is not counted. Default 0: any. 240 is what Kestrel
   * has by default (MinRequestBodyDataRate), with the same grace.
   */
  minBodyBytesPerSecond?: number
  /**
   * Bytes a second of a response that a client must take, on the average while it is what is waited for, after 5000 ms of grace;
   * below, the response is cut and recorded as the client's fault (`ERR_PROXY_CLIENT_TIMEOUT`). Time in which the backend does not
   * deliver is not counted. Default 0: any, so that clients who read slowly hold connections to backends until `timeouts.idle` or
   * `timeouts.total`. 240 is what Kestrel has by default (MinResponseDataRate), with the same grace.
   */
  minReadBytesPerSecond?: number
}

/** What of the headers that tell of the client's side is passed on from whoever is no trusted proxy. */
export interface ForwardedOptions {
  /**
   * Names out of `Forwarded`, `X-Real-IP`, `X-Forwarded-*`, `X-Original-URL` and `X-Rewrite-URL`, in any case; not the four that the
   * proxy writes itself (see `xfwd`). A backend that believes them believes every client. Default: none.
   */
  pass?: string[]
}

/** Names of the access log formats. */
export type AccessLogFormat = 'off' | 'common' | 'combined' | 'json'

/** Options of `createProxy()`. One unnamed group (`backends` or `target`), or `groups` and `routes`, or both. */
export interface ProxyOptions extends GroupOptions {
  /**
   * Which proxy this is, if a module that several threads run makes more than one: those of the same name share their numbers. Without
   * names the first one that each thread makes is the same proxy, and the second one: if one of them is made only under a
   * condition, threads may take one for another. Also in `stats()`. Letters, digits, `_ . -`. Default: none.
   */
  name?: string
  /** Named sets of backends for `routes`. */
  groups?: Record<string, GroupOptions>
  /** Which request goes to which group. Without routes everything goes to the unnamed group. */
  routes?: RouteOptions[]
  /** How routes read paths. */
  routing?: RoutingOptions
  /** Diagnostics: a pino-shaped logger, `console`, or `'silent'` (default) or `'console'`. */
  logger?: Logger | Console | 'silent' | 'console'
  /** One line for each exchange on standard output, or to `write`. Default `off`. */
  accessLog?: AccessLogFormat | { format: AccessLogFormat; write: (line: string) => void }
  /** Notified of everything that happens; see the contract. Default: none. */
  observers?: Observer[]
  /**
   * Addresses or CIDR ranges (or `loopback`, `private`) of proxies in front of us, whose X-Forwarded-*, X-Real-IP, Forwarded,
   * X-Original-URL and X-Rewrite-URL are believed and passed on; `unix`: whoever comes by a unix socket. Default: none.
   */
  trustedProxies?: string[]
  /** Exceptions to what only trusted proxies may say. */
  forwarded?: ForwardedOptions
  /** Set X-Forwarded-For, -Proto, -Host and -Port. Default true. `false` passes on none, not even received ones. */
  xfwd?: boolean
  /** `Host` that backends see: the client's (`client`, default) or their own (`backend`; what http-proxy calls `changeOrigin`). */
  hostHeader?: 'client' | 'backend'
  /** Our name in `Via`, added both ways. Default: no `Via`. */
  via?: string
  /** Time limits for all groups and routes that have none of their own. */
  timeouts?: TimeoutOptions
  /** Bounds on what a client may send. */
  limits?: LimitOptions
  /** How long `close()` lets exchanges and upgraded connections finish, ms. Default 10000. */
  drainTimeoutMs?: number
  /** What serves the connections of `listen()`: `inline()` (default), or `workerThreads()`. */
  executor?: Executor
  /** Time and chance, for tests. Default: the machine's. */
  clock?: Clock
}

/** {@link TimeoutOptions} with every default filled in. */
export type ResolvedTimeouts = Timeouts

/** {@link GroupOptions} with every default filled in and every policy built. */
export interface ResolvedGroup {
  readonly name: string
  /** The policies as they were given, to compare two configurations. */
  readonly given: Readonly<Record<string, unknown>>
  readonly backends: readonly BackendInit[]
  readonly balancer: Balancer
  readonly affinity: Affinity | null
  /** A user's pool, or bounds for the built-in one. */
  readonly pool: Pool | Readonly<Required<PoolOptions>>
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
  /** Lower case; empty: any; `*.example.com`: any name below. */
  readonly host: string
  /** As it is compared: `normalPath()`. */
  readonly path: string
  readonly exact: boolean
  /** Upper case; empty: any. */
  readonly methods: readonly string[]
  readonly group: string
  readonly transforms: readonly Transform[]
  readonly interceptors: readonly Interceptor[]
  readonly timeouts: ResolvedTimeouts
}

/** Options that hold as long as the proxy lives. */
export type LastingOption = (typeof LASTING_OPTIONS)[number]

export const LASTING_OPTIONS = [
  'name',
  'logger',
  'accessLog',
  'observers',
  'executor',
  'clock',
  'drainTimeoutMs',
] as const satisfies readonly (keyof ProxyOptions)[]

/** {@link ProxyOptions}, checked, with every default filled in; frozen. */
export interface ResolvedOptions {
  /** What cannot change while a proxy lives, as it was given, to compare two configurations. */
  readonly given: Readonly<Record<LastingOption, unknown>>
  /** Empty: none. */
  readonly name: string
  /** By name; the unnamed group is `default`. */
  readonly groups: ReadonlyMap<string, ResolvedGroup>
  /** At least one; without routes, one that matches everything. */
  readonly routes: readonly ResolvedRoute[]
  readonly routing: Readonly<Required<RoutingOptions>>
  /** Some route looks at the path, to match it or to change its prefix. */
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
