import type { ListenOptions } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { SharedStateMemory } from '../runtime/state-memory.ts'
import type { ForwardedEvent } from './bridge.ts'
import { type LifeSettings, Thread, type ThreadOwner } from './handle.ts'
import type { ProxyObserver, ThreadStart, ThreadsChange } from './protocol.ts'
import { ThreadCounters } from './thread-counters.ts'

/** Room for so many backends of a module, whose options are not known here; docs/threads.md says it. */
const MODULE_BACKENDS = 10_000

/** How often utilization is measured and threads report what is not in shared memory, ms. */
export const REPORT_MS = 500

/** What threads serve. */
export interface SupervisedJob {
  readonly listen: ListenOptions
  /** What each thread runs. */
  readonly work: ThreadStart['job']
  /** Of the first proxy that each thread will make. */
  readonly namespace: string
  /** Default: memory of their own. */
  readonly memory?: SharedArrayBuffer
  /** Made before. */
  readonly changes?: Iterable<ThreadsChange>
  /** How long a thread that retires may finish what it has, ms. */
  readonly drainTimeoutMs: number
  readonly logger: Logger | undefined
  readonly observer: ProxyObserver | undefined
}

/** How a thread begins. */
export interface ThreadBeginning {
  /** In words. */
  readonly reason: string
  /** Where to listen; `null`: connections come by message. */
  readonly listen: ListenOptions | null
  /** It is handed a listening socket when it serves. */
  readonly adopts: boolean
  readonly subscriptions: readonly ForwardedEvent[]
  readonly changes: Iterable<ThreadsChange>
}

/** The threads of a job that are alive, in the order of their numbers, and the slots of the shared memory that they have. */
export class ThreadSet {
  readonly #threads = new Set<Thread>()
  readonly #job: SupervisedJob
  readonly #settings: LifeSettings
  readonly #owner: ThreadOwner
  readonly #buffer: SharedArrayBuffer
  readonly #memory: SharedStateMemory
  readonly #freeSlots: number[]
  #lastThread = 0

  /** @param most that may be alive at one time. */
  constructor(job: SupervisedJob, settings: LifeSettings, owner: ThreadOwner, most: number) {
    this.#job = job
    this.#settings = settings
    this.#owner = owner
    this.#buffer = job.memory ?? SharedStateMemory.allocate(most + 1, MODULE_BACKENDS)
    this.#memory = new SharedStateMemory(this.#buffer, 0)
    this.#freeSlots = Array.from({ length: most }, (_, index) => most - index)
    for (const slot of this.#freeSlots) ThreadCounters.reserve(this.#memory, slot, job.namespace)
  }

  start({ reason, changes, ...beginning }: ThreadBeginning): Thread {
    const slot = this.#freeSlots.pop()
    if (slot === undefined) throw new Error('no place for another thread')
    const { work, namespace, listen, drainTimeoutMs } = this.#job
    const start: ThreadStart = {
      thread: ++this.#lastThread,
      slot,
      memory: this.#buffer,
      job: work,
      tls: listen.tls ?? null,
      changes: [...changes],
      reportMs: REPORT_MS,
      drainTimeoutMs,
      ...beginning,
    }
    const thread = new Thread(start, reason, namespace, this.#memory, this.#settings, this.#owner)
    this.#threads.add(thread)
    return thread
  }

  /** It has ended. */
  remove(thread: Thread): void {
    this.#threads.delete(thread)
    this.#freeSlots.push(thread.slot)
    thread.counters.clear()
  }

  all(): Thread[] {
    return [...this.#threads]
  }

  /** Starting and serving ones. */
  active(): Thread[] {
    return this.all().filter(({ state }) => state === 'starting' || state === 'serving')
  }

  serving(): Thread[] {
    return this.all().filter(({ state }) => state === 'serving')
  }
}
