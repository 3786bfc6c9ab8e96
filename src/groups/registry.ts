import { AsyncResource } from 'node:async_hooks'
import { isDeepStrictEqual } from 'node:util'
import type { ResolvedGroup, ResolvedOptions, ResolvedRoute } from '../config/options.ts'
import { Backend, type BackendInit } from '../model/backend.ts'
import { describeError } from '../model/errors.ts'
import type { Events } from '../observers/events.ts'
import { http1Pool } from '../pools/http1/pool.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import type { Deadlines } from '../runtime/deadlines.ts'
import { privateStateMemory, type StateMemory } from '../runtime/state-memory.ts'
import type { ThreadContext } from '../threads/context.ts'
import { Group } from './group.ts'

/** Single-backend groups made for `target` overrides are kept for their connections, this many. */
const MAX_TARGET_GROUPS = 256

/** Where an override sends a request. */
export interface Destination {
  readonly route: ResolvedRoute
  readonly group: Group
}

/** The groups of a proxy: those of its options, and those that overrides ask for. */
export class Groups {
  readonly #resolved: ResolvedOptions
  readonly #context: Pick<ThreadContext, 'memory' | 'namespace' | 'thread' | 'clearsState'>
  readonly #events: Events
  readonly #deadlines: Deadlines
  readonly #named: ReadonlyMap<string, Group>
  /** Names of the numbers of backends that the options have. */
  readonly #lasting: ReadonlySet<string>
  /** Backends that no thread picks any more, by the names of their numbers. */
  readonly #gone = new Map<string, Backend>()
  /** By their target. */
  readonly #targets = new Map<string, Destination>()
  /** Groups are made in the async context that the proxy was made in, though a request may be what asks for them. */
  readonly #scope = new AsyncResource('heddle.groups', { requireManualDestroy: true })

