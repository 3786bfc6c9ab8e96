import type { CheckedListenOptions } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { SharedStateMemory } from '../runtime/state-memory.ts'
import type { ForwardedEvent } from './bridge.ts'
import { type LifeSettings, Thread, type ThreadOwner } from './handle.ts'
import type { ProxyObserver, ThreadStart, ThreadsChange } from './protocol.ts'
import { ThreadCounters } from './thread-counters.ts'

/** Number of backends of a module that there is room for, since its options are unknown here; see docs/threads.md. */
const MODULE_BACKENDS = 10_000

/** Interval of the utilization measurements and the threads' reports, ms. */
export const REPORT_MS = 500

/** A job for the threads of a supervisor. */
export interface SupervisedJob {
  readonly listen: CheckedListenOptions
  /** What each thread runs. */
  readonly work: ThreadStart['job']
  /** Namespace of the first proxy that each thread will create. */
  readonly namespace: string
  /** Shared memory. Default: new memory. */
  readonly memory?: SharedArrayBuffer
  /** Slots of the memory that other jobs have. Default 0. */
  readonly offset?: number
  /** The last number that a thread of the proxy got, shared by its jobs. Default: numbers of their own. */
  readonly numbers?: { last: number }
  /** Earlier changes. */
  readonly changes?: Iterable<ThreadsChange>
  /** How long a retiring thread may finish its exchanges, ms. */
  readonly drainTimeoutMs: number
  readonly logger: Logger | undefined
  readonly observer: ProxyObserver | undefined
}

/** How to start a thread. */
export interface StartOptions {
  /** Why it is started, for messages. */
  readonly reason: string
  /** Where to listen; `null`: connections come by message. */
  readonly listen: CheckedListenOptions | null
  /** Another thread hands it a listening socket when it serves. */
  readonly adopts: boolean
  readonly subscriptions: readonly ForwardedEvent[]
  readonly changes: Iterable<ThreadsChange>
}

/** The threads of a job that are alive, in the order of their numbers, and their slots of the shared memory. */
export class ThreadSet {
  readonly #threads = new Set<Thread>()
  readonly #job: SupervisedJob
  readonly #settings: LifeSettings
  readonly #owner: ThreadOwner
  readonly #buffer: SharedArrayBuffer
  readonly #memory: SharedStateMemory
  readonly #freeSlots: number[]
  readonly #numbers: { last: number }

  /** @param most largest number of threads alive at one time. */
  constructor(job: SupervisedJob, settings: LifeSettings, owner: ThreadOwner, most: number) {
    this.#job = job
    this.#settings = settings
    this.#owner = owner
    this.#buffer = job.memory ?? SharedStateMemory.allocate(most + 1, MODULE_BACKENDS)
    this.#memory = new SharedStateMemory(this.#buffer, 0)
    const { offset = 0, numbers = { last: 0 } } = job
    this.#numbers = numbers
    this.#freeSlots = Array.from({ length: most }, (_, index) => offset + most - index)
    for (const slot of this.#freeSlots) ThreadCounters.reserve(this.#memory, slot, job.namespace)
  }

  start({ reason, changes, ...options }: StartOptions): Thread {
    const slot = this.#freeSlots.pop()
    if (slot === undefined) throw new Error('no free slot for another thread')
    const { work, namespace, listen, drainTimeoutMs } = this.#job
    const start: ThreadStart = {
      thread: ++this.#numbers.last,
      slot,
      memory: this.#buffer,
      job: work,
      server: { tls: listen.tls, protocols: listen.protocols, proxyProtocol: listen.proxyProtocol },
      changes: [...changes],
      reportMs: REPORT_MS,
      drainTimeoutMs,
      ...options,
    }
    const thread = new Thread(start, reason, namespace, this.#memory, this.#settings, this.#owner)
    this.#threads.add(thread)
    return thread
  }

  /** Removes a thread that has ended. */
  remove(thread: Thread): void {
    this.#threads.delete(thread)
    this.#freeSlots.push(thread.slot)
    thread.counters.clear()
  }

  all(): Thread[] {
    return [...this.#threads]
  }

  /** The starting and serving threads. */
  active(): Thread[] {
    return this.all().filter(({ state }) => state === 'starting' || state === 'serving')
  }

  serving(): Thread[] {
    return this.all().filter(({ state }) => state === 'serving')
  }
}
