import { availableParallelism } from 'node:os'
import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { ResourceLimits } from 'node:worker_threads'
import type { Executor, Job, ListenOptions } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { ProxyError } from '../model/errors.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { SCALE_DEFAULTS, type ScaleOptions } from '../threads/scaler.ts'
import type { Spread } from '../threads/spread.ts'
import { type RunningThreads, startThreads } from '../threads/supervisor.ts'

export type { RunningThreads, ScaleOptions, Spread }

/** Options of {@link workerThreads}. */
export interface WorkerThreadsOptions {
  /** How many: a number, `auto` (default: as many as the machine runs at once), or bounds between which it changes with the load. */
  threads?: number | 'auto' | { min: number; max: number }
  /**
   * Module that each thread runs in place of a proxy made from options: a URL, or a path from the current folder. Its default
   * export is a node:http server, or a function that returns one (or a promise of one). The server must not listen yet.
   */
  entry?: string | URL
  /** How connections come to threads. Default: `kernel` where it works, else `least-loaded`. */
  spread?: Spread
  /** When threads are added and retired, between `min` and `max`. */
  scale?: ScaleOptions
  /** Deaths in a row, none after ten seconds of service, past which dead threads are not replaced any more. Default 5. */
  maxCrashes?: number
  /** A thread that does not serve after this time cannot start, ms. Default 60000. */
  startTimeoutMs?: number
  /** How long a thread that retires may finish what it has, ms. Default: `drainTimeoutMs` of the proxy, else 10000. */
  drainTimeoutMs?: number
  /** StateMemory of each thread; see node's `resourceLimits`. */
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
  readonly startTimeoutMs: number
  readonly drainTimeoutMs: number
  readonly resourceLimits: ResourceLimits
  readonly clock: Clock
}

/** An {@link Executor} of threads. */
export interface WorkerThreads extends Executor {
  /** Serves; in the entry form to be called by the application: `start({ listen: 8080 })`. */
  start(job: Job | EntryJob): Promise<RunningThreads>
}

/** Threads that one executor may have, at the most. */
const MOST_THREADS = 1024
const DRAIN_TIMEOUT_MS = 10_000
const START_TIMEOUT_MS = 60_000

/**
 * Serves with several threads, each of which owns the whole way from the client's connection to the backend's; see
 * docs/threads.md. Give it to `createProxy({ executor })`, or name an `entry` module and start it yourself.
 * @throws TypeError for options that cannot be.
 */
export function workerThreads(options: WorkerThreadsOptions = {}): WorkerThreads {
  const settings = resolve(options)
  const memories = new WeakSet<SharedArrayBuffer>()
  return {
    name: 'worker-threads',
    // One more: the one that replaces another lives beside it.
    maxThreads: settings.max + 1,
    async start(job) {
      const { listen, memory } = (job as Job | undefined) ?? {}
      if (listen === undefined) throw new TypeError('workerThreads: where to listen? start({ listen: 8080 })')
      const where = typeof listen === 'number' ? { port: listen } : listen
      const drainTimeoutMs = options.drainTimeoutMs ?? (job as Job).drainTimeoutMs ?? DRAIN_TIMEOUT_MS
      if (memory === undefined) return startThreads({ ...job, listen: where }, { ...settings, drainTimeoutMs })
      if (memories.has(memory)) {
        const message = 'the threads of a proxy listen in one place; make another proxy for another one'
        throw new ProxyError('ERR_PROXY_THREADS', message)
      }
      memories.add(memory)
      try {
        return await startThreads({ ...job, listen: where }, { ...settings, drainTimeoutMs })
      } catch (error) {
        memories.delete(memory)
        throw error
      }
    },
  }
}

const KEYS: readonly (keyof WorkerThreadsOptions)[] = [
  'threads',
  'entry',
  'spread',
  'scale',
  'maxCrashes',
  'startTimeoutMs',
  'drainTimeoutMs',
  'resourceLimits',
  'clock',
]

function resolve(options: WorkerThreadsOptions): ThreadSettings {
  refuseUnknown(options, KEYS, '')
  const {
    threads = 'auto',
    entry,
    maxCrashes = 5,
    startTimeoutMs = START_TIMEOUT_MS,
    drainTimeoutMs = DRAIN_TIMEOUT_MS,
  } = options
  const bounds = threads === 'auto' ? availableParallelism() : threads
  const { min, max } = typeof bounds === 'object' && bounds !== null ? bounds : { min: bounds, max: bounds }
  for (const count of [min, max]) {
    if (!Number.isInteger(count) || count < 1 || count > MOST_THREADS || min > max) {
      throw wrong('threads', threads, `a whole number from 1 to ${MOST_THREADS}, 'auto', or { min, max }`)
    }
  }
  if (!(maxCrashes >= 1)) throw wrong('maxCrashes', maxCrashes, '1 or more')
  if (!(startTimeoutMs > 0)) throw wrong('startTimeoutMs', startTimeoutMs, 'ms, more than 0')
  if (!(drainTimeoutMs >= 0)) throw wrong('drainTimeoutMs', drainTimeoutMs, 'ms, 0 or more')
  if (options.spread !== undefined && options.spread !== 'kernel' && options.spread !== 'least-loaded') {
    throw wrong('spread', options.spread, "'kernel', 'least-loaded'")
  }
  const scale = checkScale(options.scale ?? {})
  return {
    min,
    max,
    entry: entry === undefined ? null : entryUrl(entry),
    spread: options.spread,
    scale,
    maxCrashes,
    startTimeoutMs,
    drainTimeoutMs,
    resourceLimits: options.resourceLimits ?? {},
    clock: options.clock ?? systemClock,
  }
}

/** Of a path, or as it is. A drive's letter is no scheme. */
function entryUrl(entry: string | URL): string {
  const isPath = typeof entry === 'string' && (isAbsolute(entry) || !URL.canParse(entry))
  return isPath ? pathToFileURL(entry).href : String(entry)
}

function checkScale(scale: ScaleOptions): ScaleOptions {
  const keys = Object.keys(SCALE_DEFAULTS) as (keyof ScaleOptions)[]
  refuseUnknown(scale, keys, 'scale.')
  for (const key of keys) {
    const value = scale[key]
    const isTime = key.endsWith('Ms')
    if (value === undefined || (value >= 0 && (isTime || value <= 1))) continue
    throw wrong(`scale.${key}`, value, isTime ? 'ms, 0 or more' : 'a share of the time, 0 to 1')
  }
  return { ...scale }
}

function refuseUnknown(options: object, known: readonly string[], prefix: string): void {
  const key = Object.keys(options).find((one) => !known.includes(one))
  if (key === undefined) return
  const hint = key === 'drainMs' ? '; did you mean drainTimeoutMs?' : ''
  throw new TypeError(`workerThreads: ${prefix}${key} is unknown${hint}; there are: ${known.join(', ')}`)
}

function wrong(name: string, value: unknown, allowed: string): TypeError {
  return new TypeError(`workerThreads: ${name} is ${JSON.stringify(value)}; allowed: ${allowed}`)
}
