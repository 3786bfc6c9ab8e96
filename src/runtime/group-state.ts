import { CELLS_PER_SLOT } from './slot.ts'

/** What each 32-bit cell of a group's slot holds. Times wrap after 24 days and are compared by difference only. */
const CHANGES = 0
const PICK_VERSION = 1
const LEADER = 2
const LEADER_AT = 3
/** The last changes, by their number: whose state was changed. */
const RECENT = 4
const RECENT_COUNT = 8

/** An entry of {@link RECENT}: 12 bits of the change's number, so that an older one is not taken for it, and 20 of the slot. */
const SLOT_BITS = 20
const MAX_SLOT = 2 ** SLOT_BITS - 2

/** The numbers of a group that its threads share: what has changed, who picks, who leads. A slot, as in {@link BackendState}. */
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

  /** Counts every change of who is available. */
  get changes(): number {
    return Atomics.load(this.#cells, CHANGES)
  }
  /**
   * Wakes the threads that {@link onChange} has wait.
   * @param slot index of the one backend whose state was changed, if it is one.
   * @returns the new count.
   */
  addChange(slot: number | null = null): number {
    const changes = (Atomics.add(this.#cells, CHANGES, 1) + 1) | 0
    const isKnown = slot !== null && slot <= MAX_SLOT
    Atomics.store(this.#cells, recentAt(changes), isKnown ? tagOf(changes) | (slot + 1) : 0)
    Atomics.notify(this.#cells, CHANGES)
    return changes
  }
  /** Indexes of the slots that were changed since `before` changes, up to `now`; `null` if it is not known of all. */
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
   * Calls `listener` soon after another thread has changed something, until the returned function is called; does nothing in
   * memory that no other thread has. Does not keep the process alive.
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
      // Waits first: a change that comes during the call is heard of, too.
      wait()
      listener()
    }
    wait()
    return () => {
      isOver = true
      Atomics.notify(cells, CHANGES)
    }
  }

  /** Counts picks, so that a thread sees whether another has picked at the same time. */
  get pickVersion(): number {
    return Atomics.load(this.#cells, PICK_VERSION)
  }
  /** @returns `false` if another thread has picked since {@link pickVersion} was read. */
  tryCommit(version: number): boolean {
    return Atomics.compareExchange(this.#cells, PICK_VERSION, version, (version + 1) | 0) === version
  }

  /**
   * One thread at a time leads, and does what needs doing once. It must say so again within `leaseMs`, or another may take over.
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
  /** Lets another thread lead, if the calling one does. */
  unlead(): void {
    Atomics.compareExchange(this.#cells, LEADER, this.#thread + 1, 0)
  }
}

function recentAt(change: number): number {
  return RECENT + (change & (RECENT_COUNT - 1))
}

/** In the upper bits of an entry. */
function tagOf(change: number): number {
  return (change >> 3) << SLOT_BITS
}

function nothing(): void {}
