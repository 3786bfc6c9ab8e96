import { resolveBackends } from '../config/backends.ts'
import { UNNAMED } from '../config/consistency.ts'
import { threadOptions } from '../config/thread-options.ts'
import type { Group } from '../groups/group.ts'
import type { Backend, BackendInit } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import { until } from '../runtime/until.ts'
import type { BackendsChange } from '../threads/protocol.ts'
import type { ProxyGroups } from './assemble.ts'
import type { Serving } from './serving.ts'
import type { Proxy } from './types.ts'

/** Changes the backends of groups at run time. */
export class BackendChanges {
  readonly #clock: Clock
  readonly #groups: ProxyGroups
  readonly #serving: Serving

  constructor(clock: Clock, groups: ProxyGroups, serving: Serving) {
    this.#clock = clock
    this.#groups = groups
    this.#serving = serving
  }

  async set(...[backends, name = UNNAMED]: Parameters<Proxy['setBackends']>): Promise<void> {
    const group = this.#groups.find(name)
    const inits = resolveBackends(backends, group.backends)
    // Throws if it cannot be sent to threads: then nothing changes here either.
    const sent = this.#serving.hasThreads ? (threadOptions({ backends: [...inits] }).backends as BackendInit[]) : []
    const releaseStates = this.#groups.replace(group, inits)
    await this.#serving.change({ group: name, backends: sent })
    releaseStates()
  }

  /** In a thread: applies a change from the main thread. @returns whether the group exists. */
  apply({ group: name, backends }: BackendsChange, isNew: boolean): boolean {
    const group = this.#groups.named.find((one) => one.name === name)
    if (group !== undefined) this.#groups.replace(group, resolveBackends(backends, group.backends), isNew)
    return group !== undefined
  }

  async drain(id: string, name = UNNAMED): Promise<void> {
    const group = this.#groups.find(name)
    const backend = backendOf(group, id)
    backend.state.isDraining = true
    group.changed(backend)
    await until(this.#clock, () => !backend.isDraining || backend.pending === 0)
  }

  undrain(id: string, name = UNNAMED): void {
    const group = this.#groups.find(name)
    const backend = backendOf(group, id)
    backend.state.isDraining = false
    group.changed(backend)
  }

  setDisabled(isDisabled: boolean, id: string, name = UNNAMED): void {
    const group = this.#groups.find(name)
    const backend = backendOf(group, id)
    backend.state.isDisabled = isDisabled
    group.changed(backend)
  }
}

function backendOf(group: Group, id: string): Backend {
  const backend = group.backends.find((one) => one.id === id)
  if (backend !== undefined) return backend
  const ids = group.backends.map((one) => one.id).join(', ')
  const known = ids === '' ? 'it has none' : `its backends are ${ids}`
  throw new RangeError(`group ${group.name} has no backend ${JSON.stringify(id)}; ${known}`)
}
