import type http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type https from 'node:https'
import type { Duplex } from 'node:stream'
import type { SecureContextOptions } from 'node:tls'
import type { ProxyOptions, TimeoutOptions } from '../config/options.ts'
import type { ProxyEvents } from '../contracts/events.ts'
import type { ListenAddress, ListenOptions, ThreadStats } from '../contracts/executor.ts'
import type { PoolStats } from '../contracts/pool.ts'
import type { BackendInit, BackendStatus } from '../model/backend.ts'
import type { ProxyError } from '../model/errors.ts'

/** What one call may say differently from the proxy's options. */
export interface CallOverrides {
  /** Send it to this backend, whatever the routes say. */
  target?: string | URL
  /** Send it to this group, whatever the routes say. */
  group?: string
  timeouts?: TimeoutOptions
}

/** {@link CallOverrides} of `proxy.web`. */
export interface WebOverrides extends CallOverrides {
  /** The request's body, where the application has read it. */
  body?: Buffer
  /** Answer failures yourself; called at most once, when nothing has been sent to the client. */
  onError?: (error: ProxyError) => void
}

/** Options of `proxy.middleware()`. */
export interface MiddlewareOptions {
  /** Give failures to the framework (`next(error)`) in place of our own answer. Default false. */
  passErrors?: boolean
}

/** A connect-style handler: express, connect, polka, restify. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void

/** Any of node's HTTP/1.1 servers. */
export type HttpServer = http.Server | https.Server

/** Figures of one backend. */
export interface BackendStats {
  readonly id: string
  readonly url: string
  readonly weight: number
  readonly pending: number
  readonly status: BackendStatus
}

/** Figures of a proxy, those of its threads added up. */
export interface ProxyStats {
  /** The option `name`; empty without one. */
  readonly name: string
  /** Exchanges since the start. */
  readonly exchanges: number
  /** Exchanges that have not ended, upgraded connections among them. */
  readonly active: number
  /** Of each thread of the executor; none if the calling thread serves. */
  readonly threads: readonly Omit<ThreadStats, 'pools'>[]
  readonly groups: readonly {
    readonly name: string
    readonly backends: readonly BackendStats[]
    readonly pool: PoolStats
  }[]
}

/** Names of what is to come, to go, to change and to stay. */
export interface Changes<Name = string> {
  readonly added: readonly Name[]
  readonly removed: readonly Name[]
  readonly changed: readonly Name[]
  readonly unchanged: readonly Name[]
}

/** What an update changes. */
export interface UpdatePlan {
  /** A group is changed if its policies, limits or backends are. */
  readonly groups: Changes
  readonly backends: Changes<{ readonly group: string; readonly id: string }>
  /** As `host/path`, ` exact` where it is, and the methods. Each is named once, though several routes may match the same. */
  readonly routes: Changes
  /** Paths of other options that are changed, such as `timeouts` or `limits.maxBodyBytes`. */
  readonly options: readonly string[]
  /** Paths of options that were given, and hold only for a proxy that is made anew. They stay as they are. */
  readonly restart: readonly string[]
}

/** What {@link Proxy.update} returns. */
export interface UpdateResult {
  /** Counts the configurations of the proxy; the one that it was made with is 1. */
  readonly version: number
  readonly plan: UpdatePlan
  /** Resolves when every thread has made the change. Rejects if one cannot, which the log says as well. */
  readonly applied: Promise<void>
  /** Resolves when, after {@link applied}, nothing runs any more at backends that are gone. */
  readonly drained: Promise<void>
}

/** A reverse proxy, to compose into a server or to listen by itself. */
export interface Proxy extends AsyncDisposable {
  /** Answers a request through a backend. Bound; never throws. */
  readonly web: (req: IncomingMessage, res: ServerResponse, overrides?: WebOverrides) => void
  /** Carries an upgrade (WebSocket) through to a backend. Bound; never throws. */
  readonly ws: (req: IncomingMessage, socket: Duplex, head: Buffer, overrides?: CallOverrides) => void
  /**
   * Serves `server`: its upgrades always, its requests where it has no handler of its own yet (and then `Expect:
   * 100-continue` end to end). Upgrades that no route matches are left to the server's other listeners.
   */
  attach(server: HttpServer): Proxy
  /** Listens with a server of its own. @returns where. Rejects where it cannot. */
  listen(where: number | ListenOptions): Promise<ListenAddress>
  /** For connect-style hosts: what no route matches goes to the next middleware. */
  middleware(options?: MiddlewareOptions): Middleware
  on<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  once<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  off<E extends keyof ProxyEvents>(event: E, listener: ProxyEvents[E]): Proxy
  stats(): ProxyStats
  /**
   * From now on the proxy has these options, whole: what they leave out has its default, except for what holds as long as the proxy
   * lives (`name`, `logger`, `accessLog`, `observers`, `executor`, `clock`, `drainTimeoutMs`). Exchanges that have begun go on as they
   * began. A group whose policies are the same keeps their state; a backend with the same id and URL keeps its state, its
   * connections (unless TLS or pool settings change) and what runs. Groups and routes can come and go.
   * @returns at once; exchanges that begin now have the new options.
   * @throws {@link OptionsError} for options that cannot be, {@link ProxyError} if the proxy is closed (`ERR_PROXY_CLOSED`), and what
   * an interceptor or policy throws that is made anew. Then nothing has changed.
   */
  update(options: ProxyOptions): UpdateResult
  /**
   * A short form of {@link update} for the backends of one group. From now on the group has these. One that was there before, with the same id and URL, keeps its state (what is
   * pending, draining, ejection, health) whatever else changes, and its connections unless its TLS settings change; another URL
   * under the same id is another backend. One that is gone finishes what it has. With an empty list requests are answered 503
   * (`ERR_PROXY_NO_BACKEND`). Resolves when every thread has made the change.
   * @throws {@link OptionsError} for backends that cannot be.
   */
  setBackends(backends: readonly (string | URL | BackendInit)[], group?: string): Promise<void>
  /**
   * From now on new connections to listeners with TLS get this certificate (and what else is given, over what `listen({ tls })` had), in
   * every thread; resolves when each has it. Open connections go on.
   * Rejects with what node says of a certificate or a key that is none; then nothing has changed.
   */
  setSecureContext(options: SecureContextOptions): Promise<void>
  /** Gives the backend nothing new, in any thread; resolves when all that it had has ended. @throws RangeError for an unknown one. */
  drain(backend: string, group?: string): Promise<void>
  /** Ends {@link drain}. */
  undrain(backend: string, group?: string): void
  /**
   * Takes the backend out at once, in every thread: it is given nothing new, not even what an affinity keeps there, and exchanges that
   * wait for a connection to it pick again. What runs is finished. @throws RangeError for an unknown one.
   */
  disable(backend: string, group?: string): void
  /** Ends {@link disable}. */
  enable(backend: string, group?: string): void
  /** Replaces the executor's threads, one at a time, without refusing or cutting a request. */
  reload(): Promise<void>
  /**
   * Ends gracefully: serves the connections that wait to be accepted, stops listening, lets exchanges finish, asks WebSockets
   * to close (1001), and after `drainTimeoutMs` ends what is left. Every response says that its connection ends; a client
   * connection of our own listeners on which nothing comes is ended after half a second, since a request may be on its way.
   * So it takes that long if such connections are open, and a few ms if none is. Calling it again returns the same promise.
   */
  close(): Promise<void>
}
