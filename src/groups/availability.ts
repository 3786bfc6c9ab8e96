import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import type { GroupState } from '../runtime/group-state.ts'
import type { Span } from '../runtime/span.ts'
import { bitsOf, EJECTED, ELIGIBLE, hasEndedEjection, isLeft } from './candidates.ts'
import { Returns } from './returns.ts'

/** What {@link Availability} needs. */
export interface AvailabilityDeps {
  readonly state: GroupState
  readonly clock: Clock
  /** Share of the eligible backends that may be ejected at one time, percent; the last one never is. */
  readonly maxEjectedPercent: number
  /** An ejection has ended. {@link onUneject} follows when others have been told. */
  onReturn(backend: Backend): void
  onUneject(backend: Backend): void
  /** Who is available has changed; see `Pool.repick`. */
  repick(isOut: (backend: Backend) => boolean, hasMore: boolean): void
}

/**
 * Which backends may be picked. The truth lies in each backend's state, which any thread may change; whoever does counts up the
 * group's changes. This is what one thread knows of it: a change costs a look at one backend. If more has changed than the group's
 * state remembers, it looks at all.
 */
export class Availability {
  readonly #deps: AvailabilityDeps
  #backends: readonly Backend[] = []
  readonly #positions = new Map<Backend, number>()
  /** By the index of its slot, for changes of other threads; made when one comes. */
  #bySlot: ReadonlyMap<number, Backend> | null = null
  /** Bits, by position. */
  #known = new Uint8Array()
  #eligible = 0
  /** Of the eligible ones. */
  #ejected = 0
  /** In the order of the configuration; a new array after each change, made when somebody asks. */
  #list: readonly Backend[] | null = null
  /** The count of changes that is known here. */
  #changes = 0
  readonly #returns: Returns
  /** Before, nobody waits for a connection. */
  #isReady = false

  constructor(deps: AvailabilityDeps, backends: readonly Backend[]) {
    this.#deps = deps
    this.#returns = new Returns(deps.clock, (backend, hasEnded) => this.#onReturn(backend, hasEnded))
    this.#changes = deps.state.changes
    this.#set(backends, { start: 0, end: backends.length, endBefore: 0 }, true)
    this.#isReady = true
  }

  /**
   * Who may be picked: those that are available, or, if no eligible backend is left that is not ejected, the ejected ones: those that
   * failed lately are better than a sure 503. The same array until something changes.
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

  /** Whether `backend` is one of `candidates`: if they are {@link list}, by one look-up, since it may have thousands. */
  isOne(backend: Backend, candidates: Candidates): boolean {
    return candidates === this.#list ? this.has(backend) : candidates.includes(backend)
  }

  /** Whether the group has it, available or not. */
  includes(backend: Backend): boolean {
    return this.#positions.has(backend)
  }

  /** Some backend of {@link list} is not in `tried`. */
  hasUntried(tried: readonly Backend[]): boolean {
    this.sync()
    let left = this.#count
    for (const [at, backend] of tried.entries()) if (tried.indexOf(backend) === at && this.has(backend)) left--
    return left > 0
  }

  /** @returns `false` if it is out already, or cannot be spared. */
  eject(backend: Backend, ms: number): boolean {
    this.sync()
    if (!this.includes(backend) || !backend.isAvailable || !this.#canSpare(1)) return false
    if (!backend.state.eject(this.#deps.clock.now() + ms)) return false
    if (this.changed(backend) || this.#canSpare(0)) return true
    // Another thread has ejected another one at the same moment, or taken one out.
    backend.state.uneject()
    this.changed(backend)
    return false
  }

  /** Something was changed here; all are looked at soon. Other threads hear of it. */
  allChanged(): void {
    this.#deps.state.addChange()
    queueMicrotask(() => this.sync())
  }

  /** Looks at what another thread has changed. */
  sync(): void {
    // Read before the states: what changes meanwhile is seen the next time.
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

  /** From now on the group has these backends, which differ from those before in `span` alone. Other threads hear of it. */
  replace(backends: readonly Backend[], span: Span): void {
    const changes = this.#deps.state.addChange()
    const isAlone = changes === ((this.#changes + 1) | 0)
    this.#changes = changes
    this.#set(backends, span, isAlone)
  }

  /** Ends what it does by itself; {@link list} stays true. */
  close(): void {
    this.#isReady = false
    this.#returns.close()
  }

  get #count(): number {
    return this.#eligible - (this.#eligible > this.#ejected ? this.#ejected : 0)
  }

  readonly #isCandidate = (bits: number): 0 | 1 => {
    return (this.#eligible > this.#ejected ? bits === ELIGIBLE : (bits & ELIGIBLE) !== 0) ? 1 : 0
  }

  /** @param isAlone only those in the span need a look. */
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

  /**
   * With `more` ejections there is still one backend available, and no more than the percentage are ejected. Backends that are
   * out for another reason count neither way: they carry nothing that the others could be spared for.
   */
  #canSpare(more: number): boolean {
    const ejected = this.#ejected + more
    return ejected < this.#eligible && ejected * 100 <= this.#deps.maxEjectedPercent * this.#eligible
  }

  /** The state of `backend` was changed here. @returns whether no other thread has changed anything meanwhile. */
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
    // The thread that began the ejection may have died, and no other has looked since.
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
    // With the last available one gone, the ejected ones come in.
    const lacksNow = didSpare && this.#eligible === this.#ejected
    this.#repick(isCandidate > wasCandidate || (lacksNow && this.#eligible > isCandidate))
  }

  #tally(bits: number, by: 1 | -1): void {
    if ((bits & ELIGIBLE) === 0) return
    this.#eligible += by
    if ((bits & EJECTED) !== 0) this.#ejected += by
  }

  /** Looks at the backends of those positions. @param before 1 for each of all that was a candidate. */
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

  /** Has those who wait for a connection pick again, if that is better for them. */
  #repick(hasMore: boolean): void {
    if (!this.#isReady) return
    const hasAny = this.#count > 0
    this.#deps.repick((backend) => !this.has(backend) && isLeft(backend, hasAny), hasMore)
  }
}
