import type { SharedStateMemory } from '../runtime/state-memory.ts'
import { countersName, slotName } from './protocol.ts'

/** The counters of one slot, as the main thread sees them: written by the thread that has it. */
export class ThreadCounters {
  readonly #memory: SharedStateMemory
  readonly #slot: number
  readonly #own: Float64Array
  #proxies: readonly string[]

  /** @param namespace of the proxy that the thread will make, as far as that is known. */
  constructor(memory: SharedStateMemory, slot: number, namespace: string) {
    this.#memory = memory
    this.#slot = slot
    this.#own = memory.counters(slotName(slot))
    this.#own.fill(0)
    this.#proxies = [namespace]
  }

  /** Before a thread asks for them: later there may be no room, and only the main thread takes slots; see `SharedStateMemory.release()`. */
  static reserve(memory: SharedStateMemory, slot: number, namespace: string): void {
    for (const name of [slotName(slot), countersName(slot, namespace)]) memory.counters(name)
  }

  /** Namespaces of the thread's proxies. */
  set proxies(proxies: readonly string[]) {
    this.#proxies = proxies
  }

  /** Client connections that are open. */
  get connections(): number {
    return (this.#own[0] ?? 0) - (this.#own[1] ?? 0)
  }

  /** Sockets that it listens on. */
  get listeners(): number {
    return this.#own[2] ?? 0
  }

  /** A connection was handed to the thread. */
  addConnection(): void {
    this.#own[0] = (this.#own[0] ?? 0) + 1
  }

  /** Of all its proxies. */
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

  /** For the next thread in this slot. */
  clear(): void {
    for (const proxy of this.#proxies) this.#countersOf(proxy).fill(0)
  }

  #countersOf(proxy: string): Float64Array {
    return this.#memory.counters(countersName(this.#slot, proxy))
  }
}
