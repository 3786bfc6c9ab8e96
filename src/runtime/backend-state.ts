import { CELLS_PER_SLOT } from './slot.ts'

/** The 32-bit cells of a backend's slot. Times wrap after 24 days, so they are compared only by difference. */
const PENDING = 0
const FAILURES = 1
/** 0: not ejected. */
const EJECTED_UNTIL = 2
const EJECTIONS = 3
const RTT_US = 4
const RTT_AT = 5
const UNHEALTHY = 6
const DRAINING = 7
const DISABLED = 8
const HAS_RETURNED = 9
const RETURNED_AT = 10
const PROBED = 11
const LAST = PROBED

/**
 * The live state of one backend, which balancers and health checks read: a slot in an ArrayBuffer, or in a SharedArrayBuffer
 * if several threads serve one proxy. `Atomics` (about 12 ns an access) work on both.
 */
export class BackendState {
  readonly #cells: Int32Array
  /** This thread's own pending count, at {@link index}. */
  readonly #own: Int32Array
  /** The slot's position in the shared memory. */
  readonly index: number

  /**
   * @param cells the slot.
   * @param own this thread's pending counts, one for each slot. They are subtracted if the thread dies.
   * @param index the slot's position in `own`.
   */
  constructor(cells: Int32Array = new Int32Array(CELLS_PER_SLOT), own: Int32Array = new Int32Array(1), index = 0) {
    this.#cells = cells
    this.#own = own
    this.index = index
  }

  /** Attempts in flight: begun, and their last byte is not sent yet. */
  get pending(): number {
    return Atomics.load(this.#cells, PENDING)
  }
  addPending(by: 1 | -1): void {
    this.#own[this.index] = (this.#own[this.index] ?? 0) + by
    Atomics.add(this.#cells, PENDING, by)
  }
  /** Subtracts the `count` pending attempts of a thread that died. */
  takeBack(count: number): void {
    Atomics.sub(this.#cells, PENDING, count)
  }

  /** Failures in a row. */
  get failures(): number {
    return Atomics.load(this.#cells, FAILURES)
  }
  /** @returns the new count. */
  addFailure(): number {
    return Atomics.add(this.#cells, FAILURES, 1) + 1
  }
  clearFailures(): void {
    Atomics.store(this.#cells, FAILURES, 0)
  }

  get isEjected(): boolean {
    return Atomics.load(this.#cells, EJECTED_UNTIL) !== 0
  }
  /** ms until the ejection ends; only meaningful while {@link isEjected}. */
  ejectionLeftMs(nowMs: number): number {
    return (Atomics.load(this.#cells, EJECTED_UNTIL) - (nowMs | 0)) | 0
  }
  /** @returns `false` if it is already ejected, perhaps by another thread. */
  eject(untilMs: number): boolean {
    return Atomics.compareExchange(this.#cells, EJECTED_UNTIL, 0, untilMs | 0 || 1) === 0
  }
  /** Ends the ejection early. @returns `false` if it is not ejected. */
  uneject(): boolean {
    return Atomics.exchange(this.#cells, EJECTED_UNTIL, 0) !== 0
  }
  /** Ends an ejection whose time is over. @returns `false` if its time is not over, or another thread has ended it. */
  endEjection(nowMs: number): boolean {
    const until = Atomics.load(this.#cells, EJECTED_UNTIL)
    if (until === 0 || ((until - (nowMs | 0)) | 0) > 0) return false
    // Another thread may have ended it, and a third may have begun the next one.
    return Atomics.compareExchange(this.#cells, EJECTED_UNTIL, until, 0) === until
  }

  /** Ejections in a row; each one is twice as long as the one before. */
  get ejections(): number {
    return Atomics.load(this.#cells, EJECTIONS)
  }
  set ejections(count: number) {
    Atomics.store(this.#cells, EJECTIONS, count)
  }

  /** Exponentially weighted moving average of the time to the first response byte, ms; 0 before the first sample. */
  get rttMs(): number {
    return Atomics.load(this.#cells, RTT_US) / 1000
  }
  /** ms since {@link rttMs} was written. */
  rttAgeMs(nowMs: number): number {
    return Math.max(0, ((nowMs | 0) - Atomics.load(this.#cells, RTT_AT)) | 0)
  }
  setRtt(rttMs: number, nowMs: number): void {
    Atomics.store(this.#cells, RTT_US, Math.min(2_000_000_000, Math.max(1, Math.round(rttMs * 1000))))
    Atomics.store(this.#cells, RTT_AT, nowMs | 0)
  }

  get isUnhealthy(): boolean {
    return Atomics.load(this.#cells, UNHEALTHY) === 1
  }
  set isUnhealthy(value: boolean) {
    Atomics.store(this.#cells, UNHEALTHY, value ? 1 : 0)
  }
  /** Whether some thread has probed it, so that {@link isUnhealthy} holds a result. */
  get hasBeenProbed(): boolean {
    return Atomics.load(this.#cells, PROBED) === 1
  }
  setProbed(): void {
    Atomics.store(this.#cells, PROBED, 1)
  }
  get isDraining(): boolean {
    return Atomics.load(this.#cells, DRAINING) === 1
  }
  set isDraining(value: boolean) {
    Atomics.store(this.#cells, DRAINING, value ? 1 : 0)
  }
  get isDisabled(): boolean {
    return Atomics.load(this.#cells, DISABLED) === 1
  }
  set isDisabled(value: boolean) {
    Atomics.store(this.#cells, DISABLED, value ? 1 : 0)
  }

  /** ms since the backend was added or became available again; `Infinity` if it has been available from the start. */
  returnedAgoMs(nowMs: number): number {
    if (Atomics.load(this.#cells, HAS_RETURNED) === 0) return Number.POSITIVE_INFINITY
    return Math.max(0, ((nowMs | 0) - Atomics.load(this.#cells, RETURNED_AT)) | 0)
  }
  setReturned(nowMs: number): void {
    Atomics.store(this.#cells, RETURNED_AT, nowMs | 0)
    Atomics.store(this.#cells, HAS_RETURNED, 1)
  }
  /** Forgets the return, once it is long ago. */
  clearReturned(): void {
    Atomics.store(this.#cells, HAS_RETURNED, 0)
  }

  /** Clears everything but the pending count. */
  clear(): void {
    for (let cell = PENDING + 1; cell <= LAST; cell++) Atomics.store(this.#cells, cell, 0)
  }
}
