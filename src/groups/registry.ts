import { AsyncResource } from 'node:async_hooks'
import { isDeepStrictEqual } from 'node:util'
import type { Balancer } from '../contracts/balancer.ts'
import type { Logger } from '../contracts/logger.ts'
import type { BackendChange } from '../contracts/observer.ts'
import type { Pool } from '../contracts/pool.ts'
import { Backend, type BackendInit } from '../model/backend.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import type { Clock } from '../runtime/clock.ts'
import { differenceOf } from '../runtime/span.ts'
import { privateStateMemory } from '../runtime/state-memory.ts'
import { BackendStates, type StateContext } from './backend-states.ts'
import { Group } from './group.ts'
import type { GroupSettings } from './group-deps.ts'
import { notices } from './notices.ts'
import { Targets } from './targets.ts'

/** What {@link Groups} needs. */
export interface GroupsDeps<Settings extends GroupSettings, Destination> {
  /** By name; at least one. */
  readonly groups: ReadonlyMap<string, Settings>
  readonly clock: Clock
  readonly logger: Logger
  readonly onBackend: (change: BackendChange) => void
  /** Where the state of the named groups lies. */
  readonly context: StateContext
  makePool(settings: Settings): Pool
  /** Stands for everything that goes to a group, whatever the routes say. */
  destinationOf(group: Group, settings: Settings): Destination
}

/** The groups of a proxy: those of its options, and those that overrides ask for. */
export class Groups<Settings extends GroupSettings, Destination> {
  readonly #deps: GroupsDeps<Settings, Destination>
  readonly #named: ReadonlyMap<string, Group>
  readonly #states: BackendStates
  readonly #targets: Targets<Destination>

  constructor(deps: GroupsDeps<Settings, Destination>) {
    this.#deps = deps
    this.#states = new BackendStates(deps.context)
    this.#named = new Map(Array.from(deps.groups, ([name, group]) => [name, this.#build(group, this.#states)]))
    for (const { name, backends } of this.named) this.#states.keep(name, backends)
    // Made in the async context that the proxy was made in, though a request may be what asks for them.
    const scope = new AsyncResource('heddle.groups', { requireManualDestroy: true })
    const ownStates = new BackendStates({ ...deps.context, memory: privateStateMemory })
    this.#targets = new Targets(
      (url) => {
        const template = deps.groups.values().next().value as Settings
        const policies = { balancer: ONLY, affinity: null, healthCheck: null }
        const settings = { ...template, ...policies, name: url, backends: [{ url }] }
        const group = scope.runInAsyncScope(() => this.#build(settings, ownStates))
        return { group, destination: deps.destinationOf(group, settings) }
      },
      (group) => this.#drain(group, group.backends),
    )
  }

  /** Those of the options. */
  get named(): Group[] {
    return Array.from(this.#named.values())
  }

  /** The group of a name that a route has. */
  get(name: string): Group {
    return this.#named.get(name) as Group
  }

  /** @throws RangeError for a name that no group has. */
  find(name: string): Group {
    const group = this.#named.get(name)
    if (group !== undefined) return group
    const names = Array.from(this.#named.keys(), (known) => JSON.stringify(known)).join(', ')
    throw new RangeError(`there is no group ${JSON.stringify(name)}; the groups are ${names}`)
  }

  /** The backend of this id in any group. */
  findBackend(id: string): Backend | null {
    for (const { backends } of this.#named.values())
      for (const backend of backends) if (backend.id === id) return backend
    return null
  }

  /** All of a group, whatever the routes say. @throws RangeError for a name that no group has. */
  everythingTo(name: string): Destination {
    return this.#deps.destinationOf(this.find(name), this.#deps.groups.get(name) as Settings)
  }

  /** A group of one, made on first use. @throws TypeError if `url` cannot be a backend's. */
  target(url: string): Destination {
    return this.#targets.get(url)
  }

  /**
   * From now on the group has these backends. One that was there before, by id and URL, keeps its state; with the same TLS settings
   * its connections and its object as well.
   * @param isNew other threads hear of it at the same time; else they have had these backends for long.
   * @returns to be called when every thread has made the change.
   */
  replace(group: Group, inits: readonly BackendInit[], isNew = true): () => void {
    const giveBack = this.#states.giveBack()
    const { name } = group
    const span = differenceOf(group.backends, inits, (backend, init) => backend.init === init)
    const { start, end, endBefore } = span
    if (start === end && start === endBefore) return giveBack
    const before = group.backends.slice(start, endBefore)
    const made = this.#make(group, inits.slice(start, end), before)
    const byId = new Map(before.map((backend) => [backend.id, backend]))
    const others = made.map((backend) => {
      const old = byId.get(backend.id)
      if (old === backend) return old
      if (old?.isSame(backend) === true) {
        // With other TLS settings the old object goes, and with it its connections; both have the same state.
        if (!isDeepStrictEqual(old.endpoint.tls, backend.endpoint.tls)) return backend
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
    this.#drain(group, gone)
    return () => {
      giveBack()
      if (this.#deps.context.thread === 0) this.#states.leave(name, gone, group.backends)
    }
  }

  /** @param present backends that some of `inits` may be. @throws RangeError if there is no room for the state of all of them. */
  #make(group: Group, inits: readonly BackendInit[], present: readonly Backend[]): Backend[] {
    const known = new Map(present.map((backend) => [backend.init, backend]))
    const made: Backend[] = []
    try {
      return inits.map((init) => {
        const backend = known.get(init)
        if (backend !== undefined) return backend
        const created = this.#backend(group.name, init, this.#states)
        made.push(created)
        return created
      })
    } catch (error) {
      // Those that had room leave it again.
      this.#states.leave(group.name, made, group.backends)
      throw error
    }
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.named, ...this.#targets.groups].map(async (group) => {
        const onThrew = this.#onPoolThrew(group)
        group.close()
        try {
          catchRejection(group.pool.destroy(), onThrew)
        } catch (error) {
          onThrew(error)
        }
        try {
          await group.pool.close()
        } catch (error) {
          onThrew(error)
        }
      }),
    )
  }

  #build(settings: Settings, states: BackendStates): Group {
    const { clock, logger, onBackend } = this.#deps
    const { name, balancer, affinity, healthCheck, maxEjectedPercent, slowStartMs, retry } = settings
    return new Group({
      ...{ name, balancer, affinity, healthCheck, maxEjectedPercent, slowStartMs, retry, clock },
      backends: settings.backends.map((init) => this.#backend(name, init, states)),
      pool: this.#deps.makePool(settings),
      state: states.ofGroup(name),
      isShared: states.isShared,
      ...notices(name, logger, onBackend),
    })
  }

  #backend(group: string, init: BackendInit, states: BackendStates): Backend {
    return new Backend(init, (backend) => states.of(group, backend))
  }

  /** In the background: what runs may take long. */
  #drain(group: Group, backends: readonly Backend[]): void {
    const onThrew = this.#onPoolThrew(group)
    for (const backend of backends) {
      try {
        catchRejection(group.pool.drain(backend), onThrew)
      } catch (error) {
        onThrew(error)
      }
    }
  }

  #onPoolThrew({ name }: Group): (error: unknown) => void {
    return notices(name, this.#deps.logger, this.#deps.onBackend).onPoolThrew
  }
}

const ONLY: Balancer = { name: 'only', pick: ([only]) => only }
