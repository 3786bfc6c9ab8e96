/** 32-bit cells of one backend: 16 of them fill one 64-byte cache line, so that no two backends share one. */
export const CELLS_PER_LINE = 16

/** What each cell of a line holds. Times wrap after 24 days and are compared by difference only. */
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
const CHANGES = 9
const TURN = 10
/** Of a group's line. */
const LEADER = 11
const LEADER_AT = 12
/** Of a backend's; none behind the last of them. */
const HAS_RETURNED = 11
const RETURNED_AT = 12
const PROBED = 13

/**
 * The numbers that balancers and health checks read, for one backend: a line in an ArrayBuffer, or in a
 * SharedArrayBuffer where several threads serve one proxy. All access is by `Atomics` (about 12 ns), so the
 * same code serves both.
 */
export class BackendState {
  readonly #line: Int32Array
  /** What this thread alone has pending, at {@link #index}. */
  readonly #own: Int32Array
  readonly #index: number
  readonly #thread: number

  /**
   * @param own this thread's counts of what is pending at each line, to take it back when it dies.
   * @param thread the calling thread's index, from 0.
   */
  constructor(
    line: Int32Array = new Int32Array(CELLS_PER_LINE),
    own: Int32Array = new Int32Array(1),
    index = 0,
    thread = 0,
  ) {
    this.#line = line
    this.#own = own
    this.#index = index
    this.#thread = thread
  }

