import type { Server } from 'node:http'
import type { TlsOptions } from 'node:tls'
import type { Logger } from './logger.ts'

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

/** Runs what serves connections: in the calling thread, or in several. */
export interface Executor {
  /** Stable label for logs. */
  readonly name: string
  /** Threads besides the calling one that may be alive at one time; 0: none, and nothing is shared. */
  readonly maxThreads: number
  /** Serves until {@link Running.close}. Rejects where it cannot. */
  start(job: Job): Promise<Running>
}

/** What to serve. */
export interface Job {
  readonly listen: ListenOptions
  /** Serves in the calling thread. Not there where an entry module does it. */
  readonly serve?: (listen: ListenOptions) => Promise<Running>
  /** What a thread needs to serve the same; can be cloned. `null` where an entry module knows it. */
  readonly options?: unknown
  /** Changes made before, by what they are about; see {@link Running.change}. */
  readonly changes?: ReadonlyMap<string, unknown>
  /** StateMemory that all threads share, for {@link Executor.maxThreads} of them and the calling one. */
  readonly memory?: SharedArrayBuffer
  /** How long what runs may finish when serving ends, ms; where the executor was not told otherwise. */
  readonly drainTimeoutMs?: number
  readonly logger?: Logger
  readonly observer?: ThreadObserver
}

/** Told what happens in and to the threads, in the calling thread. */
export interface ThreadObserver {
  /** A thread began, ended, or is to be replaced. */
  onThread?(change: ThreadChange): void
  /** Lines of the access log. */
  onLines?(lines: readonly string[]): void
  /** An event of a proxy in a thread, as {@link Running.hear} asked for; `args` are plain data. */
  onEvent?(thread: number, event: string, args: readonly unknown[]): void
  /** Threads die one after another and are not replaced any more; those that are left go on. */
  readonly onFailed?: ((error: Error) => void) | undefined
}

/** Something that became of a thread. */
export interface ThreadChange {
  /** Counts up from 1; a thread that replaces another has a number of its own. */
  readonly thread: number
  /** `started`: it serves. `retiring`: it finishes what it has. `ended`: as it was told to. `died`: by itself. */
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
  /** What the thread's proxies said of their pools last. */
  readonly pools: readonly unknown[]
}

/** Something that serves. */
export interface Running {
  readonly address: ListenAddress
  /** Of each thread that is alive. */
  threads(): readonly ThreadStats[]
  /**
   * Brings a change to every thread, in the order of the calls; resolves when each has made it. Threads that begin later
   * are told the last one of each `about`. Rejects where one cannot make it, and then later ones are not told of it.
   */
  change(about: string, change: unknown): Promise<void>
  /** The events that {@link ThreadObserver.onEvent} is to be told. */
  hear(events: readonly string[]): void
  /** Replaces every thread by a new one, one at a time, without refusing or cutting a request. */
  reload(): Promise<void>
  /** Ends gracefully. */
  close(): Promise<void>
}
