import type { Server } from 'node:http'
import type { TlsOptions } from 'node:tls'
import type { PoolStats } from './pool.ts'

/** Where to listen. */
export interface ListenOptions {
  /** 0 for any free port. */
  readonly port?: number
  /** Default: all addresses. */
  readonly host?: string
  /** Path of a unix socket, in place of a port. One on which nobody listens any more is replaced. */
  readonly path?: string
  /**
   * Connections that may wait to be accepted, a whole number from 1; past it a client's connection waits a second or more.
   * The system lowers it to its own bound (Linux: `net.core.somaxconn`). Default 4096.
   */
  readonly backlog?: number
  /** Speaks TLS (`https:`): the certificate and its key, and what else node's `tls.createServer()` takes. */
  readonly tls?: TlsOptions
  /** An application's server that gets every request that no route matches. It must not listen by itself. */
  readonly fallback?: Server
}

/** Where a proxy listens. */
export interface ListenAddress {
  readonly port: number
  readonly host: string
  /** For a client on this machine; empty for a unix socket. */
  readonly url: string
}

/** Runs what serves the connections of `proxy.listen()`: in the calling thread, or in several. */
export interface Executor {
  /** Stable label for logs. */
  readonly name: string
  /** Threads besides the calling one that may be alive at one time. One of your own has 0, or that of the executor inside it. */
  readonly maxThreads: number
  /** Serves until {@link Running.close}. Rejects if it cannot. */
  start(job: Job): Promise<Running>
}

/** What to serve. The job that a proxy makes has more than this, which only the threads of `workerThreads()` understand: pass it on as it is. */
export interface Job {
  readonly listen: ListenOptions
  /** Serves in the calling thread. */
  serve(listen: ListenOptions): Promise<Running>
}

/** Something that serves. What `workerThreads()` starts has more than this, for the proxy: return it as it is. */
export interface Running {
  readonly address: ListenAddress
  /** Ends gracefully. */
  close(): Promise<void>
}

/** A change in the life of a thread. */
export interface ThreadChange {
  /** Counts up from 1; a thread that replaces another has a number of its own. */
  readonly thread: number
  /** `started`: it serves. `retiring`: it finishes what it has. `ended`: as it was asked to. `died`: by itself. */
  readonly what: 'started' | 'retiring' | 'ended' | 'died'
  /** In words. */
  readonly reason: string
  /** Threads that serve now. */
  readonly serving: number
  /** Its figures at this moment; of one that has ended or died, the last. */
  readonly stats: ThreadStats
}

/** Figures of one thread. */
export interface ThreadStats {
  readonly thread: number
  readonly state: 'starting' | 'serving' | 'retiring'
  /** Exchanges since the thread's start. */
  readonly exchanges: number
  /** Exchanges that have not ended. */
  readonly active: number
  /** Client connections that are open. */
  readonly connections: number
  /** Share of the time in which its event loop was busy, 0 to 1, of the last half second. */
  readonly utilization: number
  /** Pools of the thread's proxies, as last reported: twice a second. */
  readonly pools: readonly ThreadPool[]
}

/** The pool of one group in one thread. */
export interface ThreadPool {
  /** The proxy's `name`; `#0`, `#1` for those without one, in the order in which the thread made them. */
  readonly proxy: string
  readonly group: string
  readonly pool: PoolStats
}
