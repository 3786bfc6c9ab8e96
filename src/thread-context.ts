import type http from 'node:http'
import { workerData } from 'node:worker_threads'
import { countersName, type ThreadStart } from './executors/messages.ts'
import type { BackendInit } from './model/backend.ts'
import { type Memory, privateMemory, SharedMemory } from './model/memory.ts'
import type { AccessLogFormat, ProxyOptions } from './options.ts'

/** What a proxy needs of the thread that it is made in. */
export interface ThreadContext {
  /** Distinguishes the proxies of a thread, alike in each thread that runs the same module. */
  readonly namespace: string
  readonly memory: Memory
  readonly counters: Float64Array
  /** The thread's number; 0: none of an executor's. */
  readonly thread: number
}

/** A group's backends, at run time. */
export interface BackendsChange {
  readonly group: string
  readonly backends: readonly BackendInit[]
}

/** What a thread makes its proxy from. */
export interface ThreadJob {
  readonly options: ProxyOptions
  /** Somebody reads diagnostics. */
  readonly isLogging: boolean
  readonly accessLog: AccessLogFormat
}

/** A proxy as its thread sees it. */
export interface ThreadMember {
  /** A server of its own that does not listen yet. */
  createServer(): http.Server
  /** Figures of its pools, as plain data. */
  pools(): unknown
  /** From now on answers say that their connection ends; WebSockets are asked to close. */
  goAway(): void
  close(): Promise<void>
  /** Tells these events to `tell`, and no others. */
  hear(events: readonly string[], tell: (event: string, args: readonly unknown[]) => void): void
  change(change: BackendsChange): void
}

const start = (workerData as { heddle?: ThreadStart } | null)?.heddle
const memory = start === undefined ? null : new SharedMemory(start.memory, start.slot)

/** The proxies made in a thread of an executor, in order. */
export const members: ThreadMember[] = []
let proxies = 0

/** For the next proxy. In a thread of {@link workerThreads} its numbers are those of its siblings in other threads. */
export function nextContext(): ThreadContext {
  if (start === undefined || memory === null) {
    return { namespace: '', memory: privateMemory, counters: privateMemory.counters(''), thread: 0 }
  }
  const proxy = proxies++
  const counters = memory.counters(countersName(start.slot, proxy))
  counters.fill(0)
  return { namespace: String(proxy), memory, counters, thread: start.thread }
}

/** How this thread was started, or `undefined` where no executor of ours did it. */
export { start as threadStart }
