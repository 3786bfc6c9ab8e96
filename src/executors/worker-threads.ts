import { availableParallelism } from 'node:os'
import type { ResourceLimits } from 'node:worker_threads'
import type { Executor, Job, ListenOptions, Running } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { type Clock, systemClock } from '../model/clock.ts'
import type { ScaleOptions } from './scaler.ts'
import type { Spread } from './spread.ts'
import { startThreads } from './thread-group.ts'

export type { ScaleOptions, Spread }

/** Options of {@link workerThreads}. */
export interface WorkerThreadsOptions {
  /** How many: a number, `auto` (default: as many as the machine runs at once), or bounds between which it changes with the load. */
  threads?: number | 'auto' | { min: number; max: number }
  /**
   * Module that each thread runs in place of a proxy made from options: its default export is a node:http server, or a
   * function that returns one (or a promise of one). The server must not listen yet.
   */
  entry?: string | URL
  /** How connections come to threads. Default: `kernel` where it works, else `least-loaded`. */
  spread?: Spread
  /** When threads are added and retired, between `min` and `max`. */
  scale?: ScaleOptions
  /** Deaths in a row, none after ten seconds of service, past which dead threads are not replaced any more. Default 5. */
  maxCrashes?: number
  /** How long a thread that retires may finish what it has, ms. Default 10000. */
  drainMs?: number
  /** Memory of each thread; see node's `resourceLimits`. */
  resourceLimits?: ResourceLimits
  /** Time, for tests. Default: the machine's. */
  clock?: Clock
}

/** What the entry form is started with; everything else is in the module. */
export interface EntryJob extends Pick<Job, 'observer'> {
  readonly listen: number | ListenOptions
  /** Diagnostics of the threads. Default: none. */
  readonly logger?: Logger
}

/** Options of {@link workerThreads} with every default filled in. */
export interface ThreadSettings {
  readonly min: number
  readonly max: number
  readonly entry: string | null
  readonly spread: Spread | undefined
  readonly scale: ScaleOptions
  readonly maxCrashes: number
  readonly drainMs: number
  readonly resourceLimits: ResourceLimits
  readonly clock: Clock
}

/** An {@link Executor} of threads. */
export interface WorkerThreads extends Executor {
  /** Serves; in the entry form to be called by the application: `start({ listen: 8080 })`. */
  start(job: Job | EntryJob): Promise<Running>
}

/** Threads that one executor may have, at the most. */
const MOST_THREADS = 1024

/**
 * Serves with several threads, each of which owns the whole way from the client's connection to the backend's; see
 * docs/threads.md. Give it to `createProxy({ executor })`, or name an `entry` module and start it yourself.
 * @throws TypeError for options that cannot be.
 */
export function workerThreads(options: WorkerThreadsOptions = {}): WorkerThreads {
  const settings = resolve(options)
  return {
    name: 'worker-threads',
    // One more: the one that replaces another lives beside it.
    maxThreads: settings.max + 1,
    start(job) {
      const { listen } = job
      const where = typeof listen === 'number' ? { port: listen } : listen
      return startThreads({ ...job, listen: where }, settings)
    },
  }
}

function resolve(options: WorkerThreadsOptions): ThreadSettings {
  const { threads = 'auto', entry, maxCrashes = 5, drainMs = 10_000 } = options
  const bounds = threads === 'auto' ? availableParallelism() : threads
  const { min, max } = typeof bounds === 'object' ? bounds : { min: bounds, max: bounds }
  for (const count of [min, max]) {
    if (!Number.isInteger(count) || count < 1 || count > MOST_THREADS || min > max) {
      throw new TypeError(
        `workerThreads: threads is ${JSON.stringify(threads)}; allowed: a whole number from 1 to ${MOST_THREADS}, 'auto', or { min, max }`,
      )
    }
  }
  if (!(maxCrashes >= 1)) throw new TypeError(`workerThreads: maxCrashes is ${maxCrashes}; allowed: 1 or more`)
  if (!(drainMs >= 0)) throw new TypeError(`workerThreads: drainMs is ${drainMs}; allowed: ms, 0 or more`)
  return {
    min,
    max,
    entry: entry === undefined ? null : String(entry),
    spread: options.spread,
    scale: options.scale ?? {},
    maxCrashes,
    drainMs,
    resourceLimits: options.resourceLimits ?? {},
    clock: options.clock ?? systemClock,
  }
}
