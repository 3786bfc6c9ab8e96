import { BackendState } from './backend-state.ts'
import { GroupState } from './group-state.ts'
import { CELLS_PER_SLOT } from './slot.ts'

/** Holds the state of a proxy's backends and groups. All threads that serve the proxy may share it. */
export interface StateMemory {
  /** Whether other threads may write the same state. */
  readonly isShared: boolean
  /** The live state of the backend of this name. */
  backendState(name: string): BackendState
  /** The state of the group of this name. */
  groupState(name: string): GroupState
  /** Seven counters of this name. One thread writes them. */
  counters(name: string): Float64Array
  /**
   * Frees the slot of this name. No thread may use it any more, nor ask for it until {@link backendState} is called
   * here.
   */
  release(name: string): void
}

/** The state of a single thread. Like shared state it is kept by name until it is released. */
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

/** The state of a single thread; every call returns a new one. */
export const privateStateMemory: StateMemory = {
  isShared: false,
  backendState: () => new BackendState(),
  groupState: () => new GroupState(),
  counters: () => new Float64Array(COUNTERS),
  release() {},
}

/** A slot is 64 bytes: 14 cells or 7 counters, and the owner in its last 8 bytes. */
const SLOT_BYTES = CELLS_PER_SLOT * 4
const COUNTERS = 7
const OWNER = 7
/** The header before the slots holds their number, and how many are taken. */
const HEADER_BYTES = SLOT_BYTES
const SLOT_COUNT = 0
const TAKEN = 1
/** Least number of names for which a table has room. */
const MIN_NAMES = 16_384
/** Slots for each name: with more than half of them taken, names would find their slots far from where they look first. */
const SLOTS_PER_NAME = 2
/** Most slots that a thread of an executor takes for itself: its connection counters, and counters of a few proxies. */
const SLOTS_PER_THREAD = 4
/** Owner of a slot that is free. */
const NOBODY = 0n

/**
 * The state of several threads in one SharedArrayBuffer. It is a hash table of slots by name (open addressing), in which
 * threads take slots without locks, by one compare-and-exchange. After the table follows the reach of each slot: how many
 * slots behind it may hold a name whose search begins there. It never falls, so that a free slot ends no search too early,
 * and however many names come and go, none is long. Then follow the pending counts of each thread, one for each slot, which
 * are subtracted if the thread dies. The table cannot grow.
 */
export class SharedStateMemory implements StateMemory {
  readonly isShared = true
  readonly #buffer: SharedArrayBuffer
  readonly #slotCount: number
  readonly #header: Int32Array
  readonly #owners: BigInt64Array
  readonly #reach: Int32Array
  readonly #pending: Int32Array
  readonly #thread: number

  /** @param thread index of the calling thread, from 0. */
  constructor(buffer: SharedArrayBuffer, thread: number) {
    this.#buffer = buffer
    this.#slotCount = slotCountOf(buffer)
    this.#header = new Int32Array(buffer, 0, HEADER_BYTES / 4)
    this.#owners = new BigInt64Array(buffer, HEADER_BYTES, this.#slotCount * (SLOT_BYTES / 8))
    this.#reach = countsOf(buffer, 0)
    this.#pending = pendingOf(buffer, thread)
    this.#thread = thread
  }

