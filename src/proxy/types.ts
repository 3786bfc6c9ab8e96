import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Server as SecureServer } from 'node:https'
import type { Duplex, Readable } from 'node:stream'
import type { HeaderChanges, ProxyOptions, RouteOptions, TimeoutOptions } from '../config/options.ts'
import type { ProxyEvents } from '../contracts/events.ts'
import type { ListenAddress, ListenCertificate, ListenOptions, ThreadStats } from '../contracts/executor.ts'
import type { PoolStats } from '../contracts/pool.ts'
import type { Transform } from '../contracts/transform.ts'
import type { BackendInit, BackendStatus } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'

/**
 * Options of one call, which override those of the proxy and of the route. They are checked as those of `createProxy()`; a mistake
 * fails the request with 500 (`ERR_PROXY_HOOK`), and the message names it.
 */
export interface CallOverrides {
  /**
   * Sends the request to this backend instead of the group of the matching route; transforms, interceptors and time limits of the
   * route still apply. No route needs to match. The same target keeps its connections from call to call. It has neither health checks
   * nor a balancer; pool and retries are as in the first group.
   */
  target?: string | URL | BackendInit | undefined
  /** Sends the request to this group instead of that of the matching route. */
  group?: string | undefined
  /**
   * Path and query to send instead of those that the route makes of the request's own. Starts with `/`. A path in the URL of the
   * backend is still put before it.
   */
  path?: string | undefined
  /** Changes to the request's headers, after those of the route. */
  headers?: HeaderChanges | undefined
  /** Changes to the response's headers, after those of the route. */
  responseHeaders?: HeaderChanges | undefined
  /** `Host` that the backend gets. */
  hostHeader?: 'client' | 'backend' | undefined
  timeouts?: TimeoutOptions | undefined
  /** Transforms after those of the route and the changes above. */
  transforms?: readonly Transform[] | undefined
  /** Interceptors inside those of the route. Each that is named is made anew for this call. */
  interceptors?: RouteOptions['interceptors'] | undefined
  /** Shown to hooks as `exchange.context`: for example `{ req, res }`. */
  context?: unknown | undefined
  /**
   * Handles a failure instead of the proxy's error response. Called at most once, if nothing has been sent to the client. After it,
   * the response (for `proxy.ws`, the socket) is the application's.
   */
  onError?: ((error: ProxyError) => void) | undefined
}

/** {@link CallOverrides} of `proxy.web`. */
export interface WebOverrides extends CallOverrides {
  /** Method to send instead of the request's own; not CONNECT or TRACE. */
  method?: string | undefined
  /**
   * Body to send instead of the request's own. Text is sent as UTF-8. A stream is sent in chunks, cannot be sent again by a retry, and
   * is destroyed if the exchange ends before it is read; if it fails, so does the exchange (500, or a truncated response).
   */
  body?: Uint8Array | string | Readable | undefined
}

/** Options of `proxy.middleware()`. */
export interface MiddlewareOptions {
  /** Passes failures to the framework (`next(error)`) instead of sending the proxy's error response. Default false. */
  passErrors?: boolean | undefined
}

/** A connect-style handler: express, connect, polka, restify. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void

/** Any of node's HTTP/1.1 servers. */
export type HttpServer = Server | SecureServer

/** Statistics of one backend. */
export interface BackendStats {
  readonly id: string
  readonly url: string
  readonly weight: number
  readonly pending: number
  readonly status: BackendStatus
}

/** One certificate that a listener serves. */
export interface CertificateStats {
  /** The names that get it. */
  readonly names: readonly string[]
  /** Its subject, such as `CN=a.example`; empty if there is no certificate yet. */
  readonly subject: string
  /** When it expires, as an ISO date; empty if there is no certificate yet. */
  readonly validTo: string
  /** Whole days until then; below 0 if it has expired, 0 if there is none yet. */
  readonly daysLeft: number
  /** Why its files, as they are now, are not used, or why it could not be ordered or renewed; `null` if there is nothing wrong. */
  readonly fault: string | null
}

/** Statistics of a proxy, summed over its threads. */
export interface ProxyStats {
  /** The option `name`; empty if it is not set. */
  readonly name: string
  /** Exchanges since the start. */
  readonly exchanges: number
  /** Exchanges that have not ended, including upgraded connections. */
  readonly active: number
  /** Statistics of each thread of the executor; empty if the calling thread serves. */
  readonly threads: readonly Omit<ThreadStats, 'pools'>[]
  /** Certificates of the listeners with TLS, in the order of the calls of `listen()`; `listener` is the number of the call among these. */
  readonly tls: readonly { readonly listener: number; readonly certificates: readonly CertificateStats[] }[]
  readonly groups: readonly {
    readonly name: string
    readonly backends: readonly BackendStats[]
    readonly pool: PoolStats
  }[]
}

/** Names of things that an update adds, removes, changes and keeps. */
export interface Changes<Name = string> {
  readonly added: readonly Name[]
  readonly removed: readonly Name[]
  readonly changed: readonly Name[]
  readonly unchanged: readonly Name[]
}

/** The changes that an update makes. */
export interface UpdatePlan {
  /** A group counts as changed if its policies, limits or backends change. */
  readonly groups: Changes
  readonly backends: Changes<{ readonly group: string; readonly id: string }>
  /** Names: `host/path`, then ` exact` if the route is exact, then its methods. Each is listed once, even if several routes share it. */
  readonly routes: Changes
  /** Paths of other options that change, such as `timeouts` or `limits.maxBodyBytes`. */
  readonly options: readonly string[]
  /** Paths of given options that would take effect only in a new proxy. They keep their old values. */
  readonly restart: readonly string[]
}

