import type { Balancer, Candidates } from '../contracts/balancer.ts'
import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Pool, PoolStats } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { BackendState } from '../runtime/backend-state.ts'
import { assertSync, catchRejection } from '../runtime/callbacks.ts'
import { type Clock, LONGEST_MS } from '../runtime/clock.ts'

/** The parts of a {@link Group}. */
export interface GroupDeps {
  readonly name: string
  readonly backends: readonly Backend[]
  readonly balancer: Balancer
  readonly pool: Pool
  readonly healthCheck: HealthCheck | null
  /** Share of the backends that would be available otherwise that may be ejected at one time, percent; the last one never is. */
  readonly maxEjectedPercent: number
  /** For so long a backend that has come, or come back, gets less than its share, ms; 0: not at all. */
  readonly slowStartMs: number
  readonly retry: RetryPolicy | null
  readonly clock: Clock
  /** Numbers of the group itself. */
  readonly cells: BackendState
  /** Other threads pick from the same backends. */
  readonly isShared: boolean
  /** A backend was ejected for `ms`, or has come back. */
  onEject(backend: Backend, ms: number, reason: string): void
  onUneject(backend: Backend): void
  /** A probe has found a backend unhealthy, or healthy again. */
  onHealth(backend: Backend, reason: string): void
  /** The health check threw. */
  onThrew(error: unknown): void
  onPoolThrew(error: unknown): void
  onBalancerThrew(error: unknown): void
}

/** How often the thread that leads a group says so, and the others look whether one does, ms. */
const LEAD_MS = 1000
/** A thread that has not said for so long that it leads is dead, or as good as that. */
const LEASE_MS = 3 * LEAD_MS

/** The least share of its own that a backend gets in its slow start. */
const SLOW_START_MIN = 0.1

/** How often a pick is made again because another thread picked at the same time. */
const MAX_TURNS = 4

/**
 * A set of backends at work: who may be picked, and who is ejected. What any thread changes of that is counted in the
 * group's cells, and each thread looks there before it picks.
 */
export class Group implements HealthControl {
  readonly name: string
  readonly balancer: Balancer
  readonly pool: Pool
  readonly healthCheck: HealthCheck | null
  readonly retry: RetryPolicy | null
  readonly #parts: GroupDeps
  readonly #takesTurns: boolean
  #backends: readonly Backend[]
  #hasBasePaths: boolean
  readonly #returns = new Map<Backend, () => void>()
  /** What the health check looks after by itself, where this thread leads. */
  readonly #watches = new Map<Backend, () => void>()
  /** This thread looks after the backends for all, be there any or not. */
  #leads = false
  #cancelLead: () => void = () => {}
  /** Who may be picked. The same array until something changes, so that balancers can build on its identity. */
  #available: readonly Backend[] = []
  /** The same, to look one up. */
  #known: ReadonlySet<Backend> = new Set()
  /** The count of changes that {@link #available} knows of. */
  #changes = -1

  constructor(parts: GroupDeps) {
    this.name = parts.name
    this.balancer = parts.balancer
    this.pool = parts.pool
    this.healthCheck = parts.healthCheck
    this.retry = parts.retry
    this.#parts = parts
    this.#takesTurns = parts.isShared && parts.balancer.isExact === true
    this.#backends = parts.backends
    this.#hasBasePaths = parts.backends.some(hasBasePath)
    catchRejection(parts.balancer.onChange?.(parts.backends), parts.onBalancerThrew)
    if (parts.healthCheck?.watch !== undefined) this.#lead()
  }

  get backends(): readonly Backend[] {
    return this.#backends
  }

  /** Of some backend the URL has a path, which goes before each request's. */
  get hasBasePaths(): boolean {
    return this.#hasBasePaths
  }

  /** Figures of its pool; none where a pool of the user's has none to give. */
  poolStats(): PoolStats {
    try {
      const stats = this.pool.stats()
      assertSync(stats)
      if (!Array.isArray(stats?.backends)) throw new TypeError('stats() returned no list of backends')
      return stats
    } catch (error) {
      this.#parts.onPoolThrew(error)
      return { backends: [] }
    }
  }

