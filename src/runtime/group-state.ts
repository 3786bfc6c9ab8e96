import { CELLS_PER_SLOT } from './slot.ts'

/** The 32-bit cells of a group's slot. Times wrap after 24 days, so they are compared only by difference. */
const CHANGES = 0
const PICK_VERSION = 1
const LEADER = 2
const LEADER_AT = 3
/** A ring of the last changes: the slot of the backend that changed. */
const RECENT = 4
const RECENT_COUNT = 8

/** An entry of {@link RECENT} has 12 bits of the change's number, which identify older entries, and 20 bits of the slot. */
const SLOT_BITS = 20
const MAX_SLOT = 2 ** SLOT_BITS - 2

/** The state of a group that its threads share: changes, the pick version, and the leader. A slot, as in {@link BackendState}. */
export class GroupState {
  readonly #cells: Int32Array
  readonly #thread: number

  /**
   * @param cells the slot.
   * @param thread the calling thread's index, from 0.
   */
  constructor(cells: Int32Array = new Int32Array(CELLS_PER_SLOT), thread = 0) {
    this.#cells = cells
    this.#thread = thread
  }

  /** Counts the changes of availability. */
  get changes(): number {
    return Atomics.load(this.#cells, CHANGES)
  }
  /**
   * Wakes the threads that wait in {@link onChange}.
   * @param slot index of the backend that changed; `null` for several, or for another change.
   * @returns the new count.
   */
  addChange(slot: number | null = null): number {
    const changes = (Atomics.add(this.#cells, CHANGES, 1) + 1) | 0
    const isKnown = slot !== null && slot <= MAX_SLOT
    Atomics.store(this.#cells, recentAt(changes), isKnown ? tagOf(changes) | (slot + 1) : 0)
    Atomics.notify(this.#cells, CHANGES)
    return changes
  }
  /** Slots of the backends in changes `before` + 1 to `now`; `null` if a slot is unknown. */
  changedSlots(before: number, now: number): number[] | null {
    const count = (now - before) | 0
    if (count < 0 || count > RECENT_COUNT) return null
    const slots: number[] = []
    for (let change = (before + 1) | 0; slots.length < count; change = (change + 1) | 0) {
      const entry = Atomics.load(this.#cells, recentAt(change))
      const slot = (entry ^ tagOf(change)) - 1
      if (slot < 0 || slot > MAX_SLOT) return null
      slots.push(slot)
    }
    return slots
  }
  /**
   * Calls `listener` soon after a change by another thread, until the returned function is called. It does nothing in
   * private memory. It does not keep the process alive.
   */
  onChange(listener: () => void): () => void {
    const cells = this.#cells
    if (!(cells.buffer instanceof SharedArrayBuffer)) return nothing
    let isOver = false
    const wait = (): void => {
      const { async, value } = Atomics.waitAsync(cells, CHANGES, Atomics.load(cells, CHANGES))
      if (async) value.then(onWoken)
      else queueMicrotask(onWoken)
    }
    const onWoken = (): void => {
      if (isOver) return
      // Waits first, so as not to miss a change during the call.
      wait()
      listener()
    }
    wait()
    return () => {
      isOver = true
      Atomics.notify(cells, CHANGES)
    }
  }

  /** Counts picks: a thread can detect that another has picked at the same time. */
  get pickVersion(): number {
    return Atomics.load(this.#cells, PICK_VERSION)
  }
  /** @returns `false` if another thread has picked since {@link pickVersion} was read. */
  tryCommit(version: number): boolean {
    return Atomics.compareExchange(this.#cells, PICK_VERSION, version, (version + 1) | 0) === version
  }

  /**
   * Takes or renews the leadership. One thread at a time leads, and does the work that must be done only once. It must renew
   * within `leaseMs`; otherwise another thread may take over.
   * @returns whether the calling thread leads now.
   */
  lead(nowMs: number, leaseMs: number): boolean {
    const me = this.#thread + 1
    const leader = Atomics.load(this.#cells, LEADER)
    const isHeld = leader !== 0 && leader !== me && (((nowMs | 0) - Atomics.load(this.#cells, LEADER_AT)) | 0) < leaseMs
    if (isHeld || Atomics.compareExchange(this.#cells, LEADER, leader, me) !== leader) return false
    Atomics.store(this.#cells, LEADER_AT, nowMs | 0)
    return true
  }
  /** Gives up the leadership, if the calling thread has it. */
  unlead(): void {
    Atomics.compareExchange(this.#cells, LEADER, this.#thread + 1, 0)
  }
}

function recentAt(change: number): number {
  return RECENT + (change & (RECENT_COUNT - 1))
}

/** The bits of a change's number in an entry. */
function tagOf(change: number): number {
  return (change >> 3) << SLOT_BITS
}

function nothing(): void {}
