import { availableParallelism } from 'node:os'
import type { ResourceLimits } from 'node:worker_threads'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { SCALE_DEFAULTS, type ScaleOptions } from './scaler.ts'
import type { Spread } from './spread.ts'

/** How many threads there are, and how they live. */
export interface WorkerThreadsOptions {
  /** How many: a number, `auto` (default: as many as the machine runs at once), or bounds between which it changes with the load. */
  threads?: number | 'auto' | { min: number; max: number }
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
  /** Memory of each thread; see node's `resourceLimits`. */
  resourceLimits?: ResourceLimits
  /** Time, for tests. Default: the machine's. */
  clock?: Clock
}

/** {@link WorkerThreadsOptions} with every default filled in. */
export interface ThreadSettings {
  readonly min: number
  readonly max: number
  readonly spread: Spread | undefined
  readonly scale: ScaleOptions
  readonly maxCrashes: number
  readonly startTimeoutMs: number
  /** `undefined`: that of the proxy. */
  readonly drainTimeoutMs: number | undefined
  readonly resourceLimits: ResourceLimits
  readonly clock: Clock
}

/** Threads that one executor may have, at the most. */
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
  'clock',
]

/** What somebody may have meant by an option that does not exist. */
const MEANT = new Map([
  ['drainMs', 'drainTimeoutMs'],
  ['entry', 'serveModule()'],
])

/**
 * Checks the options and fills in the defaults.
 * @param caller the function that they were given to, for messages.
 * @param others further options of this function.
 * @throws TypeError for an option that is unknown, or a value that is not allowed.
 */
export function threadSettings(
  options: WorkerThreadsOptions,
  caller: string,
  others: readonly string[] = [],
): ThreadSettings {
  const { threads = 'auto', maxCrashes = 5, startTimeoutMs = START_TIMEOUT_MS, drainTimeoutMs, spread } = options
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
  if (!(maxCrashes >= 1)) throw wrong('maxCrashes', maxCrashes, '1 or more')
  if (!(startTimeoutMs > 0)) throw wrong('startTimeoutMs', startTimeoutMs, 'ms, more than 0')
  if (drainTimeoutMs !== undefined && !(drainTimeoutMs >= 0)) {
    throw wrong('drainTimeoutMs', drainTimeoutMs, 'ms, 0 or more')
  }
  if (spread !== undefined && spread !== 'kernel' && spread !== 'least-loaded') {
    throw wrong('spread', spread, "'kernel', 'least-loaded'")
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
    spread,
    scale: { ...scale },
    maxCrashes,
    startTimeoutMs,
    drainTimeoutMs,
    resourceLimits: options.resourceLimits ?? {},
    clock: options.clock ?? systemClock,
  }
}

function refuseUnknown(options: object, known: readonly string[], prefix: string): void {
  const key = Object.keys(options).find((one) => !known.includes(one))
  if (key === undefined) return
  const meant = MEANT.get(key)
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`
  throw new TypeError(`${prefix}${key} is unknown${hint}; there are: ${known.join(', ')}`)
}