/** The result of {@link Proxy.update}. */
export interface UpdateResult {
  /** Number of the configuration; the first one is 1. */
  readonly version: number
  readonly plan: UpdatePlan
  /** Resolves when every thread has made the change. Rejects if one cannot; that is also logged. */
  readonly applied: Promise<void>
  /** Resolves when, after {@link applied}, no exchange runs at removed backends. */
  readonly drained: Promise<void>
}

/** A reverse proxy. It can be attached to a server or listen by itself. */
export interface Proxy extends AsyncDisposable {
  /**
   * Forwards a request to a backend and sends the response. Bound; never throws. Takes requests and responses of `node:http`, `node:https` and the
   * compatibility API of `node:http2`.
   */
  readonly web: (req: IncomingMessage, res: ServerResponse, overrides?: WebOverrides) => void
  /** Forwards an upgrade (WebSocket) to a backend. Bound; never throws. */
  readonly ws: (req: IncomingMessage, socket: Duplex, head: Buffer, overrides?: CallOverrides) => void
  /**
   * Attaches the proxy to `server`. It serves upgrades always, and requests only if the server has no request handler yet (then
   * `Expect: 100-continue` is forwarded too). Upgrades that no route matches are left to the server's other listeners.
   */
  attach(server: HttpServer): Proxy
  /**
   * Listens with the proxy's own server. Resolves with the address. Rejects if it cannot listen, and with a TypeError for anything
   * but a port, the digits of one (such as `process.env.PORT`), or options.
   */
  listen(where: number | string | ListenOptions): Promise<ListenAddress>
  /** Creates a connect-style middleware. A request that no route matches goes to the next middleware. */
  middleware(options?: MiddlewareOptions): Middleware
  on<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  once<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  off<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  stats(): ProxyStats
  /**
   * Replaces all options of the proxy. Omitted options get their defaults, except for those that are fixed for the proxy's lifetime
   * (`name`, `logger`, `accessLog`, `observers`, `executor`, `clock`, `drainTimeoutMs`). Exchanges that have begun keep the old
   * options. A group whose policies are the same keeps their state. A backend with the same id and URL keeps its state, its
   * connections (unless TLS or pool settings change) and its running exchanges. Groups and routes can be added and removed.
   * @returns at once; new exchanges use the new options.
   * @throws {@link OptionsError} for invalid options, {@link ProxyError} if the proxy is closed (`ERR_PROXY_CLOSED`), and any error
   * that a newly created interceptor or policy throws. Then nothing has changed.
   */
  update(options: ProxyOptions): UpdateResult
  /**
   * Replaces the backends of one group; a short form of {@link update}. A backend with the same id and URL as before keeps its state
   * (pending exchanges, draining, ejection, health) even if other settings change. It keeps its connections unless its TLS settings
   * change. The same id with another URL is another backend. A removed backend finishes its exchanges. With an empty list, requests
   * get a 503 response (`ERR_PROXY_NO_BACKEND`). Resolves when every thread has made the change.
   * @throws {@link OptionsError} for invalid backends.
   */
  setBackends(backends: readonly (string | URL | BackendInit)[], group?: string): Promise<void>
  /**
   * Adds a certificate to the listeners with TLS, for new connections in every thread. From now on it serves all of its names; a
   * certificate that has no other names is dropped, and if that was the default one, the new one takes its place. Open connections
   * continue, and so do sessions. Resolves when every thread has made the change. Rejects with a TypeError if the certificate cannot be
   * used, or if no listener has TLS; then nothing has changed.
   */
  replaceCertificate(certificate: ListenCertificate): Promise<void>
  /**
   * Reads the files of certificates again that have changed. Resolves when every thread has them. A file that cannot be used is logged,
   * and what was read before stays in use; see `fault` in {@link stats}.
   */
  reloadCertificates(): Promise<void>
  /**
   * Sends no new exchanges to the backend, in any thread. Resolves when its running exchanges have ended, or after {@link undrain}.
   * Rejects with a RangeError for an unknown backend or group.
   */
  drain(backend: string, group?: string): Promise<void>
  /** Ends {@link drain}. */
  undrain(backend: string, group?: string): void
  /**
   * Takes the backend out of use at once, in every thread. It gets no new exchanges, not even those bound to it by an affinity.
   * Exchanges that wait for a connection to it pick another backend. Running exchanges finish.
   * @throws RangeError for an unknown backend.
   */
  disable(backend: string, group?: string): void
  /** Ends {@link disable}. */
  enable(backend: string, group?: string): void
  /** Replaces the executor's threads, one at a time, without refusing or interrupting a request. */
  reload(): Promise<void>
  /**
   * Closes the proxy gracefully. It serves the connections that wait to be accepted, stops listening, lets exchanges finish, asks
   * WebSockets to close (1001), and after `drainTimeoutMs` ends the rest. Every response announces that its connection ends. An
   * idle client connection of the proxy's own listeners is closed after half a second, since a request may be on its way.
   * So closing takes that long if such connections are open, and a few ms otherwise. Later calls return the same promise.
   */
  close(): Promise<void>
}
