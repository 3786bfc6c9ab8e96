import type { SharedStateMemory } from '../runtime/state-memory.ts'
import { countersName, slotName } from './protocol.ts'

/** The counters of one slot, for the main thread. The thread in that slot writes them. */
export class ThreadCounters {
  readonly #memory: SharedStateMemory
  readonly #slot: number
  readonly #own: Float64Array
  #proxies: readonly string[]

  /** @param namespace expected namespace of the thread's first proxy. */
  constructor(memory: SharedStateMemory, slot: number, namespace: string) {
    this.#memory = memory
    this.#slot = slot
    this.#own = memory.counters(slotName(slot))
    this.#own.fill(0)
    this.#proxies = [namespace]
  }

  /**
   * Takes the slots of the counters before a thread needs them: later the table may be full. Only the main thread may
   * take slots; see `SharedStateMemory.release()`.
   */
  static reserve(memory: SharedStateMemory, slot: number, namespace: string): void {
    for (const name of [slotName(slot), countersName(slot, namespace)]) memory.counters(name)
  }

  /** Namespaces of the thread's proxies. */
  set proxies(proxies: readonly string[]) {
    this.#proxies = proxies
  }

  /** Open client connections. */
  get connections(): number {
    return (this.#own[0] ?? 0) - (this.#own[1] ?? 0)
  }

  /** Listening sockets. */
  get listeners(): number {
    return this.#own[2] ?? 0
  }

  /** Counts a connection that was handed to the thread. */
  addConnection(): void {
    this.#own[0] = (this.#own[0] ?? 0) + 1
  }

  /** Exchanges of all its proxies. */
  exchanges(): { readonly exchanges: number; readonly active: number } {
    let exchanges = 0
    let active = 0
    for (const proxy of this.#proxies) {
      const counters = this.#countersOf(proxy)
      exchanges += counters[0] ?? 0
      active += counters[1] ?? 0
    }
    return { exchanges, active }
  }

  /** Clears the counters for the next thread in this slot. */
  clear(): void {
    for (const proxy of this.#proxies) this.#countersOf(proxy).fill(0)
  }

  #countersOf(proxy: string): Float64Array {
    return this.#memory.counters(countersName(this.#slot, proxy))
  }
}
