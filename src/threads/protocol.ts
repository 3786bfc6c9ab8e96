import type { Server, Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import type { MessagePort } from 'node:worker_threads'
import type { ListenAddress, ListenOptions } from '../contracts/executor.ts'

/** What a thread is started with, under `heddle` in its `workerData`. */
export interface ThreadStart {
  /** Its number, in logs and stats. */
  readonly thread: number
  /** Its place in the shared memory; 0 is the thread that started it. */
  readonly slot: number
  readonly memory: SharedArrayBuffer
  /** Options for `createProxy()`, or the URL of a module that serves. */
  readonly job: { readonly options: unknown } | { readonly entry: string }
  /** Where to listen, sharing the port; `null`: connections come by message. */
  readonly listen: ListenOptions | null
  /** It does not listen by itself, unless nothing comes: another thread's listening socket is on its way. */
  readonly inherits: boolean
  /** For proxies made from options: the certificate to listen with. */
  readonly tls: TlsOptions | null
  /** Events that the starter wants to hear. */
  readonly heard: readonly string[]
  /** Changes made before it began. */
  readonly changes: readonly unknown[]
  readonly reportMs: number
  readonly drainTimeoutMs: number
}

/** To a thread. */
export type ToThread =
  | { readonly type: 'change'; readonly number: number; readonly change: unknown }
  | { readonly type: 'hear'; readonly events: readonly string[] }
  /** Hand over so many of your listening sockets: each is a message of {@link Inheritance}. */
  | { readonly type: 'give'; readonly count: number; readonly to: MessagePort }
  | { readonly type: 'inherit'; readonly from: MessagePort }
  | { readonly type: 'retire' }
  | { readonly type: 'socket'; readonly socket: Socket }

/** From a thread to its heir: a socket that goes on listening, with what waits in its queue. */
export type Inheritance = Server

/** From a thread. */
export type FromThread =
  | { readonly type: 'serving'; readonly address: ListenAddress | null; readonly proxies: number }
  | {
      readonly type: 'failed'
      readonly message: string
      readonly code: string | undefined
      readonly stack: string | undefined
    }
  | { readonly type: 'changed'; readonly number: number; readonly fault: string | null }
  | {
      readonly type: 'batch'
      readonly logs: readonly LogEntry[]
      readonly lines: readonly string[]
      readonly events: readonly { readonly event: string; readonly args: readonly unknown[] }[]
    }
  | {
      readonly type: 'report'
      readonly proxies: number
      readonly pools: readonly unknown[]
    }
  | { readonly type: 'retired' }

/** A line of diagnostics on its way. */
export interface LogEntry {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: object
  readonly message: string
}

/** Name of the counters of a thread's nth proxy in the shared memory. */
export function countersName(slot: number, proxy: number): string {
  return `thread ${slot}, proxy ${proxy}`
}

/** Name of the counters of a thread's place: how many connections have come, how many have gone, on how many sockets it listens. */
export function slotName(slot: number): string {
  return `thread ${slot}`
}
