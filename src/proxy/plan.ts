import type { ProxyOptions, ResolvedOptions, ResolvedRoute } from '../config/options.ts'
import type { Group } from '../groups/group.ts'
import type { Limits } from '../model/limits.ts'
import { isSameData } from '../runtime/same-data.ts'
import type { Changes, UpdatePlan } from './types.ts'

/** Options that take effect at once, besides groups, routes and limits. */
const OPTIONS = ['routing', 'trustedProxies', 'xfwd', 'forwarded', 'hostHeader', 'via', 'timeouts'] as const

/** Options that cannot change while a proxy runs. */
const LASTING_OPTIONS = [
  'name',
  'logger',
  'accessLog',
  'observers',
  'executor',
  'clock',
  'drainTimeoutMs',
] as const satisfies readonly (keyof ProxyOptions)[]

/** Limits that are fixed when a listener is created. */
const LISTENER_LIMITS = [
  'maxHeadBytes',
  'maxConnections',
  'maxConnectionsPerAddress',
  'halfClose',
  'headTimeoutMs',
  'requestTimeoutMs',
] as const satisfies readonly (keyof Limits)[]

/** A copy of the groups' backends: group name, then backend id, then init. Two can be compared, although backends change in place. */
export type Backends = ReadonlyMap<string, ReadonlyMap<string, unknown>>

/** The {@link Backends} of the groups. */
export function backendsOf(groups: readonly Group[]): Backends {
  return new Map(groups.map(({ name, backends }) => [name, new Map(backends.map(({ id, init }) => [id, init]))]))
}

/** The configuration `next`, except for the options that cannot change while a proxy runs: those come from `now`. */
export function withLasting(next: ResolvedOptions, now: ResolvedOptions): ResolvedOptions {
  const { name, logger, accessLog, observers, executor, clock, drainTimeoutMs, given } = now
  const limits = { ...next.limits, ...Object.fromEntries(LISTENER_LIMITS.map((limit) => [limit, now.limits[limit]])) }
  return { ...next, name, logger, accessLog, observers, executor, clock, drainTimeoutMs, given, limits }
}

/** The plan of an update from `now` to `next`. @param asked the options that were resolved to `next`. */
export function planOf(
  asked: ProxyOptions,
  now: ResolvedOptions,
  next: ResolvedOptions,
  before: Backends,
  after: Backends,
): UpdatePlan {
  const groups = changesOf(
    now.groups,
    next.groups,
    (one, other) =>
      isSameData([one.given, one.timeouts], [other.given, other.timeouts]) &&
      // In their order, which some balancers go by.
      isSameData([...(before.get(one.name) ?? [])], [...(after.get(one.name) ?? [])]),
  )
  const limits = (Object.keys(next.limits) as (keyof Limits)[]).filter(
    (name) => !isSameData(now.limits[name], next.limits[name]),
  )
  const lasting = limits.filter((name) => isOneOf(LISTENER_LIMITS, name))
  return {
    groups,
    backends: backendChanges(before, after),
    routes: changesOf(byName(now.routes), byName(next.routes), isSameData),
    options: [
      ...OPTIONS.filter((name) => !isSameData(now[name], next[name])),
      ...limits.filter((name) => !lasting.includes(name)).map(limitPath),
    ],
    restart: [
      ...LASTING_OPTIONS.filter((name) => asked[name] !== undefined && !isSameData(now.given[name], next.given[name])),
      ...lasting.filter((name) => asked.limits?.[name] !== undefined).map(limitPath),
    ],
  }
}

function backendChanges(before: Backends, after: Backends): UpdatePlan['backends'] {
  const parts = Array.from(new Set([...before.keys(), ...after.keys()]), (group) => {
    const { added, removed, changed, unchanged } = changesOf(
      before.get(group) ?? new Map<string, unknown>(),
      after.get(group) ?? new Map<string, unknown>(),
      isSameData,
    )
    const named = (ids: readonly string[]) => ids.map((id) => ({ group, id }))
    return { added: named(added), removed: named(removed), changed: named(changed), unchanged: named(unchanged) }
  })
  return {
    added: parts.flatMap(({ added }) => added),
    removed: parts.flatMap(({ removed }) => removed),
    changed: parts.flatMap(({ changed }) => changed),
    unchanged: parts.flatMap(({ unchanged }) => unchanged),
  }
}

function changesOf<T>(
  before: ReadonlyMap<string, T>,
  after: ReadonlyMap<string, T>,
  isSame: (one: T, other: T) => boolean,
): Changes {
  const kept = Array.from(after.keys()).filter((name) => before.has(name))
  const isKept = (name: string): boolean => isSame(before.get(name) as T, after.get(name) as T)
  return {
    added: Array.from(after.keys()).filter((name) => !before.has(name)),
    removed: Array.from(before.keys()).filter((name) => !after.has(name)),
    changed: kept.filter((name) => !isKept(name)),
    unchanged: kept.filter(isKept),
  }
}

/** Routes by name. If several routes match the same requests, only the first gets them, so only it is included. */
function byName(routes: readonly ResolvedRoute[]): ReadonlyMap<string, unknown> {
  const named = new Map<string, unknown>()
  for (const { host, path, exact, methods, given, timeouts } of routes) {
    const name = [`${host}${path}`, ...(exact ? ['exact'] : []), ...methods].join(' ')
    if (!named.has(name)) named.set(name, [given, timeouts])
  }
  return named
}

function limitPath(name: string): string {
  return `limits.${name}`
}

function isOneOf(names: readonly string[], name: string): boolean {
  return names.includes(name)
}