  /**
   * Allocates memory for `threads` threads, the calling one included, and twice as many names as are known now.
   * @param names number of backends and groups.
   */
  static allocate(threads: number, names: number): SharedArrayBuffer {
    let room = MIN_NAMES
    while (room < 2 * (names + threads * SLOTS_PER_THREAD)) room *= 2
    const slotCount = room * SLOTS_PER_NAME
    const buffer = new SharedArrayBuffer(HEADER_BYTES + slotCount * (SLOT_BYTES + (1 + threads) * 4))
    new Int32Array(buffer)[SLOT_COUNT] = slotCount
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

  /** Subtracts the pending counts of a thread that died. */
  takeBack(thread: number): void {
    const pending = pendingOf(this.#buffer, thread)
    for (let index = 0; index < pending.length; index++) {
      const count = pending[index] ?? 0
      if (count === 0) continue
      pending[index] = 0
      new BackendState(this.#cells(index)).takeBack(count)
    }
  }

  /** Must not run while another thread may look up a name without a slot: that name could get two slots. */
  release(name: string): void {
    const owner = hash(name)
    const index = this.#find(owner)
    if (this.#ownerOf(index) !== owner) return
    this.#cells(index).fill(0, 0, 2 * COUNTERS)
    Atomics.store(this.#owners, ownerAt(index), NOBODY)
    Atomics.sub(this.#header, TAKEN, 1)
  }

  #cells(index: number): Int32Array {
    return new Int32Array(this.#buffer, HEADER_BYTES + index * SLOT_BYTES, CELLS_PER_SLOT)
  }

  /** @throws RangeError if there are more names than the table has room for. */
  #slot(name: string): number {
    const owner = hash(name)
    for (;;) {
      const index = this.#find(owner)
      const found = this.#ownerOf(index)
      if (found === owner) return index
      const room = this.#slotCount / SLOTS_PER_NAME
      if (Atomics.load(this.#header, TAKEN) >= room) {
        throw new RangeError(
          `threads can share the state of at most ${room} backends, groups and threads here: the size is fixed when the proxy is created, at twice the configured number and at least ${MIN_NAMES}`,
        )
      }
      this.#extendReach(owner, index)
      // Another thread may have taken it in the meantime, for this name or another.
      if (Atomics.compareExchange(this.#owners, ownerAt(index), NOBODY, owner) !== NOBODY) continue
      Atomics.add(this.#header, TAKEN, 1)
      return index
    }
  }

  /** @returns the index of the owner's slot, else of the first free one. There always is one: half of the slots stay free. */
  #find(owner: bigint): number {
    const start = this.#startOf(owner)
    const reach = Atomics.load(this.#reach, start)
    let free = -1
    for (let step = 0; step <= reach || free < 0; step++) {
      const index = (start + step) % this.#slotCount
      const found = this.#ownerOf(index)
      if (found === owner) return index
      if (free < 0 && found === NOBODY) free = index
    }
    return free
  }

  /** Before the slot is taken: whoever looks for the owner from now on gets to it. */
  #extendReach(owner: bigint, index: number): void {
    const start = this.#startOf(owner)
    const step = (index - start + this.#slotCount) % this.#slotCount
    let reach = Atomics.load(this.#reach, start)
    while (reach < step) {
      const found = Atomics.compareExchange(this.#reach, start, reach, step)
      if (found === reach) return
      reach = found
    }
  }

  #startOf(owner: bigint): number {
    return Number(BigInt.asUintN(32, owner)) % this.#slotCount
  }

  #ownerOf(index: number): bigint {
    return Atomics.load(this.#owners, ownerAt(index))
  }
}

/** Position of a slot's owner. */
function ownerAt(index: number): number {
  return index * (SLOT_BYTES / 8) + OWNER
}

function slotCountOf(buffer: SharedArrayBuffer): number {
  return new Int32Array(buffer, 0, 1)[SLOT_COUNT] as number
}

function pendingOf(buffer: SharedArrayBuffer, thread: number): Int32Array {
  return countsOf(buffer, 1 + thread)
}

/** One of the rows behind the slots, with a number for each slot. */
function countsOf(buffer: SharedArrayBuffer, row: number): Int32Array {
  const slotCount = slotCountOf(buffer)
  return new Int32Array(buffer, HEADER_BYTES + slotCount * (SLOT_BYTES + row * 4), slotCount)
}

/**
 * A 64-bit hash of two independent 32-bit hashes (after cyrb53), never {@link NOBODY}. With bigint,
 * 10,000 names would take 80 ms.
 */
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
  return value === NOBODY ? 1n : value
}
