import { BackendState, CELLS_PER_LINE } from './backend-state.ts'

/** Where a proxy keeps the numbers that must mean the same in every thread that serves it. */
export interface StateMemory {
  /** Other threads may write the same numbers. */
  readonly isShared: boolean
  /** The live numbers of the backend of this name. */
  cells(name: string): BackendState
  /** Counters of this name; seven of them, each written by one thread. */
  counters(name: string): Float64Array
  /** No thread has the numbers of this name any more, nor asks for them before another {@link cells} here. */
  release(name: string): void
}

/** Numbers of one thread that are found by their name again, as those that threads share are, until they are released. */
export class PrivateStateMemory implements StateMemory {
  readonly isShared = false
  readonly #cells = new Map<string, BackendState>()

  cells(name: string): BackendState {
    let cells = this.#cells.get(name)
    if (cells === undefined) {
      cells = new BackendState()
      this.#cells.set(name, cells)
    }
    return cells
  }

  counters(): Float64Array {
    return new Float64Array(COUNTERS)
  }

  release(name: string): void {
    this.#cells.delete(name)
  }
}

/** Numbers of one thread; every call gives new ones. */
export const privateStateMemory: StateMemory = {
  isShared: false,
  cells: () => new BackendState(),
  counters: () => new Float64Array(COUNTERS),
  release() {},
}

/** A line is 64 bytes: 14 cells or 7 counters, and in its last 8 bytes whose it is. */
const LINE_BYTES = CELLS_PER_LINE * 4
const COUNTERS = 7
const OWNER = 7
const LINES_PER_TABLE = 8192
/** Whose a line is that has never been anybody's: behind it no name is looked for. */
const NOBODY = 0n
/** That was somebody's. */
const RELEASED = 1n

/**
 * Numbers of several threads in one SharedArrayBuffer: a table of lines by name that threads fill without asking each
 * other (open addressing, a line is taken by one compare-and-exchange), and behind it, for each thread, what it has
 * pending at each line, so that it can be taken back when the thread dies.
 */
export class SharedStateMemory implements StateMemory {
  readonly isShared = true
  readonly #buffer: SharedArrayBuffer
  readonly #owners: BigInt64Array
  readonly #pending: Int32Array
  readonly #thread: number

  /** @param thread index of the calling thread, from 0. */
  constructor(buffer: SharedArrayBuffer, thread: number) {
    this.#buffer = buffer
    this.#owners = new BigInt64Array(buffer, 0, LINES_PER_TABLE * (LINE_BYTES / 8))
    this.#pending = pendingOf(buffer, thread)
    this.#thread = thread
  }

  /** StateMemory for so many threads. */
  static allocate(threads: number): SharedArrayBuffer {
    return new SharedArrayBuffer(LINES_PER_TABLE * (LINE_BYTES + threads * 4))
  }

  cells(name: string): BackendState {
    const line = this.#line(name)
    return new BackendState(
      new Int32Array(this.#buffer, line * LINE_BYTES, CELLS_PER_LINE),
      this.#pending,
      line,
      this.#thread,
    )
  }

  counters(name: string): Float64Array {
    return new Float64Array(this.#buffer, this.#line(name) * LINE_BYTES, COUNTERS)
  }

  /** A thread has died: what it had begun will not end. */
  takeBack(thread: number): void {
    const pending = pendingOf(this.#buffer, thread)
    for (let line = 0; line < pending.length; line++) {
      const count = pending[line] ?? 0
      if (count === 0) continue
      pending[line] = 0
      new BackendState(new Int32Array(this.#buffer, line * LINE_BYTES, CELLS_PER_LINE)).takeBack(count)
    }
  }

  /** Not while another thread may be asking for a name that has no line: it could get two. */
  release(name: string): void {
    const owner = hash(name)
    let line = this.#look(owner)
    if (line < 0 || this.#ownerOf(line) !== owner) return
    new Float64Array(this.#buffer, line * LINE_BYTES, COUNTERS).fill(0)
    Atomics.store(this.#owners, ownerAt(line), RELEASED)
    // Nobody needs to look past lines behind which there is nothing.
    if (this.#ownerOf(line + 1) !== NOBODY) return
    for (; this.#ownerOf(line) === RELEASED; line--) Atomics.store(this.#owners, ownerAt(line), NOBODY)
  }

  /** @throws RangeError where there are more names than lines. */
  #line(name: string): number {
    const owner = hash(name)
    for (;;) {
      const line = this.#look(owner)
      if (line < 0) {
        const message = `threads can share the numbers of ${LINES_PER_TABLE} backends, groups and threads, not more`
        throw new RangeError(message)
      }
      const found = this.#ownerOf(line)
      if (found === owner) return line
      // Another thread may have taken it meanwhile, for this name or another.
      if (isFree(found) && Atomics.compareExchange(this.#owners, ownerAt(line), found, owner) === found) return line
    }
  }

  /** @returns its line, else the first one that is free for it, else -1. */
  #look(owner: bigint): number {
    const start = Number(BigInt.asUintN(32, owner))
    let free = -1
    for (let step = 0; step < LINES_PER_TABLE; step++) {
      const line = (start + step) % LINES_PER_TABLE
      const found = this.#ownerOf(line)
      if (found === owner) return line
      if (free < 0 && isFree(found)) free = line
      if (found === NOBODY) break
    }
    return free
  }

  #ownerOf(line: number): bigint {
    return Atomics.load(this.#owners, ownerAt(line))
  }
}

/** The table is a ring. */
function ownerAt(line: number): number {
  return ((line + LINES_PER_TABLE) % LINES_PER_TABLE) * (LINE_BYTES / 8) + OWNER
}

function isFree(owner: bigint): boolean {
  return owner === NOBODY || owner === RELEASED
}

function pendingOf(buffer: SharedArrayBuffer, thread: number): Int32Array {
  return new Int32Array(buffer, LINES_PER_TABLE * (LINE_BYTES + thread * 4), LINES_PER_TABLE)
}

/** FNV-1a, 64 bits; neither {@link NOBODY} nor {@link RELEASED}. */
function hash(name: string): bigint {
  let value = 0xcbf29ce484222325n
  for (const byte of Buffer.from(name)) value = BigInt.asUintN(64, (value ^ BigInt(byte)) * 0x100000001b3n)
  return BigInt.asIntN(64, isFree(value) ? value + 2n : value)
}
