import * as v from 'valibot'
import { CONSISTENT_HASH_DEFAULTS } from '../balancers/consistent-hash.ts'
import {
  consistentHash,
  firstAvailable,
  leastConnections,
  peakEwma,
  powerOfTwo,
  random,
  roundRobin,
} from '../balancers/index.ts'
import { PEAK_EWMA_DEFAULTS } from '../balancers/peak-ewma.ts'
import type { Balancer } from '../contracts/balancer.ts'
import type { Clock } from '../runtime/clock.ts'
import { nearest } from '../runtime/nearest.ts'
import type { BalancerName } from './options.ts'
import { closed, codeOr, contract, defaultsTo, hasMethodOf, isPlainObject, whole, wording } from './rules.ts'

/** The proxy passes these to every built-in. */
interface Chance {
  readonly random: () => number
  readonly now: () => number
}

/** A built-in: its factory, and its options besides {@link Chance}. */
interface BuiltIn {
  readonly make: (options: Chance) => Balancer
  readonly entries: v.ObjectEntries
}

/** The default balancer of a group. */
export const DEFAULT_BALANCER: BalancerName = 'power-of-two'

const HASH_BY = "'client-address', 'path', { header: name }, { cookie: name } or a function of the exchange"
const hashName = v.pipe(v.string(wording(HASH_BY, 'session')), v.nonEmpty(wording(HASH_BY, 'session')))
const hashByHeader = closed({ header: hashName }, { example: { header: 'x-user' } })
const hashByCookie = closed({ cookie: hashName }, { example: { cookie: 'session' } })
const hashByPart = v.lazy((input) => {
  const byWord = v.picklist(['client-address', 'path'], wording(HASH_BY, 'client-address'))
  if (input === undefined) return v.union([byWord, hashByHeader, hashByCookie])
  if (!isPlainObject(input)) return byWord
  return Object.hasOwn(input, 'cookie') ? hashByCookie : hashByHeader
})
const hashBy = codeOr((input) => typeof input === 'function', v.function(), hashByPart)

const BOUND = wording('0 (no bound), or a percentage from 100 to 10000', 150)
const bound = v.pipe(v.number(BOUND), v.minValue(100, BOUND), v.maxValue(10_000, BOUND))
const noBound = v.literal(0)
const boundedLoad = v.lazy((input) => {
  if (input === undefined) return v.union([noBound, bound])
  return input === 0 ? noBound : bound
})

function ewmaTime(description: string, option: keyof typeof PEAK_EWMA_DEFAULTS) {
  const value = PEAK_EWMA_DEFAULTS[option]
  return defaultsTo(description, whole(' of milliseconds', 1, 2_147_483_647, value), value)
}

const BUILT_INS: Readonly<Record<BalancerName, BuiltIn>> = {
  'power-of-two': { make: powerOfTwo, entries: {} },
  'round-robin': { make: roundRobin, entries: {} },
  'least-connections': { make: leastConnections, entries: {} },
  random: { make: random, entries: {} },
  'peak-ewma': {
    make: peakEwma,
    entries: {
      defaultRttMs: ewmaTime('Response time assumed for a backend that has not responded yet, ms.', 'defaultRttMs'),
      decayMs: ewmaTime('Decay of the average, ms: after this time 37 % of an old response time are left.', 'decayMs'),
      penaltyMs: ewmaTime('A failure counts as a response time of at least this, ms.', 'penaltyMs'),
    },
  },
  'consistent-hash': {
    make: consistentHash,
    entries: {
      by: defaultsTo(
        'The key: exchanges with the same value go to the same backend.',
        hashBy,
        CONSISTENT_HASH_DEFAULTS.by,
      ),
      boundedLoad: defaultsTo(
        'Limit of the pending exchanges of a backend, percent of its fair share; the rest goes to other backends. 0: no limit. 150 keeps a hot key from overloading one of several caches; any limit breaks sessions in memory.',
        boundedLoad,
        CONSISTENT_HASH_DEFAULTS.boundedLoad,
      ),
      pointsPerWeight: defaultsTo(
        'Points on the ring for each unit of weight. More points make shares more even; a change moves most keys.',
        whole('', 1, 10_000, CONSISTENT_HASH_DEFAULTS.pointsPerWeight),
        CONSISTENT_HASH_DEFAULTS.pointsPerWeight,
      ),
    },
  },
  'first-available': { make: firstAvailable, entries: {} },
}

const NAMES = Object.keys(BUILT_INS)
const ALLOWED = `${NAMES.map((each) => `'${each}'`).join(', ')}, or { name, ...its options }, or a Balancer with pick()`

const byName = v.lazy((input) => {
  const likely = typeof input === 'string' ? nearest(input, NAMES) : null
  return v.picklist(NAMES as BalancerName[], wording(ALLOWED, likely ?? DEFAULT_BALANCER))
})

/** A name with options; each built-in has its own. */
const withOptions = v.lazy((input) => {
  const kinds = NAMES.map((each) => optionsOf(each as BalancerName))
  if (input === undefined) return v.union(kinds)
  const wanted = isPlainObject(input) && typeof input.name === 'string' ? NAMES.indexOf(input.name) : -1
  return kinds[wanted] ?? v.looseObject({ name: byName }, wording(ALLOWED, { name: 'peak-ewma', decayMs: 10_000 }))
})

function optionsOf(name: BalancerName) {
  return closed({ name: v.literal(name), ...BUILT_INS[name].entries }, { example: { name } })
}

const named = v.lazy((input) => {
  if (input === undefined) return v.union([byName, withOptions])
  return isPlainObject(input) ? withOptions : byName
})

/** A balancer: by name, by name with options, or the application's own. */
export const balancer = codeOr(
  (input) => hasMethodOf(input, ['pick']),
  contract<Balancer>('a Balancer', ['pick'], DEFAULT_BALANCER),
  named,
)

/** Creates the balancer, unless it is the application's own. */
export function buildBalancer(wanted: v.InferOutput<typeof balancer>, clock: Clock): Balancer {
  if (typeof wanted === 'object' && 'pick' in wanted) return wanted as Balancer
  const { name, ...options } = typeof wanted === 'string' ? { name: wanted } : wanted
  return BUILT_INS[name].make({ ...options, random: () => clock.random(), now: () => clock.now() })
}