  /** From now on these. @param isNew for other threads, too: those that this one did not know come into the balance now. */
  replace(backends: readonly Backend[], isNew = true): void {
    const before = new Map(this.#backends.map((backend) => [backend.id, backend]))
    for (const backend of backends)
      if (isNew && before.get(backend.id)?.isSame(backend) !== true) this.#beginSlowly(backend)
    this.#backends = backends
    this.#hasBasePaths = backends.some(hasBasePath)
    const now = new Set(backends)
    for (const backend of this.#returns.keys()) if (!now.has(backend)) this.#forgetReturn(backend)
    try {
      catchRejection(this.#parts.balancer.onChange?.(backends), this.#parts.onBalancerThrew)
    } catch (error) {
      this.#parts.onBalancerThrew(error)
    }
    this.changed()
    // An ejection that an object with other TLS settings has taken over ends in time, although nobody may look.
    this.#refresh()
    if (this.#leads) this.#watchAll()
  }

  /** Tells every thread that who is available may have changed. Here it counts at once, also for those that wait. */
  changed(): void {
    const { cells } = this.#parts
    cells.addChange()
    queueMicrotask(() => {
      if (cells.changes !== this.#changes) this.#refresh()
    })
  }

  /**
   * Has the balancer pick and counts the attempt. Where another thread picks at the same moment, each would not know of
   * the other's choice, so that one of them picks again, for balancers that are exact.
   * @returns `null` where no backend is available.
   * @throws what the balancer throws.
   */
  take(tried: readonly Backend[], exchange: ExchangeView): Backend | null {
    const { cells } = this.#parts
    for (let tries = 1; ; tries++) {
      const turn = this.#takesTurns ? cells.turn : 0
      const candidates = this.candidates(tried)
      if (candidates === null) return null
      const backend = this.#pick(candidates, exchange)
      backend.cells.addPending(1)
      if (!this.#takesTurns || cells.endTurn(turn) || tries === MAX_TURNS) return backend
      backend.cells.addPending(-1)
    }
  }

  #pick(candidates: Candidates, exchange: ExchangeView): Backend {
    const backend = this.#ask(candidates, exchange)
    if (this.#parts.slowStartMs === 0 || candidates.length === 1) return backend
    const now = this.#parts.clock.now()
    if (this.#grown(backend, now) === 1) return backend
    const others = this.#othersByLot(backend, candidates, now)
    return others === null ? backend : this.#ask(others, exchange)
  }

  #ask(candidates: Candidates, exchange: ExchangeView): Backend {
    const backend = this.balancer.pick(candidates, exchange)
    // Among what is available by one look-up: there may be thousands.
    const isOne = candidates === this.#available ? this.#known.has(backend) : candidates.includes(backend)
    if (!isOne) {
      assertSync(backend)
      throw new TypeError('pick() returned what is none of its candidates')
    }
    return backend
  }

  /**
   * Slow start: of what would go to a backend that has just come, a share that grows with its time stays with it, and the rest
   * goes on to the others. What counts is its age in relation to the oldest candidate's: where all have come together, none is
   * to be favoured.
   * Source: Envoy's slow start (slow_start.rst: aggression 1, min_weight_percent 10), which scales weights; by lot it holds for
   * balancers that know of no weights, too.
   * @returns those that have had their lot drawn in place of `young`, or `null` where it keeps what it got.
   */
  #othersByLot(young: Backend, candidates: Candidates, now: number): Candidates | null {
    const { clock } = this.#parts
    const grown = candidates.map((backend) => this.#grown(backend, now))
    const most = grown.reduce((max, one) => Math.max(max, one), 0)
    const isDrawn = (position: number): boolean => {
      const one = grown[position] ?? 1
      return one >= most || clock.random() < one / most
    }
    if (isDrawn(candidates.indexOf(young))) return null
    // Each draws once, whatever the order in which the balancer would look at them; the oldest are always among them.
    const others = candidates.filter((backend, position) => backend !== young && isDrawn(position))
    return isNotEmpty(others) ? others : null
  }

  /** How much of its share a backend may have by its age, from {@link SLOW_START_MIN} to 1. */
  #grown({ cells }: Backend, now: number): number {
    const { slowStartMs } = this.#parts
    const agoMs = cells.returnedAgoMs(now)
    if (agoMs < slowStartMs) return Math.max(SLOW_START_MIN, agoMs / slowStartMs)
    // Times wrap after 24 days.
    if (agoMs !== Number.POSITIVE_INFINITY) cells.clearReturned()
    return 1
  }

  /**
   * Available backends that are not in `tried`; all available ones where each has been tried; `null` for none. Where every
   * backend that could be available is ejected, those count as available.
   */
  candidates(tried: readonly Backend[]): Candidates | null {
    if (this.#parts.cells.changes !== this.#changes) this.#refresh()
    const available = this.#available
    if (tried.length > 0) {
      const untried = available.filter((backend) => !tried.includes(backend))
      if (isNotEmpty(untried)) return untried
    }
    return isNotEmpty(available) ? available : null
  }

  /** Some available backend is not in `tried`. */
  hasUntried(tried: readonly Backend[]): boolean {
    if (this.#parts.cells.changes !== this.#changes) this.#refresh()
    return this.#available.some((backend) => !tried.includes(backend))
  }

  eject(backend: Backend, ms: number, reason: string): boolean {
    if (typeof ms !== 'number' || !(ms > 0 && ms <= LONGEST_MS)) {
      const given = typeof ms === 'number' ? ms : `a value of type ${typeof ms}`
      // Not thrown: a check that asks from a timer of its own would end the process.
      this.#parts.onThrew(
        new RangeError(`eject() was given ${given}; give a time in ms, over 0 and up to ${LONGEST_MS}`),
      )
      return false
    }
    if (!backend.isAvailable || !this.backends.includes(backend) || !this.#canSpare(1)) return false
    if (!backend.cells.eject(this.#parts.clock.now() + ms)) return false
    // Another thread may have ejected another one at the same moment, or taken one out.
    if (!this.#canSpare(0)) {
      backend.cells.uneject()
      this.changed()
      return false
    }
    this.changed()
    this.#refresh()
    this.#parts.onEject(backend, ms, reason)
    return true
  }

  setUnhealthy(backend: Backend, isUnhealthy: boolean, reason: string): void {
    const { cells } = backend
    if (cells.isUnhealthy === isUnhealthy || !this.backends.includes(backend)) return
    cells.isUnhealthy = isUnhealthy
    let isBack = false
    if (!isUnhealthy) {
      cells.clearFailures()
      isBack = cells.uneject()
      this.#beginSlowly(backend)
    }
    this.changed()
    this.#refresh()
    this.#parts.onHealth(backend, reason)
    if (isBack) this.#parts.onUneject(backend)
  }

  #beginSlowly({ cells }: Backend): void {
    if (this.#parts.slowStartMs > 0) cells.setReturned(this.#parts.clock.now())
  }

  /**
   * With `more` ejections there is still one backend available, and no more than the percentage are ejected. Backends that are
   * out for another reason count neither way: they carry nothing that the others could be spared for.
   */
  #canSpare(more: number): boolean {
    let eligible = 0
    let ejected = more
    for (const backend of this.#backends) {
      if (!backend.isEligible) continue
      eligible++
      if (backend.isEjected) ejected++
    }
    return ejected < eligible && ejected * 100 <= this.#parts.maxEjectedPercent * eligible
  }

  close(): void {
    for (const backend of this.#returns.keys()) this.#forgetReturn(backend)
    this.#cancelLead()
    this.#leads = false
    this.#unwatch(() => true)
    this.#parts.cells.unlead()
  }

  /** One thread looks after the backends for all. */
  #lead(): void {
    const { cells, clock, isShared } = this.#parts
    this.#leads = !isShared || cells.lead(clock.now(), LEASE_MS)
    if (this.#leads) this.#watchAll()
    else this.#unwatch(() => true)
    if (isShared) this.#cancelLead = clock.schedule(LEAD_MS, () => this.#lead())
  }

  #watchAll(): void {
    const { healthCheck, onThrew } = this.#parts
    this.#unwatch((backend) => !this.#backends.includes(backend))
    for (const backend of this.#backends) {
      if (this.#watches.has(backend)) continue
      try {
        const stop: unknown = healthCheck?.watch?.(backend, this) ?? nothing
        // Whatever it is, it watches: it must not be asked to again and again.
        this.#watches.set(backend, typeof stop === 'function' ? (stop as () => void) : nothing)
        catchRejection(stop, onThrew)
        if (typeof stop !== 'function') throw new TypeError('watch() returned no function that stops it')
      } catch (error) {
        onThrew(error)
      }
    }
  }

  #unwatch(isOver: (backend: Backend) => boolean): void {
    for (const [backend, stop] of this.#watches) {
      if (!isOver(backend)) continue
      this.#watches.delete(backend)
      try {
        catchRejection(stop(), this.#parts.onThrew)
      } catch (error) {
        this.#parts.onThrew(error)
      }
    }
  }

  /** Every thread that knows of an ejection waits for its end, since the one that began it may die; the first ends it. */
  #awaitReturn(backend: Backend): void {
    const { clock } = this.#parts
    const leftMs = backend.cells.ejectionLeftMs(clock.now())
    // The thread that began it has died, and no other has looked since.
    if (leftMs <= 0) return this.#return(backend)
    if (this.#returns.has(backend)) return
    this.#returns.set(
      backend,
      clock.schedule(leftMs, () => {
        this.#returns.delete(backend)
        this.#return(backend)
        this.#refresh()
      }),
    )
  }

  /** Not where another thread was first, nor where it was ejected again meanwhile. */
  #return(backend: Backend): void {
    if (!backend.cells.endEjection(this.#parts.clock.now())) return
    this.#beginSlowly(backend)
    this.changed()
    this.#parts.onUneject(backend)
  }

  #forgetReturn(backend: Backend): void {
    this.#returns.get(backend)?.()
    this.#returns.delete(backend)
  }

  #refresh(): void {
    // Read before the states: what changes meanwhile is seen the next time.
    this.#changes = this.#parts.cells.changes
    for (const backend of this.#backends) if (backend.isEjected) this.#awaitReturn(backend)
    const before = this.#known
    const available = this.#backends.filter((backend) => backend.isAvailable)
    // None is left, since others have gone after the ejection: those that failed lately are better than a sure 503.
    this.#available = available.length > 0 ? available : this.#backends.filter((backend) => backend.isEligible)
    this.#known = new Set(this.#available)
    this.#repick(before)
  }

  /** Has those who wait for a connection pick again, where that is better for them. */
  #repick(before: ReadonlySet<Backend>): void {
    const { pool } = this
    if (pool.repick === undefined) return
    const available = this.#known
    const isOut = (backend: Backend): boolean => {
      if (available.has(backend)) return false
      // Where no other is left, one that fails may still answer; one that an operator has taken out will not.
      return available.size > 0 || !(backend.isUnhealthy || backend.isEjected) || isTakenOut(backend)
    }
    const hasMore = this.#available.some((backend) => !before.has(backend))
    try {
      catchRejection(pool.repick(isOut, hasMore), this.#parts.onPoolThrew)
    } catch (error) {
      this.#parts.onPoolThrew(error)
    }
  }
}

function nothing(): void {}

function hasBasePath({ basePath }: Backend): boolean {
  return basePath !== ''
}

/** By an operator's word, not by what is known of its health. */
function isTakenOut({ isDraining, isDisabled, weight }: Backend): boolean {
  return isDraining || isDisabled || weight === 0
}

function isNotEmpty(backends: readonly Backend[]): backends is Candidates {
  return backends.length > 0
}
