import type { BackendInit } from '../model/backend.ts'
import { isSameData } from '../runtime/same-data.ts'
import type { Group } from './group.ts'

/** Most groups for targets that are kept, for the sake of their connections. */
const MAX_TARGETS = 256
/** Number of open connections of all targets from which unused targets are removed. */
const MAX_CONNECTIONS = 1024

/** A group of one backend, and its destination. */
interface Target<Destination> {
  /** As it was given, to find it again. */
  readonly init: BackendInit
  readonly group: Group
  readonly destination: Destination
}

/** Groups of one backend for `target` overrides, created on first use. Bounded: the least recently used unused one is removed first. */
export class Targets<Destination> {
  readonly #make: (init: BackendInit) => Target<Destination>
  readonly #drain: (group: Group) => void
  /** Targets by URL, the least recently used first. Several may have the same URL, but other settings: `url`, `url 1`, `url 2`. */
  readonly #targets = new Map<string, Target<Destination>>()
  #last = ''

  /** @param make creates a target with a checked copy of `init`. */
  constructor(make: (init: BackendInit) => Target<Destination>, drain: (group: Group) => void) {
    this.#make = make
    this.#drain = drain
  }

  get groups(): Group[] {
    return Array.from(this.#targets.values(), ({ group }) => group)
  }

  /** The destination for a backend. @throws what the constructor's `make` throws. */
  get(init: BackendInit): Destination {
    const key = this.#keyOf(init)
    const known = this.#targets.get(key)
    if (known !== undefined && key === this.#last) return known.destination
    const target = known ?? this.#make(init)
    this.#last = key
    this.#targets.delete(key)
    if (known === undefined) this.#makeRoom()
    this.#targets.set(key, target)
    return target.destination
  }

  /** The key of the same backend with the same settings, or a free one. */
  #keyOf(init: BackendInit): string {
    const url = String(init.url)
    let key = url
    for (let i = 1; ; i++) {
      const known = this.#targets.get(key)
      if (known === undefined || isSame(known.init, init)) return key
      key = `${url} ${i}`
    }
  }

  /** Removes all targets, because an update has changed their settings. Running exchanges finish. */
  clear(): void {
    for (const [key, { group }] of this.#targets) this.#remove(key, group)
    this.#last = ''
  }

  #makeRoom(): void {
    let connections = 0
    for (const { group } of this.#targets.values()) connections += openConnections(group)
    for (const [key, { group }] of this.#targets) {
      if (this.#targets.size < MAX_TARGETS && connections < MAX_CONNECTIONS) return
      if (isBusy(group)) continue
      connections -= openConnections(group)
      this.#remove(key, group)
    }
    // All remaining targets are busy: they finish after their removal.
    for (const [key, { group }] of this.#targets) {
      if (this.#targets.size < MAX_TARGETS) return
      this.#remove(key, group)
    }
  }

  #remove(key: string, group: Group): void {
    this.#targets.delete(key)
    this.#drain(group)
  }
}

/** Whether two descriptions are of the same backend, with the same settings. */
function isSame(one: BackendInit, other: BackendInit): boolean {
  return (
    one.id === other.id &&
    one.weight === other.weight &&
    isSameData(one.metadata, other.metadata) &&
    isSameData(one.tls, other.tls)
  )
}

function isBusy({ backends }: Group): boolean {
  return backends.some(({ pending }) => pending > 0)
}

/** Open connections to the group's backend. A custom pool may have connections to others too. */
function openConnections(group: Group): number {
  const [only] = group.backends
  const stats = group.poolStats().backends.find(({ backend }) => backend === only?.id)
  return stats === undefined ? 0 : stats.connections + stats.connecting
}
