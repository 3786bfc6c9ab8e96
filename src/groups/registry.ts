import { AsyncResource } from 'node:async_hooks'
import type { Balancer } from '../contracts/balancer.ts'
import type { Pool } from '../contracts/pool.ts'
import type { Backend, BackendInit } from '../model/backend.ts'
import { isSameData } from '../runtime/same-data.ts'
import { differenceOf } from '../runtime/span.ts'
import { privateStateMemory } from '../runtime/state-memory.ts'
import { BackendStates, type StateContext } from './backend-states.ts'
import { type FactoryDeps, GroupFactory } from './factory.ts'
import type { Group } from './group.ts'
import type { GroupSettings } from './group-deps.ts'
import { notices } from './notices.ts'
import { closePool, drainPool } from './pool-calls.ts'
import { type PreparedGroups, prepareGroups } from './prepare.ts'
import { Targets } from './targets.ts'

/** The parts and options that {@link Groups} uses. */
export interface GroupsDeps<Settings extends GroupSettings, Destination> extends FactoryDeps<Settings> {
  /** Settings by group name; at least one. */
  readonly groups: ReadonlyMap<string, Settings>
  /** The memory for the state of the named groups. */
  readonly context: StateContext
  /** A checked copy of the backend of a `target` override. @throws if it is invalid. */
  checkTarget(init: BackendInit): BackendInit
  /** Creates the destination of a group that was made for a target. */
  destinationOf(group: Group, settings: Settings): Destination
}

/** A backend that was removed from its group. */
export interface GoneBackend {
  readonly group: string
  readonly backend: Backend
}

/** The result of {@link Prepared.commit}. */
export interface GroupsUpdate {
  /** Backends that get no new exchanges. */
  readonly gone: readonly GoneBackend[]
  /** Call it after every thread has made the change. */
  releaseStates(): void
}

/** Groups for new settings, which are not in use yet. */
export interface Prepared extends PreparedGroups {
  commit(isNew: boolean): GroupsUpdate
}

/** The groups of a proxy: those of its options, and those for `target` overrides. */
export class Groups<Settings extends GroupSettings, Destination> {
  readonly #deps: GroupsDeps<Settings, Destination>
  readonly #factory: GroupFactory<Settings>
  #settings: ReadonlyMap<string, Settings>
  #named: ReadonlyMap<string, Group>
  readonly #states: BackendStates
  readonly #targets: Targets<Destination>
  /** Removed groups, which exchanges may still use. */
  readonly #retired = new Set<Group>()
  /** Built-in pools, which the proxy closes itself. */
  readonly #ownPools = new WeakSet<Pool>()

  constructor(deps: GroupsDeps<Settings, Destination>) {
    this.#deps = deps
    this.#factory = new GroupFactory({ ...deps, makePool: (settings) => this.#makePool(settings) })
    this.#states = new BackendStates(deps.context)
    this.#settings = deps.groups
    this.#named = new Map(Array.from(deps.groups, ([name, group]) => [name, this.#factory.build(group, this.#states)]))
    for (const { name, backends } of this.named) this.#states.keep(name, backends)
    // Groups for targets are created in the proxy's async context, although a request causes it.
    const scope = new AsyncResource('heddle.groups', { requireManualDestroy: true })
    const ownStates = new BackendStates({ ...deps.context, memory: privateStateMemory })
    this.#targets = new Targets(
      (given) => {
        const init = deps.checkTarget(given)
        const template = this.#settings.values().next().value as Settings
        const policies = { balancer: ONLY, affinity: null, healthCheck: null }
        const settings = { ...template, ...policies, name: String(init.url), backends: [init] }
        const group = scope.runInAsyncScope(() => this.#factory.build(settings, ownStates))
        return { init, group, destination: deps.destinationOf(group, settings) }
      },
      (group) => void this.#retire(group),
    )
  }

