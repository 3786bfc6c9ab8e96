import type { SecureContextOptions } from 'node:tls'
import { workerData } from 'node:worker_threads'
import type { AccessLogFormat, ProxyOptions } from '../config/options.ts'
import type { ListenOptions } from '../contracts/executor.ts'
import type { SocketServer } from '../fronts/socket/server.ts'
import type { BackendInit } from '../model/backend.ts'
import { PrivateStateMemory, SharedStateMemory, type StateMemory } from '../runtime/state-memory.ts'
import { countersName, type ThreadStart } from './protocol.ts'

/** What a proxy needs of the thread that it is made in. */
export interface ThreadContext {
  /** Distinguishes the proxies of a thread, alike in each thread that runs the same module. */
  readonly namespace: string
  readonly memory: StateMemory
  readonly counters: Float64Array
  /** The thread's number; 0: none of an executor's. */
  readonly thread: number
  /** Clears what the numbers of backends that come say of earlier ones; where threads share them, one does it for all. */
  readonly clearsState: boolean
  /** Takes lines of an access log that are for standard output; `null`: they are written here. */
  readonly writeLine: ((line: string) => void) | null
}

/** A group's backends, at run time. */
export interface BackendsChange {
  readonly group: string
  readonly backends: readonly (string | BackendInit)[]
  /** Of the proxies that an entry module makes the nth, from 0. Default: all that have such a group. */
  readonly proxy?: number
}

/** Another certificate for the listeners. */
export interface SecureContextChange {
  readonly secureContext: SecureContextOptions
}

/** What the threads of a proxy are told at run time. */
export type ThreadsChange = BackendsChange | SecureContextChange

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
  createServer(listen: ListenOptions): SocketServer
  /** Figures of its pools, as plain data. */
  pools(): unknown
  /** From now on answers say that their connection ends; WebSockets are asked to close. */
  goAway(): void
  close(): Promise<void>
  /** Tells these events to `tell`, and no others. */
  hear(events: readonly string[], tell: (event: string, args: readonly unknown[]) => void): void
  /** @returns whether it is concerned. Throws where it cannot make it. */
  change(change: ThreadsChange, isNew: boolean): boolean
}

const start = (workerData as { heddle?: ThreadStart } | null)?.heddle
const memory = start === undefined ? null : new SharedStateMemory(start.memory, start.slot)

/** The proxies made in a thread of an executor, in order. */
export const members: ThreadMember[] = []
/** What this thread tells the one that started it. */
export const outlet: { writeLine: (line: string) => void } = { writeLine() {} }
let proxies = 0

/** For the next proxy. In a thread of {@link workerThreads} its numbers are those of its siblings in other threads. */
export function nextContext(): ThreadContext {
  if (start === undefined || memory === null) {
    const memory = new PrivateStateMemory()
    const counters = memory.counters()
    return { namespace: '', memory, counters, thread: 0, clearsState: true, writeLine: null }
  }
  const proxy = proxies++
  const counters = memory.counters(countersName(start.slot, proxy))
  counters.fill(0)
  const writeLine = (line: string): void => outlet.writeLine(line)
  // The thread that started us does not know of the proxies of an entry module.
  const clearsState = 'entry' in start.job
  return { namespace: String(proxy), memory, counters, thread: start.thread, clearsState, writeLine }
}

/** How this thread was started, or `undefined` where no executor of ours did it. */
export { start as threadStart }
