import { availableParallelism } from 'node:os'
import type { ResourceLimits } from 'node:worker_threads'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { didYouMean } from '../runtime/nearest.ts'
import { SCALE_DEFAULTS, type ScaleOptions } from './scaler.ts'
import type { Spread } from './spread.ts'

/** The number of threads, and how they start and end. */
export interface WorkerThreadsOptions {
  /** A number, `auto` (default: one for each CPU), or bounds between which the number follows the load. */
  threads?: number | 'auto' | { min: number; max: number } | undefined
  /**
   * How many addresses the proxy will listen on, at most: a `proxy.listen()` for each. Each address has `threads` threads of its
   * own; all of them share the state of the backends. Default 1.
   */
  listeners?: number | undefined
  /** How connections are spread over the threads. Default: `kernel` if it works, else `least-loaded`. */
  spread?: Spread | undefined
  /** When threads are added and retired, between `min` and `max`. */
  scale?: ScaleOptions | undefined
  /**
   * Crashes in a row, each within ten seconds of service, after which dead threads are not replaced any more. Default
   * 5.
   */
  maxCrashes?: number | undefined
  /** Time for a thread to begin to serve, ms; after it the start has failed. Default 60000. */
  startTimeoutMs?: number | undefined
  /** How long a retiring thread may finish its exchanges, ms. Default: `drainTimeoutMs` of the proxy, else 10000. */
  drainTimeoutMs?: number | undefined
  /** Memory limits of each thread; see node's `resourceLimits`. */
  resourceLimits?: ResourceLimits | undefined
  /**
   * The module that each thread runs, as a URL or a path relative to the current folder: a file that does nothing but import
   * `heddle/worker`, or that was bundled from it. Needed only in a bundle, where heddle's own file is not found. Default: heddle's own.
   */
  module?: string | URL | undefined
  /** Time, for tests. Default: the machine's. */
  clock?: Clock | undefined
}

/** {@link WorkerThreadsOptions} with every default filled in. */
export interface ThreadSettings {
  readonly min: number
  readonly max: number
  readonly listeners: number
  readonly spread: Spread | undefined
  readonly scale: ScaleOptions
  readonly maxCrashes: number
  readonly startTimeoutMs: number
  /** `undefined`: the proxy's own. */
  readonly drainTimeoutMs: number | undefined
  readonly resourceLimits: ResourceLimits
  /** `undefined`: our own. */
  readonly module: string | URL | undefined
  readonly clock: Clock
}

/** Most addresses of one executor. */
const MOST_LISTENERS = 64
/** Most threads of one address. */
const MOST_THREADS = 1024
const START_TIMEOUT_MS = 60_000

const KEYS: readonly (keyof WorkerThreadsOptions)[] = [
  'threads',
  'spread',
  'scale',
  'maxCrashes',
  'startTimeoutMs',
  'drainTimeoutMs',
  'resourceLimits',
  'module',
  'clock',
]

/** Suggestions for options that have other names now. */
const SUGGESTIONS = new Map([
  ['drainMs', 'drainTimeoutMs'],
  ['entry', 'serveModule()'],
])

/**
 * Checks the options and fills in the defaults.
 * @param caller name of the calling function, for messages.
 * @param others further options of that function.
 * @throws TypeError for an option that is unknown, or a value that is not allowed.
 */
export function threadSettings(
  options: WorkerThreadsOptions,
  caller: string,
  others: readonly string[] = [],
): ThreadSettings {
  const {
    threads = 'auto',
    listeners = 1,
    maxCrashes = 5,
    startTimeoutMs = START_TIMEOUT_MS,
    drainTimeoutMs,
    spread,
    module,
  } = options
  const wrong = (name: string, value: unknown, allowed: string): TypeError =>
    new TypeError(`${caller}: ${name} is ${JSON.stringify(value)}; allowed: ${allowed}`)

  refuseUnknown(options, [...others, ...KEYS], `${caller}: `)
  const bounds = threads === 'auto' ? availableParallelism() : threads
  const { min, max } = typeof bounds === 'object' && bounds !== null ? bounds : { min: bounds, max: bounds }
  for (const count of [min, max]) {
    if (!Number.isInteger(count) || count < 1 || count > MOST_THREADS || min > max) {
      throw wrong('threads', threads, `a whole number from 1 to ${MOST_THREADS}, 'auto', or { min, max }`)
    }
  }
  if (!Number.isInteger(listeners) || listeners < 1 || listeners > MOST_LISTENERS) {
    throw wrong('listeners', listeners, `a whole number from 1 to ${MOST_LISTENERS}`)
  }
  if (!(maxCrashes >= 1)) throw wrong('maxCrashes', maxCrashes, '1 or more')
  if (!(startTimeoutMs > 0)) throw wrong('startTimeoutMs', startTimeoutMs, 'ms, more than 0')
  if (drainTimeoutMs !== undefined && !(drainTimeoutMs >= 0)) {
    throw wrong('drainTimeoutMs', drainTimeoutMs, 'ms, 0 or more')
  }
  if (spread !== undefined && spread !== 'kernel' && spread !== 'least-loaded') {
    throw wrong('spread', spread, "'kernel', 'least-loaded'")
  }
  if (module !== undefined && !(module instanceof URL) && (typeof module !== 'string' || module === '')) {
    throw wrong('module', module, "the URL or the path of a file that imports 'heddle/worker'")
  }
  const { scale = {} } = options
  const scaleKeys = Object.keys(SCALE_DEFAULTS) as (keyof ScaleOptions)[]
  refuseUnknown(scale, scaleKeys, `${caller}: scale.`)
  for (const key of scaleKeys) {
    const value = scale[key]
    const isTime = key.endsWith('Ms')
    if (value === undefined || (value >= 0 && (isTime || value <= 1))) continue
    throw wrong(`scale.${key}`, value, isTime ? 'ms, 0 or more' : 'a share of the time, 0 to 1')
  }
  return {
    min,
    max,
    listeners,
    spread,
    scale: { ...scale },
    maxCrashes,
    startTimeoutMs,
    drainTimeoutMs,
    resourceLimits: options.resourceLimits ?? {},
    module,
    clock: options.clock ?? systemClock,
  }
}

function refuseUnknown(options: object, known: readonly string[], prefix: string): void {
  const unknown = Object.keys(options).find((key) => !known.includes(key))
  if (unknown === undefined) return
  const suggestion = SUGGESTIONS.get(unknown)
  const hint = suggestion === undefined ? didYouMean(unknown, known) : `; did you mean ${suggestion}?`
  throw new TypeError(`${prefix}${unknown} is unknown${hint}; allowed: ${known.join(', ')}`)
}
