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
  /** The least recently used first. */
  readonly #targets = new Set<Target<Destination>>()
  /** By URL; more than one if they have other settings. */
  readonly #byUrl = new Map<string, readonly Target<Destination>[]>()
  #last: Target<Destination> | undefined

  /** @param make creates a target with a checked copy of `init`. */
  constructor(make: (init: BackendInit) => Target<Destination>, drain: (group: Group) => void) {
    this.#make = make
    this.#drain = drain
  }

  get groups(): Group[] {
    return Array.from(this.#targets, ({ group }) => group)
  }

  /** The destination for a backend. @throws what the constructor's `make` throws. */
  get(init: BackendInit): Destination {
    const url = String(init.url)
    const known = this.#byUrl.get(url)?.find((target) => isSame(target.init, init))
    if (known !== undefined && known === this.#last) return known.destination
    const target = known ?? this.#add(url, init)
    this.#targets.delete(target)
    this.#targets.add(target)
    this.#last = target
    return target.destination
  }

  #add(url: string, init: BackendInit): Target<Destination> {
    const target = this.#make(init)
    this.#makeRoom()
    this.#byUrl.set(url, [...(this.#byUrl.get(url) ?? []), target])
    return target
  }

  /** Removes all targets, because an update has changed their settings. Running exchanges finish. */
  clear(): void {
    for (const target of this.#targets) this.#remove(target)
    this.#last = undefined
  }

  #makeRoom(): void {
    let connections = 0
    for (const { group } of this.#targets) connections += openConnections(group)
    for (const target of this.#targets) {
      if (this.#targets.size < MAX_TARGETS && connections < MAX_CONNECTIONS) return
      if (isBusy(target.group)) continue
      connections -= openConnections(target.group)
      this.#remove(target)
    }
    // All remaining targets are busy: they finish after their removal.
    for (const target of this.#targets) {
      if (this.#targets.size < MAX_TARGETS) return
      this.#remove(target)
    }
  }

  #remove(target: Target<Destination>): void {
    const url = String(target.init.url)
    const others = (this.#byUrl.get(url) ?? []).filter((one) => one !== target)
    if (others.length > 0) this.#byUrl.set(url, others)
    else this.#byUrl.delete(url)
    this.#targets.delete(target)
    this.#drain(target.group)
  }
}

/** Whether two descriptions with the same URL have the same settings, too. */
function isSame(one: BackendInit, other: BackendInit): boolean {
  return (
    one.id === other.id &&
    one.weight === other.weight &&
    one.protocol === other.protocol &&
    one.proxyProtocol === other.proxyProtocol &&
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
