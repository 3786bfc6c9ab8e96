import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import type { GroupState } from '../runtime/group-state.ts'
import type { Span } from '../runtime/span.ts'
import { bitsOf, EJECTED, ELIGIBLE, hasEndedEjection, isLeft } from './candidates.ts'
import { Returns } from './returns.ts'

/** The parts and options that {@link Availability} uses. */
export interface AvailabilityDeps {
  readonly state: GroupState
  readonly clock: Clock
  /** Share of the eligible backends that may be ejected at one time, percent. The last one is never ejected. */
  readonly maxEjectedPercent: number
  /** An ejection has ended. {@link onUneject} follows after other threads were notified. */
  onReturn(backend: Backend): void
  onUneject(backend: Backend): void
  /** The available backends have changed; see `Pool.repick`. */
  repick(isOut: (backend: Backend) => boolean, hasMore: boolean): void
}

/**
 * The backends that may be picked, as known to one thread. The source is the state of each backend, which any thread may change; it
 * then counts up the group's changes. To follow one change, a thread reads one backend. If more has changed than the group's state
 * remembers, it reads all of them.
 */
export class Availability {
  readonly #deps: AvailabilityDeps
  #backends: readonly Backend[] = []
  readonly #positions = new Map<Backend, number>()
  /** Backends by the index of their slot, to find those that other threads have changed. Created when needed. */
  #bySlot: ReadonlyMap<number, Backend> | null = null
  /** Bits of each backend (see candidates.ts), by position. */
  #known = new Uint8Array()
  #eligible = 0
  /** Number of ejected backends among the eligible ones. */
  #ejected = 0
  /** Cached {@link list}, in the order of the configuration; `null` after a change. */
  #list: readonly Backend[] | null = null
  /** The group's count of changes that this thread has seen. */
  #changes = 0
  readonly #returns: Returns
  /** `false` during construction, when no exchange can wait for a connection, and after {@link close}. */
  #isReady = false

  constructor(deps: AvailabilityDeps, backends: readonly Backend[]) {
    this.#deps = deps
    this.#returns = new Returns(deps.clock, (backend, hasEnded) => this.#onReturn(backend, hasEnded))
    this.#changes = deps.state.changes
    this.#set(backends, { start: 0, end: backends.length, endBefore: 0 }, true)
    this.#isReady = true
  }

  /**
   * The backends that may be picked: the available ones or, if all eligible backends are ejected, the ejected ones. A backend that
   * failed recently is better than a certain 503. The same array until something changes.
   */
  get list(): readonly Backend[] {
    this.sync()
    this.#list ??= this.#backends.filter((_, position) => this.#isCandidate(this.#known[position] as number) === 1)
    return this.#list
  }

  /** Whether it is in {@link list}. */
  has(backend: Backend): boolean {
    const position = this.#positions.get(backend)
    return position !== undefined && this.#isCandidate(this.#known[position] as number) === 1
  }

  /** Whether `backend` is one of `candidates`. If they are {@link list}, which may have thousands, this takes one look-up. */
  isOne(backend: Backend, candidates: Candidates): boolean {
    return candidates === this.#list ? this.has(backend) : candidates.includes(backend)
  }

  /** Whether the group has this backend, available or not. */
  includes(backend: Backend): boolean {
    return this.#positions.has(backend)
  }

  /** Whether some backend of {@link list} is not in `tried`. */
  hasUntried(tried: readonly Backend[]): boolean {
    this.sync()
    let left = this.#count
    for (const [at, backend] of tried.entries()) if (tried.indexOf(backend) === at && this.has(backend)) left--
    return left > 0
  }

