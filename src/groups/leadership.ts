import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import type { Clock } from '../runtime/clock.ts'
import type { GroupState } from '../runtime/group-state.ts'

/** How often the leader of a group renews its lease, and other threads check for a leader, ms. */
const LEAD_MS = 1000
/** How long a lease is valid without renewal, ms. After that, the leader counts as dead. */
const LEASE_MS = 3 * LEAD_MS

/** The parts that {@link Leadership} uses. */
export interface LeadershipDeps {
  readonly healthCheck: HealthCheck | null
  readonly control: HealthControl
  readonly state: GroupState
  readonly clock: Clock
  readonly isShared: boolean
  /** The health check threw. */
  onThrew(error: unknown): void
}

/** Elects one leader among the threads that share a group. Only in the leader, the health check watches the backends. */
export class Leadership {
  readonly #deps: LeadershipDeps
  #backends: readonly Backend[]
  /** Functions that stop the health check's watch of a backend; empty unless this thread leads. */
  readonly #watches = new Map<Backend, () => void>()
  #isLeader = false
  #cancelLook: () => void = nothing

  constructor(deps: LeadershipDeps, backends: readonly Backend[]) {
    this.#deps = deps
    this.#backends = backends
    if (deps.healthCheck?.watch !== undefined) this.#look()
  }

  /** Sets the backends to watch. */
  replace(backends: readonly Backend[]): void {
    this.#backends = backends
    if (this.#isLeader) this.#watchAll()
  }

  close(): void {
    this.#cancelLook()
    this.#isLeader = false
    this.#unwatch(() => true)
    this.#deps.state.unlead()
  }

  #look(): void {
    const { state, clock, isShared } = this.#deps
    this.#isLeader = !isShared || state.lead(clock.now(), LEASE_MS)
    if (this.#isLeader) this.#watchAll()
    else this.#unwatch(() => true)
    if (isShared) this.#cancelLook = clock.schedule(LEAD_MS, () => this.#look())
  }

  #watchAll(): void {
    const { healthCheck, control, onThrew } = this.#deps
    const there = new Set(this.#backends)
    this.#unwatch((backend) => !there.has(backend))
    for (const backend of this.#backends) {
      if (this.#watches.has(backend)) continue
      try {
        const stop: unknown = healthCheck?.watch?.(backend, control) ?? nothing
        // Whatever it returned, it may be watching: do not call it for this backend a second time.
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
        catchRejection(stop(), this.#deps.onThrew)
      } catch (error) {
        this.#deps.onThrew(error)
      }
    }
  }
}

function nothing(): void {}
