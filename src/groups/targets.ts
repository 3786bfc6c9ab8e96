import type { Group } from './group.ts'

/** So many groups for targets are kept, for their connections. */
const MAX_TARGETS = 256
/** Open connections of all targets, above which those that have nothing to do go. */
const MAX_CONNECTIONS = 1024

/** A group of one, and what stands for it. */
interface Target<Destination> {
  readonly group: Group
  readonly destination: Destination
}

/** Groups of one backend for `target` overrides, made on first use. Bounded: the least recently used one that has nothing to do goes first. */
export class Targets<Destination> {
  readonly #make: (url: string) => Target<Destination>
  readonly #drain: (group: Group) => void
  /** By URL, the least recently used first. */
  readonly #targets = new Map<string, Target<Destination>>()
  #last = ''

  constructor(make: (url: string) => Target<Destination>, drain: (group: Group) => void) {
    this.#make = make
    this.#drain = drain
  }

  get groups(): Group[] {
    return Array.from(this.#targets.values(), ({ group }) => group)
  }

  /** @throws TypeError if `url` cannot be a backend's. */
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

  /** Forgets them all: they would be made in another way now. What runs is finished. */
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
    // All that are left have something to do: they finish it.
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

/** Those to its backend: a pool of the user's may have others, too. */
function openConnections(group: Group): number {
  const [only] = group.backends
  const stats = group.poolStats().backends.find(({ backend }) => backend === only?.id)
  return stats === undefined ? 0 : stats.connections + stats.connecting
}
