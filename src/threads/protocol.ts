import type { Server, Socket } from 'node:net'
import type { MessagePort } from 'node:worker_threads'
import type {
  CheckedListenOptions,
  Job,
  ListenAddress,
  ListenerTls,
  Running,
  ThreadChange,
  ThreadPool,
  ThreadStats,
} from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import type { BackendInit } from '../model/backend.ts'
import type { ForwardedEvent, PlainEvent } from './bridge.ts'

/*
 * The messages between a proxy, the threads that serve it, and the main thread. Internal: a user's executor passes them
 * on without reading them.
 */

// Between a proxy and the supervisor of its threads, both in the main thread:

/** A {@link Job} for threads. */
export interface ThreadedJob extends Job, ThreadedWork {
  /** Earlier changes, the last one of each subject; see {@link ServingThreads.change}. */
  readonly changes: Iterable<ThreadsChange>
  /** How long a retiring thread may finish its exchanges, ms. An option of the executor overrides it. */
  readonly drainTimeoutMs: number
  readonly logger: Logger
  readonly observer: ProxyObserver
}

/** The part of a job that is the same for every `listen()` of a proxy. */
export interface ThreadedWork {
  readonly options: PlainOptions
  /** Which diagnostics of the threads the logger writes. */
  readonly logs: 'none' | 'warnings' | 'all'
  /** Namespace of the proxy, the same in every thread; see `nextContext()`. */
  readonly namespace: string
  /** Has room for the calling thread and {@link import('../contracts/executor.ts').Executor.maxThreads} others. */
  readonly memory: SharedArrayBuffer
}

/** Options of `createProxy()` as plain data. */
export type PlainOptions = Readonly<Record<string, unknown>>

/** Observes the threads, in the main thread. */
export interface ThreadObserver {
  /** A thread has started, retires, has ended or died. */
  onThread?(change: ThreadChange): void
  /** Lines of the access logs. Without this method they go to standard output. */
  onLines?(lines: readonly string[]): void
  /** Threads died one after another and are not replaced any more. The remaining ones continue. */
  readonly onFailed?: ((error: Error) => void) | undefined
}

/** A {@link ThreadObserver} that also subscribes to events. */
export interface ProxyObserver extends ThreadObserver {
  onEvent?(event: PlainEvent): void
}

/** {@link Running} threads. */
export interface ServingThreads extends Running {
  /** Statistics of each thread that is alive. */
  threads(): readonly ThreadStats[]
  /**
   * Sends a change to every thread, in the order of the calls; resolves when each has applied it. New threads apply the last
   * change of each subject. Rejects if a thread cannot apply it; new threads then do not apply it either.
   */
  change(change: ThreadsChange): Promise<void>
  /** From now on {@link ProxyObserver.onEvent} gets these events, and no others. */
  subscribe(events: readonly ForwardedEvent[]): void
  /** Replaces every thread by a new one, one at a time, without refusing or truncating a request. */
  reload(): Promise<void>
}

/** New backends of a group. */
export interface BackendsChange {
  readonly group: string
  readonly backends: readonly (string | BackendInit)[]
  /** Name of the proxy, or the index among those without a name. Default: all proxies that have such a group. */
  readonly proxy?: string | number | undefined
}

/** Other certificates, or other keys of its tickets, for a listener. */
export interface TlsChange {
  readonly tls: ListenerTls
}

/** Another configuration. */
export interface OptionsChange {
  readonly options: PlainOptions
  /** Of the snapshot. */
  readonly version: number
}

/** A change at run time for all threads of a proxy. */
export type ThreadsChange = BackendsChange | TlsChange | OptionsChange

/** The subject of a change: a later change with the same subject replaces it. */
export function subjectOf(change: ThreadsChange): string {
  if ('tls' in change) return 'the certificates'
  if ('options' in change) return 'the options'
  const of = change.proxy === undefined ? '' : ` of proxy ${JSON.stringify(change.proxy)}`
  return `group ${JSON.stringify(change.group)}${of}`
}

// Between a thread and the main thread:

/** The start data of a thread, under `heddle` in its `workerData`. */
export interface ThreadStart {
  /** Number of the thread, in logs and stats. */
  readonly thread: number
  /** Slot of the thread in the shared memory; 0 is the main thread. */
  readonly slot: number
  readonly memory: SharedArrayBuffer
  /** Options for `createProxy()`, or the URL of a module that serves. */
  readonly job: Pick<ThreadedWork, 'options' | 'logs'> | { readonly entry: string }
  /** Where to listen, on a shared port; `null`: connections come by message. */
  readonly listen: CheckedListenOptions | null
  /** The thread waits for the listening socket of another thread. It listens itself only if none comes. */
  readonly adopts: boolean
  /** How to serve, for a proxy created from options. */
  readonly server: Pick<CheckedListenOptions, 'tls' | 'protocols' | 'proxyProtocol'>
  /** Events that the main thread subscribes to. */
  readonly subscriptions: readonly ForwardedEvent[]
  /** Changes made before the thread started. */
  readonly changes: readonly ThreadsChange[]
  readonly reportMs: number
  readonly drainTimeoutMs: number
}

/** A message to a thread. */
export type ToThread =
  | { readonly type: 'change'; readonly number: number; readonly change: ThreadsChange }
  | { readonly type: 'subscribe'; readonly events: readonly ForwardedEvent[] }
  /** Hand over this number of listening sockets, each in a {@link HandedOver} message. */
  | { readonly type: 'handOverListeners'; readonly count: number; readonly to: MessagePort }
  | { readonly type: 'adoptListeners'; readonly from: MessagePort }
  | { readonly type: 'retire' }
  | { readonly type: 'socket'; readonly socket: Socket }

/** A message from a thread to its successor: a listening socket, with the connections in its queue. */
export type HandedOver = Server

/** A message from a thread. */
export type FromThread =
  | { readonly type: 'serving'; readonly address: ListenAddress | null; readonly proxies: readonly string[] }
  | {
      readonly type: 'failed'
      readonly message: string
      readonly code: string | undefined
      readonly stack: string | undefined
    }
  | { readonly type: 'changed'; readonly number: number; readonly fault: string | null }
  | Batch
  | {
      readonly type: 'report'
      /** Namespaces of the thread's proxies. */
      readonly proxies: readonly string[]
      readonly pools: readonly ThreadPool[]
    }
  | { readonly type: 'retired' }

/** Log lines and events that a thread has collected. */
export interface Batch {
  readonly type: 'batch'
  readonly logs: readonly LogEntry[]
  readonly lines: readonly string[]
  readonly events: readonly PlainEvent[]
}

/** A line of diagnostics. */
export interface LogEntry {
  readonly level: keyof Logger
  readonly fields: object
  readonly message: string
}

/** Namespace of the proxy with this index among those without a name in a thread. Names cannot contain `#`. */
export function namespaceOf(index: number): string {
  return `#${index}`
}

/** Name of a proxy's counters in the shared memory, for the thread in this slot. */
export function countersName(slot: number, namespace: string): string {
  return `thread ${slot}, proxy ${namespace}`
}

/** Name of the counters of a slot: connections opened, connections closed, listening sockets. */
export function slotName(slot: number): string {
  return `thread ${slot}`
}