  /** Ejects a backend for `ms`. @returns `false` if it is unavailable already, or cannot be spared. */
  eject(backend: Backend, ms: number): boolean {
    this.sync()
    if (!this.includes(backend) || !backend.isAvailable || !this.#canSpare(1)) return false
    if (!backend.state.eject(this.#deps.clock.now() + ms)) return false
    if (this.changed(backend) || this.#canSpare(0)) return true
    // Another thread has ejected another backend at the same moment, or made one unavailable: undo the ejection.
    backend.state.uneject()
    this.changed(backend)
    return false
  }

  /** This thread has changed any number of backends: checks all of them soon, and notifies other threads. */
  allChanged(): void {
    this.#deps.state.addChange()
    queueMicrotask(() => this.sync())
  }

  /** Reads the changes of other threads. */
  sync(): void {
    // Read before the states, so that a change in between is noticed the next time.
    const { changes } = this.#deps.state
    if (changes === this.#changes) return
    const slots = this.#deps.state.changedSlots(this.#changes, changes)
    this.#changes = changes
    if (slots === null) return this.#look(0, this.#backends.length, this.#known.map(this.#isCandidate))
    const bySlot = this.#bySlot ?? new Map(this.#backends.map((backend) => [backend.state.index, backend]))
    this.#bySlot = bySlot
    for (const slot of slots) {
      const backend = bySlot.get(slot)
      if (backend !== undefined) this.#update(backend)
    }
  }

  /** Sets the group's backends, which differ from the earlier ones only in `span`, and notifies other threads. */
  replace(backends: readonly Backend[], span: Span): void {
    const changes = this.#deps.state.addChange()
    const isAlone = changes === ((this.#changes + 1) | 0)
    this.#changes = changes
    this.#set(backends, span, isAlone)
  }

  /** Stops its timers, and calls `repick` no more; {@link list} stays correct. */
  close(): void {
    this.#returns.forget(() => true)
  }

  get #count(): number {
    return this.#eligible - (this.#eligible > this.#ejected ? this.#ejected : 0)
  }

  readonly #isCandidate = (bits: number): 0 | 1 => {
    return (this.#eligible > this.#ejected ? bits === ELIGIBLE : (bits & ELIGIBLE) !== 0) ? 1 : 0
  }

  /** @param isAlone only the backends in the span need to be read. */
  #set(backends: readonly Backend[], { start, end, endBefore }: Span, isAlone: boolean): void {
    const known = new Uint8Array(backends.length)
    known.set(this.#known.subarray(0, start))
    known.set(this.#known.subarray(endBefore), end)
    const before = known.map(this.#isCandidate)
    for (let position = start; position < end; position++)
      before[position] = this.has(backends[position] as Backend) ? 1 : 0
    const isMoved = end !== endBefore
    if (isMoved) this.#positions.clear()
    else for (const backend of this.#backends.slice(start, end)) this.#positions.delete(backend)
    for (let position = isMoved ? 0 : start; position < (isMoved ? backends.length : end); position++)
      this.#positions.set(backends[position] as Backend, position)
    this.#backends = backends
    this.#bySlot = null
    this.#known = known
    this.#returns.forget((backend) => !this.includes(backend))
    this.#look(isAlone ? start : 0, isAlone ? end : backends.length, before)
  }

  /** Whether `more` ejections leave one backend available and respect the percentage. Only eligible backends count. */
  #canSpare(more: number): boolean {
    const ejected = this.#ejected + more
    return ejected < this.#eligible && ejected * 100 <= this.#deps.maxEjectedPercent * this.#eligible
  }

  /** This thread has changed the state of `backend`. @returns whether no other thread has changed anything meanwhile. */
  changed(backend: Backend): boolean {
    const changes = this.#deps.state.addChange(backend.state.index)
    if (changes !== ((this.#changes + 1) | 0)) {
      this.sync()
      return false
    }
    this.#changes = changes
    this.#update(backend)
    return true
  }

  #onReturn(backend: Backend, hasEnded: boolean): void {
    this.sync()
    if (!hasEnded) return this.#update(backend)
    this.#deps.onReturn(backend)
    this.changed(backend)
    this.#deps.onUneject(backend)
  }

  #update(backend: Backend): void {
    const position = this.#positions.get(backend)
    if (position === undefined) return
    // The thread that began the ejection may have died, and no other has checked since.
    if (hasEndedEjection(backend, this.#deps.clock)) return this.#onReturn(backend, true)
    const before = this.#known[position] as number
    const now = bitsOf(backend)
    if ((now & EJECTED) !== 0) this.#returns.await(backend)
    if (now === before) return
    const wasCandidate = this.#isCandidate(before)
    const didSpare = this.#eligible > this.#ejected
    this.#known[position] = now
    this.#tally(before, -1)
    this.#tally(now, 1)
    this.#list = null
    const isCandidate = this.#isCandidate(now)
    // After the last available backend has gone, the ejected ones become candidates.
    const lacksNow = didSpare && this.#eligible === this.#ejected
    this.#repick(isCandidate > wasCandidate || (lacksNow && this.#eligible > isCandidate))
  }

  #tally(bits: number, by: 1 | -1): void {
    if ((bits & ELIGIBLE) === 0) return
    this.#eligible += by
    if ((bits & EJECTED) !== 0) this.#ejected += by
  }

  /** Reads the backends from `start` to `end`. @param before 1 for each backend of the group that was a candidate. */
  #look(start: number, end: number, before: Uint8Array): void {
    const { state, clock, onReturn, onUneject } = this.#deps
    this.#eligible = 0
    this.#ejected = 0
    this.#list = null
    const returned: Backend[] = []
    for (let position = 0; position < this.#known.length; position++) {
      if (position >= start && position < end) {
        const backend = this.#backends[position] as Backend
        if (hasEndedEjection(backend, clock)) returned.push(backend)
        const bits = bitsOf(backend)
        if ((bits & EJECTED) !== 0) this.#returns.await(backend)
        this.#known[position] = bits
      }
      this.#tally(this.#known[position] as number, 1)
    }
    for (const backend of returned) {
      onReturn(backend)
      const isAlone = state.addChange(backend.state.index) === ((this.#changes + 1) | 0)
      if (isAlone) this.#changes = (this.#changes + 1) | 0
    }
    this.#repick(this.#known.some((bits, position) => this.#isCandidate(bits) > (before[position] as number)))
    for (const backend of returned) onUneject(backend)
  }

  /** Lets exchanges that wait for a connection pick another backend, if that helps them. */
  #repick(hasMore: boolean): void {
    if (!this.#isReady) return
    const hasAny = this.#count > 0
    this.#deps.repick((backend) => !this.has(backend) && isLeft(backend, hasAny), hasMore)
  }
}