  /** The groups of the options. */
  get named(): Group[] {
    return Array.from(this.#named.values())
  }

  /** The group with this name, which a route uses, so it exists. */
  get(name: string): Group {
    return this.#named.get(name) as Group
  }

  /** The group with this name. @throws RangeError for an unknown name. */
  find(name: string): Group {
    const group = this.#named.get(name)
    if (group !== undefined) return group
    const names = Array.from(this.#named.keys(), (known) => JSON.stringify(known)).join(', ')
    throw new RangeError(`there is no group ${JSON.stringify(name)}; the groups are ${names}`)
  }

  /** The first backend with this id, in any group. */
  findBackend(id: string): Backend | null {
    for (const { backends } of this.#named.values())
      for (const backend of backends) if (backend.id === id) return backend
    return null
  }

  /** The destination for one backend; its group is created on first use. @throws OptionsError if it is not valid. */
  target(init: BackendInit): Destination {
    return this.#targets.get(init)
  }

  /**
   * Replaces the backends of a group. A backend with the same id and URL as before keeps its state. With the same TLS settings it
   * keeps its connections and its object too.
   * @param isNew other threads make the change at the same time; `false`: they made it long before.
   * @returns a function to call after every thread has made the change.
   */
  replace(group: Group, inits: readonly BackendInit[], isNew = true): () => void {
    const giveBack = this.#states.giveBack()
    const { name } = group
    const span = differenceOf(group.backends, inits, (backend, init) => backend.init === init)
    const { start, end, endBefore } = span
    if (start === end && start === endBefore) return giveBack
    const before = group.backends.slice(start, endBefore)
    const made = this.#states.make(group, inits.slice(start, end), before)
    const byId = new Map(before.map((backend) => [backend.id, backend]))
    const others = made.map((backend) => {
      const old = byId.get(backend.id)
      if (old === backend) return old
      if (old?.isSame(backend) === true) {
        // With other TLS settings or another protocol, the old object and its connections go. Both objects have the same state.
        if (!isSameData(old.endpoint, backend.endpoint)) return backend
        old.adopt(backend)
        return old
      }
      if (isNew) this.#states.begin(backend)
      return backend
    })
    group.replace([...group.backends.slice(0, start), ...others, ...group.backends.slice(endBefore)], isNew, span)
    for (const backend of others) this.#states.hasReturned(name, backend)
    const there = new Set(others)
    const gone = before.filter((backend) => !there.has(backend))
    drainPool(group.pool, gone, this.#onPoolThrew(group))
    return () => {
      giveBack()
      this.#leave(name, gone)
    }
  }

  /**
   * Creates the groups that `settings` need; a group whose policies are the same is reused. They get no requests before
   * {@link Prepared.commit}. @throws any error of a policy, or RangeError if there is no room for the state of all backends; then
   * nothing has changed.
   */
  prepare(settings: ReadonlyMap<string, Settings>): Prepared {
    const prepared = prepareGroups(settings, this.#settings, this.#named, this.#factory, this.#states)
    return { ...prepared, commit: (isNew) => this.#commit(settings, prepared, isNew) }
  }

  /** Puts prepared groups into use. Backends that stay keep their state, their connections and their running exchanges. */
  #commit(settings: ReadonlyMap<string, Settings>, { groups, inits }: PreparedGroups, isNew: boolean): GroupsUpdate {
    const before = this.#named
    this.#named = groups
    this.#settings = settings
    const gone: GoneBackend[] = []
    const releases: (() => void)[] = []
    for (const [name, group] of groups) {
      const old = before.get(name)
      const had = group.backends
      releases.push(this.replace(group, inits.get(name) ?? [], isNew))
      const has = new Set(group.backends)
      for (const backend of had) if (!has.has(backend)) gone.push({ group: name, backend })
      if (old === undefined || old === group) continue
      void this.#retire(old)
      // Running exchanges of the old group may retry, and must then use the backends of the new one.
      if (old.backends !== group.backends) old.replace(group.backends, false)
    }
    for (const [name, old] of before) {
      if (groups.has(name)) continue
      for (const backend of old.backends) gone.push({ group: name, backend })
      const unused = this.#retire(old)
      releases.push(() => void unused.then(() => this.#leave(name, old.backends)))
    }
    this.#targets.clear()
    return { gone, releaseStates: () => releases.forEach((release) => void release()) }
  }

  /** Takes a group out of use: it gets no new exchanges, and running ones continue. Resolves when no exchange uses it any more. */
  async #retire(group: Group): Promise<void> {
    const { pool } = group
    const onThrew = this.#onPoolThrew(group)
    this.#retired.add(group)
    if (this.named.every((one) => one.pool !== pool)) drainPool(pool, group.backends, onThrew)
    await group.retire()
    this.#retired.delete(group)
    const isInUse = [...this.named, ...this.#retired].some((one) => one.pool === pool)
    if (!isInUse && this.#ownPools.has(pool)) void closePool(pool, onThrew)
  }

  /** Backends whose state can be given back. Those that the group of this name has again by now are kept. */
  #leave(name: string, gone: readonly Backend[]): void {
    this.#states.leave(name, gone, this.#named.get(name)?.backends ?? [])
  }

  /** Closes all groups and ends all connections. */
  async close(): Promise<void> {
    const all = [...this.named, ...this.#targets.groups, ...this.#retired]
    for (const group of all) group.close()
    await Promise.all(all.map((group) => closePool(group.pool, this.#onPoolThrew(group))))
  }

  #makePool(settings: Settings): Pool {
    const pool = this.#deps.makePool(settings)
    if (pool !== settings.pool) this.#ownPools.add(pool)
    return pool
  }

  #onPoolThrew({ name }: Group): (error: unknown) => void {
    return notices(name, this.#deps.logger, this.#deps.onBackend).onPoolThrew
  }
}

const ONLY: Balancer = { name: 'only', pick: ([only]) => only }
