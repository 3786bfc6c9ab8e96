import type { Candidates } from '../contracts/balancer.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../runtime/clock.ts'
import type { GroupState } from '../runtime/group-state.ts'
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

/** What this thread knows of a backend, in bits. */
const ELIGIBLE = 1
const EJECTED = 2

/**
 * Which backends may be picked. The truth lies in each backend's state, which any thread may change; whoever does counts up the
 * group's changes. This is what one thread knows of it: a change of its own costs a look at one backend, a change of another
 * thread's a look at all.
 */
export class Availability {
  readonly #deps: AvailabilityDeps
  #backends: readonly Backend[] = []
  #positions: ReadonlyMap<Backend, number> = new Map()
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

  constructor(deps: AvailabilityDeps, backends: readonly Backend[]) {
    this.#deps = deps
    this.#returns = new Returns(deps.clock, (backend, hasEnded) => this.#onReturn(backend, hasEnded))
    this.replace(backends)
  }

  /**
   * Who may be picked: those that are available, or, if no eligible backend is left that is not ejected, the ejected ones: those that
   * failed lately are better than a sure 503. The same array until something changes.
   */
  get list(): readonly Backend[] {
    this.sync()
    this.#list ??= this.#backends.filter((_, position) => this.#isCandidate(this.#known[position] as number))
    return this.#list
  }

  /** Whether it is in {@link list}. */
  has(backend: Backend): boolean {
    const position = this.#positions.get(backend)
    return position !== undefined && this.#isCandidate(this.#known[position] as number)
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

  /** Those of {@link list} that are not in `tried`; all of them if each has been tried; `null` for none. */
  candidates(tried: readonly Backend[]): Candidates | null {
    const { list } = this
    if (tried.length > 0) {
      const untried = list.filter((backend) => !tried.includes(backend))
      if (isNotEmpty(untried)) return untried
    }
    return isNotEmpty(list) ? list : null
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

  /** Looks at all, if another thread has changed something. */
  sync(): void {
    if (this.#deps.state.changes !== this.#changes) this.#refresh(this.#positions, this.#known)
  }

  /** From now on the group has these backends. */
  replace(backends: readonly Backend[]): void {
    const before = this.#positions
    const known = this.#known
    this.#backends = backends
    this.#positions = new Map(backends.map((backend, position) => [backend, position]))
    this.#returns.forget((backend) => !this.includes(backend))
    this.#refresh(before, known)
  }

  close(): void {
    this.#returns.forget(() => true)
  }

  get #count(): number {
    return this.#eligible > this.#ejected ? this.#eligible - this.#ejected : this.#eligible
  }

  #isCandidate(bits: number): boolean {
    return this.#eligible > this.#ejected ? bits === ELIGIBLE : (bits & ELIGIBLE) !== 0
  }

  /**
   * With `more` ejections there is still one backend available, and no more than the percentage are ejected. Backends that are
   * out for another reason count neither way: they carry nothing that the others could be spared for.
   */
  #canSpare(more: number): boolean {
    const ejected = this.#ejected + more
    return ejected < this.#eligible && ejected * 100 <= this.#deps.maxEjectedPercent * this.#eligible
  }

  /** The state of `backend` was changed here. @returns whether no other thread has changed anything meanwhile; else all are looked at. */
  changed(backend: Backend): boolean {
    const changes = this.#deps.state.addChange()
    const isAlone = changes === ((this.#changes + 1) | 0)
    if (isAlone) {
      this.#changes = changes
      this.#update(backend)
    } else this.sync()
    return isAlone
  }

  #onReturn(backend: Backend, hasEnded: boolean): void {
    if (!hasEnded) return this.#update(backend)
    this.#deps.onReturn(backend)
    this.changed(backend)
    this.#deps.onUneject(backend)
  }

  #update(backend: Backend): void {
    const position = this.#positions.get(backend)
    if (position === undefined) return
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
    this.#repick((isCandidate && !wasCandidate) || (lacksNow && this.#eligible > (isCandidate ? 1 : 0)))
  }

  #tally(bits: number, by: 1 | -1): void {
    if ((bits & ELIGIBLE) === 0) return
    this.#eligible += by
    if ((bits & EJECTED) !== 0) this.#ejected += by
  }

  /** Looks at all. */
  #refresh(positionsBefore: ReadonlyMap<Backend, number>, knownBefore: Uint8Array): void {
    const { state, clock, onReturn, onUneject } = this.#deps
    const wasCandidate = knownBefore.map((bits) => (this.#isCandidate(bits) ? 1 : 0))
    // Read before the states: what changes meanwhile is seen the next time.
    this.#changes = state.changes
    this.#known = new Uint8Array(this.#backends.length)
    this.#eligible = 0
    this.#ejected = 0
    this.#list = null
    const returned: Backend[] = []
    for (const [position, backend] of this.#backends.entries()) {
      // The thread that began the ejection may have died, and no other has looked since.
      if (backend.isEjected && backend.state.endEjection(clock.now())) returned.push(backend)
      const bits = bitsOf(backend)
      if ((bits & EJECTED) !== 0) this.#returns.await(backend)
      this.#known[position] = bits
      this.#tally(bits, 1)
    }
    for (const backend of returned) {
      onReturn(backend)
      const changes = state.addChange()
      if (changes === ((this.#changes + 1) | 0)) this.#changes = changes
    }
    const hasMore = this.#backends.some((backend, position) => {
      if (!this.#isCandidate(this.#known[position] as number)) return false
      const before = positionsBefore.get(backend)
      return before === undefined || wasCandidate[before] === 0
    })
    this.#repick(hasMore)
    for (const backend of returned) onUneject(backend)
  }

  /** Has those who wait for a connection pick again, if that is better for them. */
  #repick(hasMore: boolean): void {
    const hasAny = this.#count > 0
    this.#deps.repick((backend) => {
      if (this.has(backend)) return false
      // If no other is left, one that fails may still answer; one that an operator has taken out will not.
      return hasAny || !(backend.isUnhealthy || backend.isEjected) || isTakenOut(backend)
    }, hasMore)
  }
}

/** By an operator's word, not by what is known of its health. */
function isTakenOut({ isDraining, isDisabled, weight }: Backend): boolean {
  return isDraining || isDisabled || weight === 0
}

function bitsOf(backend: Backend): number {
  return (backend.isEligible ? ELIGIBLE : 0) | (backend.isEjected ? EJECTED : 0)
}

/** There is something to pick from. */
export function isNotEmpty(backends: readonly Backend[]): backends is Candidates {
  return backends.length > 0
}
