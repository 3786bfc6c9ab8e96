import type { Group } from './group.ts'

/** Most groups for targets that are kept, for the sake of their connections. */
const MAX_TARGETS = 256
/** Number of open connections of all targets from which unused targets are removed. */
const MAX_CONNECTIONS = 1024

/** A group of one backend, and its destination. */
interface Target<Destination> {
  readonly group: Group
  readonly destination: Destination
}

/** Groups of one backend for `target` overrides, created on first use. Bounded: the least recently used unused one is removed first. */
export class Targets<Destination> {
  readonly #make: (url: string) => Target<Destination>
  readonly #drain: (group: Group) => void
  /** Targets by URL, the least recently used first. */
  readonly #targets = new Map<string, Target<Destination>>()
  #last = ''

  constructor(make: (url: string) => Target<Destination>, drain: (group: Group) => void) {
    this.#make = make
    this.#drain = drain
  }

  get groups(): Group[] {
    return Array.from(this.#targets.values(), ({ group }) => group)
  }

  /** The destination for a URL. @throws TypeError if `url` is not a backend URL. */
  get(url: string): Destination {
    const known = this.#targets.get(url)
    if (known !== undefined && url === this.#last) return known.destination
    const target = known ?? this.#make(url)
    this.#last = url
    this.#targets.delete(url)
    if (known === undefined) this.#makeRoom()
    this.#targets.set(url, target)
    return target.destination
  }

  /** Removes all targets, because an update has changed their settings. Running exchanges finish. */
  clear(): void {
    for (const [url, { group }] of this.#targets) this.#remove(url, group)
    this.#last = ''
  }

  #makeRoom(): void {
    let connections = 0
    for (const { group } of this.#targets.values()) connections += openConnections(group)
    for (const [url, { group }] of this.#targets) {
      if (this.#targets.size < MAX_TARGETS && connections < MAX_CONNECTIONS) return
      if (isBusy(group)) continue
      connections -= openConnections(group)
      this.#remove(url, group)
    }
    // All remaining targets are busy: they finish after their removal.
    for (const [url, { group }] of this.#targets) {
      if (this.#targets.size < MAX_TARGETS) return
      this.#remove(url, group)
    }
  }

  #remove(url: string, group: Group): void {
    this.#targets.delete(url)
    this.#drain(group)
  }
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
