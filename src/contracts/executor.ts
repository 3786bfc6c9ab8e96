import type { Server } from 'node:http'
import type { TlsOptions } from 'node:tls'
import type { PoolStats } from './pool.ts'

/** The address to listen on, and the options of the listener. */
export interface ListenOptions {
  /** A number, or its digits; 0 for any free port. Needed unless there is a `path`. */
  readonly port?: number | string | undefined
  /** Default: all addresses. */
  readonly host?: string | undefined
  /** Path of a unix socket, instead of a port. A socket file on which no process listens any more is replaced. */
  readonly path?: string | undefined
  /**
   * Number of connections that may wait to be accepted, a whole number from 1. Beyond it, a client's connection waits a second or
   * more. The system lowers it to its own limit (Linux: `net.core.somaxconn`). Default 4096.
   */
  readonly backlog?: number | undefined
  /**
   * Protocols for clients. Default: `['h2', 'http/1.1']` with `tls`, without a `fallback`; else `['http/1.1']`. With `h2`, clients that ask for it
   * over TLS (ALPN) get HTTP/2; in clear text those that begin with it (prior knowledge, RFC 9113 section 3.3). A `fallback` server gets requests of
   * HTTP/1.1 alone: in HTTP/2 those that no route matches get 404.
   */
  readonly protocols?: readonly ('h2' | 'http/1.1')[] | undefined
  /** Serves TLS (`https:`): the certificate, its key, and other options of node's `tls.createServer()`. */
  readonly tls?: TlsOptions | undefined
  /** An application's server that gets every request that no route matches. It must not listen by itself. */
  readonly fallback?: Server | undefined
}

/** {@link ListenOptions}, checked: the port is a number. */
export interface CheckedListenOptions extends ListenOptions {
  readonly port?: number | undefined
}

/** The address on which a proxy listens. */
export interface ListenAddress {
  readonly port: number
  readonly host: string
  /** URL for a client on this machine; empty for a unix socket. */
  readonly url: string
}

/** Serves the connections of `proxy.listen()`, in the calling thread or in several. */
export interface Executor {
  /** Stable label for logs. */
  readonly name: string
  /** Most threads, besides the calling one, that run at one time. A custom executor has 0, or the value of an executor that it wraps. */
  readonly maxThreads: number
  /** Starts to serve, until {@link Running.close}. Rejects if it cannot start. */
  start(job: Job): Promise<Running>
}

/** Work for an {@link Executor}. A proxy's job has more properties, which the threads of `workerThreads()` need: pass it on unchanged. */
export interface Job {
  readonly listen: CheckedListenOptions
  /** Serves in the calling thread. */
  serve(listen: CheckedListenOptions): Promise<Running>
}

/** A started {@link Job}. One of `workerThreads()` has more properties, which the proxy needs: return it unchanged. */
export interface Running {
  readonly address: ListenAddress
  /** Stops gracefully. Resolves when it has stopped. */
  close(): Promise<void>
}

/** A change in the life of a thread. */
export interface ThreadChange {
  /** Number of the thread, from 1. A thread that replaces another gets a new number. */
  readonly thread: number
  /** `started`: it serves. `retiring`: it finishes its connections. `ended`: it stopped as requested. `died`: it stopped unexpectedly. */
  readonly what: 'started' | 'retiring' | 'ended' | 'died'
  /** Explanation in words. */
  readonly reason: string
  /** Number of threads that serve now. */
  readonly serving: number
  /** Its current statistics; after it has ended or died, the last ones. */
  readonly stats: ThreadStats
}

/** Statistics of one thread. */
export interface ThreadStats {
  readonly thread: number
  readonly state: 'starting' | 'serving' | 'retiring'
  /** Exchanges since the thread's start. */
  readonly exchanges: number
  /** Exchanges that have not ended. */
  readonly active: number
  /** Open client connections. */
  readonly connections: number
  /** Share of the last half second during which its event loop was busy, 0 to 1. */
  readonly utilization: number
  /** Pools of the thread's proxies, as last reported; they are reported twice a second. */
  readonly pools: readonly ThreadPool[]
}

/** The pool of one group in one thread. */
export interface ThreadPool {
  /** The proxy's `name`; `#0`, `#1` for those without one, in the order in which the thread created them. */
  readonly proxy: string
  readonly group: string
  readonly pool: PoolStats
}
