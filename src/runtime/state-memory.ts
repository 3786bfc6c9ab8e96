import { BackendState } from './backend-state.ts'
import { GroupState } from './group-state.ts'
import { CELLS_PER_SLOT } from './slot.ts'

/** Where a proxy keeps the numbers that must mean the same in every thread that serves it. */
export interface StateMemory {
  /** Other threads may write the same numbers. */
  readonly isShared: boolean
  /** The live numbers of the backend of this name. */
  backendState(name: string): BackendState
  /** The numbers of the group of this name. */
  groupState(name: string): GroupState
  /** Counters of this name; seven of them, each written by one thread. */
  counters(name: string): Float64Array
  /** No thread has the numbers of this name any more, nor asks for them before another {@link backendState} here. */
  release(name: string): void
}

/** Numbers of one thread that are found by their name again, as those that threads share are, until they are released. */
export class PrivateStateMemory implements StateMemory {
  readonly isShared = false
  readonly #backends = new Map<string, BackendState>()

  backendState(name: string): BackendState {
    let state = this.#backends.get(name)
    if (state === undefined) {
      state = new BackendState()
      this.#backends.set(name, state)
    }
    return state
  }

  groupState(): GroupState {
    return new GroupState()
  }

  counters(): Float64Array {
    return new Float64Array(COUNTERS)
  }

  release(name: string): void {
    this.#backends.delete(name)
  }
}

/** Numbers of one thread; every call gives new ones. */
export const privateStateMemory: StateMemory = {
  isShared: false,
  backendState: () => new BackendState(),
  groupState: () => new GroupState(),
  counters: () => new Float64Array(COUNTERS),
  release() {},
}

/** A slot is 64 bytes: 14 cells or 7 counters, and in its last 8 bytes whose it is. */
const SLOT_BYTES = CELLS_PER_SLOT * 4
const COUNTERS = 7
const OWNER = 7
/** Before the slots: how many there are. */
const HEADER_BYTES = SLOT_BYTES
/** A table has room for as many backends as this at the least, and for as many again that take their place. */
const MIN_SLOTS = 16_384
/** Slots that a thread of an executor takes for itself, at the most: its place, and counters of a few proxies. */
const SLOTS_PER_THREAD = 4
/** Owner of a slot that was never taken: a search for a name ends here. */
const NOBODY = 0n
/** Owner of a slot that was given back. */
const RELEASED = 1n

/**
 * Numbers of several threads in one SharedArrayBuffer: a table of slots by name that threads fill without asking each
 * other (open addressing, a slot is taken by one compare-and-exchange), and after it, for each thread, what it has
 * pending at each slot, so that it can be taken back when the thread dies. It cannot grow later.
 */
export class SharedStateMemory implements StateMemory {
  readonly isShared = true
  readonly #buffer: SharedArrayBuffer
  readonly #slotCount: number
  readonly #owners: BigInt64Array
  readonly #pending: Int32Array
  readonly #thread: number

  /** @param thread index of the calling thread, from 0. */
  constructor(buffer: SharedArrayBuffer, thread: number) {
    this.#buffer = buffer
    this.#slotCount = slotCountOf(buffer)
    this.#owners = new BigInt64Array(buffer, HEADER_BYTES, this.#slotCount * (SLOT_BYTES / 8))
    this.#pending = pendingOf(buffer, thread)
    this.#thread = thread
  }

  /**
   * Memory for so many threads, the calling one included, and twice as many names as are known now.
   * @param names backends and groups.
   */
  static allocate(threads: number, names: number): SharedArrayBuffer {
    let slotCount = MIN_SLOTS
    while (slotCount < 2 * (names + threads * SLOTS_PER_THREAD)) slotCount *= 2
    const buffer = new SharedArrayBuffer(HEADER_BYTES + slotCount * (SLOT_BYTES + threads * 4))
    new Int32Array(buffer)[0] = slotCount
    return buffer
  }

