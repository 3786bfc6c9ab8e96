import type { Affinity } from '../contracts/affinity.ts'
import type { Balancer, Candidates } from '../contracts/balancer.ts'
import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Pool, PoolStats } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { Backend } from '../model/backend.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { HeaderView } from '../model/header-view.ts'
import { assertSync, catchRejection } from '../runtime/callbacks.ts'
import { LONGEST_MS } from '../runtime/clock.ts'
import type { Span } from '../runtime/span.ts'
import { Availability } from './availability.ts'
import { isNotEmpty, untriedOf } from './candidates.ts'
import type { GroupDeps } from './group-deps.ts'
import { Leadership } from './leadership.ts'
import { guarded, ownerOf } from './owner.ts'
import { poolStats, repick } from './pool-calls.ts'
import { SlowStart } from './slow-start.ts'

/** Most picks for one attempt, if another thread picks at the same time. */
const MAX_PICKS = 4
/** Up to this many candidates, a retry gets a filtered array of untried ones. Above, filtering would cost more than the pick. */
const FEW = 256

/** A group of backends in use: chooses the backend of an attempt ({@link take}), and carries out decisions of the health check. */
export class Group implements HealthControl {
  readonly name: string
  readonly balancer: Balancer
  readonly affinity: Affinity | null
  readonly pool: Pool
  readonly healthCheck: HealthCheck | null
  readonly retry: RetryPolicy | null
  readonly #deps: GroupDeps
  readonly #availability: Availability
  readonly #slowStart: SlowStart
  readonly #leadership: Leadership
  /** A pick that collides with one of another thread is repeated. */
  readonly #isExact: boolean
  readonly #stopListening: () => void
  #backends: readonly Backend[]
  #hasBasePaths: boolean
  #exchanges = 0
  #onUnused: (() => void) | null = null

  constructor(deps: GroupDeps) {
    const { name, backends, balancer, affinity, pool, healthCheck, retry, clock, state, isShared } = deps
    this.name = name
    this.balancer = balancer
    this.affinity = affinity
    this.pool = pool
    this.healthCheck = healthCheck
    this.retry = retry
    this.#deps = deps
    this.#isExact = isShared && balancer.isExact === true
    this.#backends = backends
    this.#hasBasePaths = backends.some(hasBasePath)
    this.#slowStart = new SlowStart(deps.slowStartMs, clock)
    catchRejection(balancer.onChange?.(backends), deps.onBalancerThrew)
    const { maxEjectedPercent, onThrew } = deps
    const onReturn = (backend: Backend): void => this.#slowStart.begin(backend)
    const onUneject = (backend: Backend): void => deps.onUneject(backend)
    const again: NonNullable<Pool['repick']> = (...args) => repick(pool, deps.onPoolThrew, ...args)
    const availability = { state, clock, maxEjectedPercent, onReturn, onUneject, repick: again }
    this.#availability = new Availability(availability, backends)
    this.#leadership = new Leadership({ healthCheck, control: this, state, clock, isShared, onThrew }, backends)
    // Exchanges that wait here must notice changes of other threads, even if no new exchange arrives.
    this.#stopListening = state.onChange(() => this.#availability.sync())
  }

  get backends(): readonly Backend[] {
    return this.#backends
  }

  /** Some backend's URL has a path, which goes before the path of each request. */
  get hasBasePaths(): boolean {
    return this.#hasBasePaths
  }