  /** Attempts that have begun and whose last byte is not yet gone. */
  get pending(): number {
    return Atomics.load(this.#line, PENDING)
  }
  addPending(by: 1 | -1): void {
    this.#own[this.#index] = (this.#own[this.#index] ?? 0) + by
    Atomics.add(this.#line, PENDING, by)
  }
  /** So many attempts of a thread that has died will not end. */
  takeBack(count: number): void {
    Atomics.sub(this.#line, PENDING, count)
  }

  /** Failures in a row. */
  get failures(): number {
    return Atomics.load(this.#line, FAILURES)
  }
  /** @returns the new count. */
  addFailure(): number {
    return Atomics.add(this.#line, FAILURES, 1) + 1
  }
  clearFailures(): void {
    Atomics.store(this.#line, FAILURES, 0)
  }

  get isEjected(): boolean {
    return Atomics.load(this.#line, EJECTED_UNTIL) !== 0
  }
  /** ms until its end, on the clock's scale; only meaningful while {@link isEjected}. */
  ejectionLeftMs(nowMs: number): number {
    return (Atomics.load(this.#line, EJECTED_UNTIL) - (nowMs | 0)) | 0
  }
  /** @returns `false` where it was ejected already, by another thread perhaps. */
  eject(untilMs: number): boolean {
    return Atomics.compareExchange(this.#line, EJECTED_UNTIL, 0, untilMs | 0 || 1) === 0
  }
  /** Before its time. @returns `false` where it was not ejected, or not any more. */
  uneject(): boolean {
    return Atomics.exchange(this.#line, EJECTED_UNTIL, 0) !== 0
  }
  /** @returns `false` where its time is not over, or another thread has ended it. */
  endEjection(nowMs: number): boolean {
    const until = Atomics.load(this.#line, EJECTED_UNTIL)
    if (until === 0 || ((until - (nowMs | 0)) | 0) > 0) return false
    // Another thread may have ended it, and a third begun the next one.
    return Atomics.compareExchange(this.#line, EJECTED_UNTIL, until, 0) === until
  }

  /** How often it was ejected in a row; the ejection time doubles with it. */
  get ejections(): number {
    return Atomics.load(this.#line, EJECTIONS)
  }
  set ejections(count: number) {
    Atomics.store(this.#line, EJECTIONS, count)
  }

  /** Exponentially weighted moving average of the time to the first response byte, ms; 0 before the first sample. */
  get rttMs(): number {
    return Atomics.load(this.#line, RTT_US) / 1000
  }
  /** ms since {@link rttMs} was written. */
  rttAgeMs(nowMs: number): number {
    return Math.max(0, ((nowMs | 0) - Atomics.load(this.#line, RTT_AT)) | 0)
  }
  setRtt(rttMs: number, nowMs: number): void {
    Atomics.store(this.#line, RTT_US, Math.min(2_000_000_000, Math.max(1, Math.round(rttMs * 1000))))
    Atomics.store(this.#line, RTT_AT, nowMs | 0)
  }

  get isUnhealthy(): boolean {
    return Atomics.load(this.#line, UNHEALTHY) === 1
  }
  set isUnhealthy(value: boolean) {
    Atomics.store(this.#line, UNHEALTHY, value ? 1 : 0)
  }
  /** Some thread has asked it whether it works, and {@link isUnhealthy} says what came of that. */
  get hasBeenProbed(): boolean {
    return Atomics.load(this.#line, PROBED) === 1
  }
  setProbed(): void {
    Atomics.store(this.#line, PROBED, 1)
  }
  get isDraining(): boolean {
    return Atomics.load(this.#line, DRAINING) === 1
  }
  set isDraining(value: boolean) {
    Atomics.store(this.#line, DRAINING, value ? 1 : 0)
  }
  get isDisabled(): boolean {
    return Atomics.load(this.#line, DISABLED) === 1
  }
  set isDisabled(value: boolean) {
    Atomics.store(this.#line, DISABLED, value ? 1 : 0)
  }

  /** ms since the backend came, or came back, into the balance; `Infinity` where it has been there from the start. */
  returnedAgoMs(nowMs: number): number {
    if (Atomics.load(this.#line, HAS_RETURNED) === 0) return Number.POSITIVE_INFINITY
    return Math.max(0, ((nowMs | 0) - Atomics.load(this.#line, RETURNED_AT)) | 0)
  }
  setReturned(nowMs: number): void {
    Atomics.store(this.#line, RETURNED_AT, nowMs | 0)
    Atomics.store(this.#line, HAS_RETURNED, 1)
  }
  /** Its return is long past. */
  clearReturned(): void {
    Atomics.store(this.#line, HAS_RETURNED, 0)
  }

  /** Of a backend's line: nothing is known any more but what is pending. */
  clear(): void {
    for (let cell = PENDING + 1; cell <= PROBED; cell++) Atomics.store(this.#line, cell, 0)
  }

  /** Of a group's line: counts every change of who is available. */
  get changes(): number {
    return Atomics.load(this.#line, CHANGES)
  }
  addChange(): void {
    Atomics.add(this.#line, CHANGES, 1)
  }

  /** Of a group's line: counts picks, so that a thread sees whether another has picked at the same time. */
  get turn(): number {
    return Atomics.load(this.#line, TURN)
  }
  /** @returns `false` where another thread has picked since {@link turn} was read. */
  endTurn(turn: number): boolean {
    return Atomics.compareExchange(this.#line, TURN, turn, (turn + 1) | 0) === turn
  }

  /**
   * Of a group's line: one thread at a time leads, and does what needs doing once. It must say so again within `leaseMs`, or
   * another may take over.
   * @returns whether the calling thread leads now.
   */
  lead(nowMs: number, leaseMs: number): boolean {
    const me = this.#thread + 1
    const leader = Atomics.load(this.#line, LEADER)
    const isHeld = leader !== 0 && leader !== me && (((nowMs | 0) - Atomics.load(this.#line, LEADER_AT)) | 0) < leaseMs
    if (isHeld || Atomics.compareExchange(this.#line, LEADER, leader, me) !== leader) return false
    Atomics.store(this.#line, LEADER_AT, nowMs | 0)
    return true
  }
  /** Lets another thread lead, where the calling one does. */
  unlead(): void {
    Atomics.compareExchange(this.#line, LEADER, this.#thread + 1, 0)
  }
}