  constructor(
    resolved: ResolvedOptions,
    context: Pick<ThreadContext, 'memory' | 'namespace' | 'thread' | 'clearsState'>,
    events: Events,
    deadlines: Deadlines,
  ) {
    this.#resolved = resolved
    this.#context = context
    this.#events = events
    this.#deadlines = deadlines
    this.#named = new Map(Array.from(resolved.groups, ([name, group]) => [name, this.#build(group, context.memory)]))
    const all = this.named.flatMap(({ name, backends }) => backends.map((backend) => this.#nameOf(name, backend)))
    this.#lasting = new Set(all)
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
    const group = this.find(name)
    return { group, route: everything(name, this.#resolved.groups.get(name)?.timeouts ?? this.#resolved.timeouts) }
  }

  /**
   * A group of one, made on first use; the least recently made goes when there are too many.
   * @throws TypeError where `url` cannot be a backend's.
   */
  target(url: string): Destination {
    let found = this.#targets.get(url)
    if (found === undefined) {
      const template = this.#resolved.groups.values().next().value as ResolvedGroup
      const only = { ...template, name: url, backends: [{ url }], balancer: ONLY, healthCheck: null }
      const group = this.#scope.runInAsyncScope(() => this.#build(only, privateStateMemory))
      found = { group, route: everything(url, template.timeouts) }
      this.#targets.set(url, found)
      if (this.#targets.size > MAX_TARGET_GROUPS) {
        const [oldest, destination] = this.#targets.entries().next().value as [string, Destination]
        this.#targets.delete(oldest)
        this.#drain(destination.group, destination.group.backends[0] as Backend)
      }
    }
    return found
  }

  /**
   * From now on the group has these backends. One that was there before, by id and URL, keeps its state; with the same TLS settings
   * its connections and its object as well.
   * @param isNew other threads hear of it at the same time; else they have had these backends for long.
   * @returns to be called when every thread has made the change.
   */
  replace(group: Group, inits: readonly BackendInit[], isNew = true): () => void {
    const before = new Map(group.backends.map((backend) => [backend.id, backend]))
    const over = Array.from(this.#gone).filter(([, backend]) => backend.pending === 0)
    const after: Backend[] = []
    try {
      for (const init of inits) after.push(this.#backend(group.name, init, this.#context.memory))
    } catch (error) {
      // There was no room for all of them. Those that had some leave it again.
      this.#leave(group, after)
      throw error
    }
    for (const [index, backend] of after.entries()) {
      const old = before.get(backend.id)
      if (old?.isSame(backend) === true) {
        // With other TLS settings the old object goes, and with it its connections; both have the same numbers.
        if (!isDeepStrictEqual(old.endpoint.tls, backend.endpoint.tls)) continue
        before.delete(old.id)
        old.adopt(backend)
        after[index] = old
      }
      // Numbers outlive the backend that had them.
      else if (isNew && this.#context.clearsState) backend.cells.clear()
    }
    group.replace(after, isNew)
    for (const backend of after) this.#gone.delete(this.#nameOf(group.name, backend))
    for (const gone of before.values()) this.#drain(group, gone)
    return () => this.#giveUp(group, before.values(), over)
  }

  /**
   * No thread picks those in `gone` any more: when one is found with nothing pending, each thread has written its last number
   * of it by the time that it has made the next change. Then its place is for others. Those of the options keep theirs, since
   * threads that begin later ask for them.
   */
  #giveUp(group: Group, gone: Iterable<Backend>, over: Iterable<readonly [name: string, backend: Backend]>): void {
    if (this.#context.thread !== 0) return
    for (const [name, backend] of over) {
      if (this.#gone.get(name) !== backend) continue
      this.#gone.delete(name)
      this.#context.memory.release(name)
    }
    this.#leave(group, gone)
  }

  /** No thread picks them, and none will. */
  #leave(group: Group, backends: Iterable<Backend>): void {
    const there = new Set(group.backends.map((backend) => this.#nameOf(group.name, backend)))
    for (const backend of backends) {
      const name = this.#nameOf(group.name, backend)
      if (!there.has(name) && !this.#lasting.has(name)) this.#gone.set(name, backend)
    }
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    const all = [...this.named, ...Array.from(this.#targets.values(), ({ group }) => group)]
    await Promise.all(
      all.map(async (group) => {
        group.close()
        try {
          catchRejection(group.pool.destroy(), (error) => this.#tellPool(group.name, error))
        } catch (error) {
          this.#tellPool(group.name, error)
        }
        try {
          await group.pool.close()
        } catch (error) {
          this.#tellPool(group.name, error)
        }
      }),
    )
  }

  #build(group: ResolvedGroup, memory: StateMemory): Group {
    const { clock, logger } = this.#resolved
    const { namespace } = this.#context
    return new Group({
      name: group.name,
      backends: group.backends.map((init) => this.#backend(group.name, init, memory)),
      balancer: group.balancer,
      pool: 'acquire' in group.pool ? group.pool : http1Pool(group.pool, { clock, deadlines: this.#deadlines }),
      healthCheck: group.healthCheck,
      maxEjectedPercent: group.maxEjectedPercent,
      slowStartMs: group.slowStartMs,
      retry: group.retry,
      clock,
      cells: memory.cells(`${namespace} group ${group.name}`),
      isShared: memory.isShared,
      onEject: (backend, ms, reason) => {
        logger.warn(
          { backend: backend.id, group: group.name, ms },
          `ejected backend ${backend.id} for ${ms} ms: ${reason}`,
        )
        this.#events.emit('eject', backend, ms, reason)
      },
      onUneject: (backend) => {
        logger.info({ backend: backend.id, group: group.name }, `backend ${backend.id} is back in the balance`)
        this.#events.emit('uneject', backend)
      },
      onHealth: (backend, reason) => {
        const fields = { backend: backend.id, group: group.name, reason }
        if (backend.isUnhealthy) {
          logger.warn(fields, `backend ${backend.id} is unhealthy: ${reason}`)
          this.#events.emit('unhealthy', backend, reason)
        } else {
          logger.info(fields, `backend ${backend.id} is healthy: ${reason}`)
          this.#events.emit('healthy', backend, reason)
        }
      },
      onPoolThrew: (error) => this.#tellPool(group.name, error),
      onBalancerThrew: (error) => {
        const message = `the balancer of group ${group.name} threw: ${describeError(error)}`
        logger.error({ err: error, group: group.name }, message)
      },
      onThrew: (error) => {
        logger.error(
          { err: error, group: group.name },
          `the health check of group ${group.name} threw: ${describeError(error)}`,
        )
      },
    })
  }

  #backend(group: string, init: BackendInit, memory: StateMemory): Backend {
    return new Backend(init, memory.cells(this.#nameOf(group, new Backend(init))))
  }

  /** Of its numbers. */
  #nameOf(group: string, { id, url }: Backend): string {
    return `${this.#context.namespace} group ${group} backend ${id} ${url.href}`
  }

  /** In the background: what runs may take long. */
  #drain({ name, pool }: Group, backend: Backend): void {
    try {
      catchRejection(pool.drain(backend), (error) => this.#tellPool(name, error))
    } catch (error) {
      this.#tellPool(name, error)
    }
  }

  #tellPool(group: string, error: unknown): void {
    this.#resolved.logger.error({ err: error, group }, `the pool of group ${group} threw: ${describeError(error)}`)
  }
}

const ONLY: ResolvedGroup['balancer'] = { name: 'only', pick: ([only]) => only }

function everything(group: string, timeouts: ResolvedGroup['timeouts']): Destination['route'] {
  return { host: '', path: '/', exact: false, methods: [], group, transforms: [], interceptors: [], timeouts }
}