  /** Statistics of its pool; empty if a custom pool fails to return them. */
  poolStats(): PoolStats {
    return poolStats(this.pool, this.#deps.onPoolThrew)
  }

  /**
   * Replaces the backends.
   * @param isNew the change is new to all threads, so that added backends start now (slow start).
   * @param span the range that differs from before, in identity or in adopted settings.
   */
  replace(backends: readonly Backend[], isNew = true, span = wholeOf(this.#backends, backends)): void {
    const arrived = isNew ? backends.slice(span.start, span.end) : []
    const others = arrived.filter((backend) => !this.#availability.includes(backend))
    if (others.length > 0) {
      // A backend with other TLS settings is another object, but the same server.
      const before = new Map(this.#backends.map((backend) => [backend.id, backend]))
      for (const backend of others) if (before.get(backend.id)?.isSame(backend) !== true) this.#slowStart.begin(backend)
    }
    this.#backends = backends
    this.#hasBasePaths = backends.some(hasBasePath)
    try {
      catchRejection(this.balancer.onChange?.(backends), this.#deps.onBalancerThrew)
    } catch (error) {
      this.#deps.onBalancerThrew(error)
    }
    this.#availability.replace(backends, span)
    this.#leadership.replace(backends)
  }

  /** Notifies all threads that the availability of `backend`, or of any, may have changed. Here a change of `backend` counts at once. */
  changed(backend?: Backend): void {
    if (backend === undefined) this.#availability.allChanged()
    else this.#availability.changed(backend)
  }

  /**
   * Chooses the backend of an attempt, and counts it as pending there. The affinity's choice comes before the balancer's.
   * If two threads pick at the same moment, neither knows of the other's choice. With an exact balancer, one of them then repeats
   * its pick.
   * @returns `null` if no backend is available.
   * @throws any error of the affinity or the balancer.
   */
  take(tried: readonly Backend[], exchange: ExchangeView): Backend | null {
    const { affinity } = this
    const owner = affinity === null ? null : ownerOf(affinity, exchange, this.#backends, this.#availability)
    if (owner === 'refused') return null
    if (owner !== null) {
      owner.state.addPending(1)
      return owner
    }
    const { state } = this.#deps
    for (let picks = 1; ; picks++) {
      const version = this.#isExact ? state.pickVersion : 0
      const backend = this.#choose(tried, exchange)
      if (backend === null) return null
      backend.state.addPending(1)
      if (!this.#isExact || state.tryCommit(version) || picks === MAX_PICKS) return backend
      backend.state.addPending(-1)
    }
  }

  /** Lets the affinity add to the response the data by which it will recognise the client. @throws any error of the affinity. */
  bind(backend: Backend, response: HeaderView, exchange: ExchangeView): void {
    const { affinity } = this
    if (affinity !== null) guarded(affinity, () => assertSync(affinity.bind(backend, response, exchange)))
  }

  #choose(tried: readonly Backend[], exchange: ExchangeView): Backend | null {
    const all = this.#availability.list
    if (!isNotEmpty(all)) return null
    if (tried.length === 0 || !this.#availability.hasUntried(tried)) return this.#pick(all, exchange)
    if (all.length > FEW && this.balancer.pickUntried !== undefined) {
      const backend = this.balancer.pickUntried(all, tried, exchange)
      if (!this.#availability.isOne(backend, all) || tried.includes(backend)) throw notCandidate('pickUntried', backend)
      if (!this.#slowStart.isYoung(backend)) return backend
    }
    return this.#pick(untriedOf(all, tried) ?? all, exchange)
  }

  #pick(candidates: Candidates, exchange: ExchangeView): Backend {
    const backend = this.#ask(candidates, exchange)
    if (candidates.length === 1 || !this.#slowStart.isYoung(backend)) return backend
    const others = this.#slowStart.othersByLot(backend, candidates)
    return others === null ? backend : this.#ask(others, exchange)
  }

  #ask(candidates: Candidates, exchange: ExchangeView): Backend {
    const backend = this.balancer.pick(candidates, exchange)
    if (!this.#availability.isOne(backend, candidates)) throw notCandidate('pick', backend)
    return backend
  }

  /**
   * The available backends that are not in `tried`; all of them if each was tried; `null` for none. If every eligible
   * backend is ejected, those count as available.
   */
  candidates(tried: readonly Backend[]): Candidates | null {
    return untriedOf(this.#availability.list, tried)
  }

  /** Whether some available backend is not in `tried`. */
  hasUntried(tried: readonly Backend[]): boolean {
    return this.#availability.hasUntried(tried)
  }

  eject(backend: Backend, ms: number, reason: string): boolean {
    if (typeof ms !== 'number' || !(ms > 0 && ms <= LONGEST_MS)) {
      const given = typeof ms === 'number' ? ms : `a value of type ${typeof ms}`
      // Not thrown: in a health check's own timer, an exception would end the process.
      this.#deps.onThrew(
        new RangeError(`eject() was given ${given}; give a time in ms, over 0 and up to ${LONGEST_MS}`),
      )
      return false
    }
    if (!this.#availability.eject(backend, ms)) return false
    this.#deps.onEject(backend, ms, reason)
    return true
  }

  setUnhealthy(backend: Backend, isUnhealthy: boolean, reason: string): void {
    const { state } = backend
    if (state.isUnhealthy === isUnhealthy || !this.#availability.includes(backend)) return
    state.isUnhealthy = isUnhealthy
    let isBack = false
    if (!isUnhealthy) {
      state.clearFailures()
      isBack = state.uneject()
      this.#slowStart.begin(backend)
    }
    this.#availability.changed(backend)
    this.#deps.onHealth(backend, reason)
    if (isBack) this.#deps.onUneject(backend)
  }

  /** An exchange starts to use the group. It may ask for backends until {@link leave}. */
  enter(): void {
    this.#exchanges++
  }
  leave(): void {
    this.#exchanges--
    if (this.#exchanges === 0) this.#onUnused?.()
  }

  /** Closes the group, which no exchange enters any more. Resolves when the last one has left. */
  async retire(): Promise<void> {
    this.close()
    if (this.#exchanges === 0) return
    await new Promise<void>((resolve) => {
      this.#onUnused = resolve
    })
  }

  /** Stops its timers, listeners and probes. Exchanges may still ask for backends. */
  close(): void {
    this.#stopListening()
    this.#availability.close()
    this.#leadership.close()
  }
}

function wholeOf(before: readonly unknown[], after: readonly unknown[]): Span {
  return { start: 0, end: after.length, endBefore: before.length }
}

function notCandidate(method: string, returned: unknown): TypeError {
  assertSync(returned)
  return new TypeError(`${method}() returned something that is not one of its candidates`)
}

function hasBasePath({ basePath }: Backend): boolean {
  return basePath !== ''
}
