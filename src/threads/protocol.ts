import type { Server, Socket } from 'node:net'
import type { SecureContextOptions, TlsOptions } from 'node:tls'
import type { MessagePort } from 'node:worker_threads'
import type {
  Job,
  ListenAddress,
  ListenOptions,
  Running,
  ThreadChange,
  ThreadPool,
  ThreadStats,
} from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import type { BackendInit } from '../model/backend.ts'
import type { ForwardedEvent, PlainEvent } from './bridge.ts'

/*
 * What a proxy, the threads that serve it, and the thread that started these say to each other. Internal: an executor of
 * the user's passes it on without knowing it.
 */

// Between a proxy and its threads, both in the main thread:

/** A {@link Job} for threads: what they need to serve the same proxy. */
export interface ThreadedJob extends Job, ThreadedWork {
  /** Changes made before, of each subject the last; see {@link ServingThreads.change}. */
  readonly changes: Iterable<ThreadsChange>
  /** How long a thread that retires may finish what it has, ms; unless the executor was given another time. */
  readonly drainTimeoutMs: number
  readonly logger: Logger
  readonly observer: ProxyObserver
}

/** What is the same for every `listen()` of a proxy. */
export interface ThreadedWork {
  readonly options: PlainOptions
  /** The threads' diagnostics go somewhere. */
  readonly isLogging: boolean
  /** Of the proxy, in every thread; see `nextContext()`. */
  readonly namespace: string
  /** Shared by the calling thread and {@link import('../contracts/executor.ts').Executor.maxThreads} others. */
  readonly memory: SharedArrayBuffer
}

/** Options of `createProxy()` as plain data. */
export type PlainOptions = Readonly<Record<string, unknown>>

/** Notified, in the main thread, of what happens in and to the threads. */
export interface ThreadObserver {
  /** A thread began, ended, or is to be replaced. */
  onThread?(change: ThreadChange): void
  /** Lines of the access logs. Without it they go to standard output. */
  onLines?(lines: readonly string[]): void
  /** Threads die one after another and are not replaced any more; those that are left go on. */
  readonly onFailed?: ((error: Error) => void) | undefined
}

/** A {@link ThreadObserver} that subscribes to events as well. */
export interface ProxyObserver extends ThreadObserver {
  onEvent?(event: PlainEvent): void
}

/** {@link Running} threads. */
export interface ServingThreads extends Running {
  /** Of each thread that is alive. */
  threads(): readonly ThreadStats[]
  /**
   * Brings a change to every thread, in the order of the calls; resolves when each has made it. Threads that begin later
   * make the last one of each subject. Rejects if one cannot make it, and then later ones are not asked to.
   */
  change(change: ThreadsChange): Promise<void>
  /** From now on {@link ProxyObserver.onEvent} is notified of these events, and of no others. */
  subscribe(events: readonly ForwardedEvent[]): void
  /** Replaces every thread by a new one, one at a time, without refusing or truncating a request. */
  reload(): Promise<void>
}

/** A group's backends, at run time. */
export interface BackendsChange {
  readonly group: string
  readonly backends: readonly (string | BackendInit)[]
  /** Only of the proxy with this name, or of the nth one without a name, from 0. Default: of all that have such a group. */
  readonly proxy?: string | number | undefined
}

/** Another certificate for the listeners. */
export interface SecureContextChange {
  readonly secureContext: SecureContextOptions
}

/** Another configuration. */
export interface OptionsChange {
  readonly options: PlainOptions
  /** Of the snapshot. */
  readonly version: number
}

/** What the threads of a proxy are asked to change at run time. */
export type ThreadsChange = BackendsChange | SecureContextChange | OptionsChange

/** What a change is about: a later one of the same takes its place. */
export function subjectOf(change: ThreadsChange): string {
  if ('secureContext' in change) return 'the certificate'
  if ('options' in change) return 'the options'
  const of = change.proxy === undefined ? '' : ` of proxy ${JSON.stringify(change.proxy)}`
  return `group ${JSON.stringify(change.group)}${of}`
}

// Between a thread and the main thread:

/** What a thread is started with, under `heddle` in its `workerData`. */
export interface ThreadStart {
  /** Its number, in logs and stats. */
  readonly thread: number
  /** Its slot in the shared memory; 0 is the thread that started it. */
  readonly slot: number
  readonly memory: SharedArrayBuffer
  /** Options for `createProxy()`, or the URL of a module that serves. */
  readonly job: Pick<ThreadedWork, 'options' | 'isLogging'> | { readonly entry: string }
  /** Where to listen, sharing the port; `null`: connections come by message. */
  readonly listen: ListenOptions | null
  /** It does not listen by itself, unless nothing comes: another thread's listening socket is on its way. */
  readonly adopts: boolean
  /** For proxies made from options: the certificate to listen with. */
  readonly tls: TlsOptions | null
  /** Events that the starter subscribes to. */
  readonly subscriptions: readonly ForwardedEvent[]
  /** Changes made before it began. */
  readonly changes: readonly ThreadsChange[]
  readonly reportMs: number
  readonly drainTimeoutMs: number
}

/** To a thread. */
export type ToThread =
  | { readonly type: 'change'; readonly number: number; readonly change: ThreadsChange }
  | { readonly type: 'subscribe'; readonly events: readonly ForwardedEvent[] }
  /** Hand over so many of your listening sockets: each is a message of {@link HandedOver}. */
  | { readonly type: 'handOverListeners'; readonly count: number; readonly to: MessagePort }
  | { readonly type: 'adoptListeners'; readonly from: MessagePort }
  | { readonly type: 'retire' }
  | { readonly type: 'socket'; readonly socket: Socket }

/** From a thread to its successor: a socket that goes on listening, with what waits in its queue. */
export type HandedOver = Server

/** From a thread. */
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

/** What a thread has collected for a moment. */
export interface Batch {
  readonly type: 'batch'
  readonly logs: readonly LogEntry[]
  readonly lines: readonly string[]
  readonly events: readonly PlainEvent[]
}

/** A line of diagnostics on its way. */
export interface LogEntry {
  readonly level: keyof Logger
  readonly fields: object
  readonly message: string
}

/** Namespace of the nth proxy without a name that a thread makes, from 0. No name has a `#`. */
export function namespaceOf(index: number): string {
  return `#${index}`
}

/** Name of a proxy's counters in the shared memory, of the thread in this slot. */
export function countersName(slot: number, namespace: string): string {
  return `thread ${slot}, proxy ${namespace}`
}

/** Name of the counters of a slot: how many connections have come, how many have gone, on how many sockets its thread listens. */
export function slotName(slot: number): string {
  return `thread ${slot}`
}