  backendState(name: string): BackendState {
    const index = this.#slot(name)
    return new BackendState(this.#cells(index), this.#pending, index)
  }

  groupState(name: string): GroupState {
    return new GroupState(this.#cells(this.#slot(name)), this.#thread)
  }

  counters(name: string): Float64Array {
    return new Float64Array(this.#buffer, HEADER_BYTES + this.#slot(name) * SLOT_BYTES, COUNTERS)
  }

  /** A thread has died: what it had begun will not end. */
  takeBack(thread: number): void {
    const pending = pendingOf(this.#buffer, thread)
    for (let index = 0; index < pending.length; index++) {
      const count = pending[index] ?? 0
      if (count === 0) continue
      pending[index] = 0
      new BackendState(this.#cells(index)).takeBack(count)
    }
  }

  /** Not while another thread may be asking for a name that has no slot: it could get two. */
  release(name: string): void {
    const owner = hash(name)
    let index = this.#find(owner)
    if (index < 0 || this.#ownerOf(index) !== owner) return
    this.#cells(index).fill(0, 0, 2 * COUNTERS)
    Atomics.store(this.#owners, this.#ownerAt(index), RELEASED)
    // A search need not go past slots that nothing follows.
    if (this.#ownerOf(index + 1) !== NOBODY) return
    for (; this.#ownerOf(index) === RELEASED; index--) Atomics.store(this.#owners, this.#ownerAt(index), NOBODY)
  }

  #cells(index: number): Int32Array {
    return new Int32Array(this.#buffer, HEADER_BYTES + index * SLOT_BYTES, CELLS_PER_SLOT)
  }

  /** @throws RangeError if there are more names than slots. */
  #slot(name: string): number {
    const owner = hash(name)
    for (;;) {
      const index = this.#find(owner)
      if (index < 0) {
        throw new RangeError(
          `threads can share the state of ${this.#slotCount} backends, groups and threads here, not more: the size is twice what is configured when the proxy is made, and at least ${MIN_SLOTS}`,
        )
      }
      const found = this.#ownerOf(index)
      if (found === owner) return index
      // Another thread may have taken it meanwhile, for this name or another.
      if (isFree(found) && Atomics.compareExchange(this.#owners, this.#ownerAt(index), found, owner) === found)
        return index
    }
  }

  /** @returns the index of its slot, else of the first one that is free for it, else -1. */
  #find(owner: bigint): number {
    const start = Number(BigInt.asUintN(32, owner))
    let free = -1
    for (let step = 0; step < this.#slotCount; step++) {
      const index = (start + step) % this.#slotCount
      const found = this.#ownerOf(index)
      if (found === owner) return index
      if (free < 0 && isFree(found)) free = index
      if (found === NOBODY) break
    }
    return free
  }

  #ownerOf(index: number): bigint {
    return Atomics.load(this.#owners, this.#ownerAt(index))
  }

  /** The table is a ring. */
  #ownerAt(index: number): number {
    return ((index + this.#slotCount) % this.#slotCount) * (SLOT_BYTES / 8) + OWNER
  }
}

function isFree(owner: bigint): boolean {
  return owner === NOBODY || owner === RELEASED
}

function slotCountOf(buffer: SharedArrayBuffer): number {
  return new Int32Array(buffer, 0, 1)[0] as number
}

function pendingOf(buffer: SharedArrayBuffer, thread: number): Int32Array {
  const slotCount = slotCountOf(buffer)
  return new Int32Array(buffer, HEADER_BYTES + slotCount * (SLOT_BYTES + thread * 4), slotCount)
}

/** 64 bits from two unlike 32-bit hashes (after cyrb53), in plain numbers: with bigint 10,000 names take 80 ms. Neither {@link NOBODY} nor {@link RELEASED}. */
function hash(name: string): bigint {
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at)
    high = Math.imul(high ^ unit, 2_654_435_761)
    low = Math.imul(low ^ unit, 1_597_334_677)
  }
  high = Math.imul(high ^ (high >>> 16), 2_246_822_507) ^ Math.imul(low ^ (low >>> 13), 3_266_489_909)
  low = Math.imul(low ^ (low >>> 16), 2_246_822_507) ^ Math.imul(high ^ (high >>> 13), 3_266_489_909)
  const value = (BigInt(high) << 32n) | BigInt(low >>> 0)
  return isFree(value) ? value + 2n : value
}
