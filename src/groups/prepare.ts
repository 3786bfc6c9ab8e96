import type { Backend, BackendInit } from '../model/backend.ts'
import { isSameData } from '../runtime/same-data.ts'
import type { BackendStates, GroupBackends } from './backend-states.ts'
import type { GroupFactory } from './factory.ts'
import type { Group } from './group.ts'
import type { GroupSettings } from './group-deps.ts'

/** Groups for new settings, each still with its current backends. */
export interface PreparedGroups {
  /** Groups by name. */
  readonly groups: ReadonlyMap<string, Group>
  /** The future backends of each group, by group name. */
  readonly inits: ReadonlyMap<string, readonly BackendInit[]>
  /** Drops the prepared groups, which are not needed. */
  discard(): void
}

/**
 * Creates the new groups, and those whose policies differ from before; the latter keep their pool if its settings are the same.
 * All backends get their state now, so that nothing can fail later.
 * @throws any error of a policy, or RangeError if there is no room for the state of all backends; then nothing has changed.
 */
export function prepareGroups<Settings extends GroupSettings>(
  settings: ReadonlyMap<string, Settings>,
  before: ReadonlyMap<string, Settings>,
  named: ReadonlyMap<string, Group>,
  factory: GroupFactory<Settings>,
  states: BackendStates,
): PreparedGroups {
  const groups = new Map<string, Group>()
  const inits = new Map<string, readonly BackendInit[]>()
  const reserved: { readonly group: GroupBackends; readonly backends: readonly Backend[] }[] = []
  const discard = (): void => {
    for (const [name, group] of groups) if (group !== named.get(name)) group.close()
    for (const { group, backends } of reserved) states.leave(group.name, backends, group.backends)
  }
  try {
    for (const [name, next] of settings) {
      const old = named.get(name)
      const group = { name, backends: old?.backends ?? [] }
      const all = knownInits(group.backends, next.backends)
      const present = new Set(group.backends.map(({ init }) => init))
      const others = all.filter((init) => !present.has(init))
      reserved.push({ group, backends: states.make(group, others) })
      inits.set(name, all)
      groups.set(name, groupFor(next, before.get(name)?.given, old, factory, states))
    }
  } catch (error) {
    discard()
    throw error
  }
  return { groups, inits, discard }
}

function groupFor<Settings extends GroupSettings>(
  next: Settings,
  given: GroupSettings['given'] | undefined,
  old: Group | undefined,
  factory: GroupFactory<Settings>,
  states: BackendStates,
): Group {
  if (old === undefined || given === undefined) return factory.build(next, states, [])
  if (isSameData(given, next.given)) return old
  return factory.build(next, states, old.backends, isSameData(given.pool, next.given.pool) ? old.pool : undefined)
}

/** The `inits`; each that equals a present one is replaced by the present object. */
function knownInits(present: readonly Backend[], inits: readonly BackendInit[]): readonly BackendInit[] {
  const byKey = new Map(present.map(({ init }) => [keyOf(init), init]))
  return inits.map((init) => {
    const known = byKey.get(keyOf(init))
    return known !== undefined && isSameData(known, init) ? known : init
  })
}

function keyOf({ id, url }: BackendInit): string {
  return id ?? String(url)
}
