import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Backend } from '../model/backend.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import type { Clock } from '../runtime/clock.ts'
import type { GroupState } from '../runtime/group-state.ts'

/** How often the thread that leads a group says so, and the others look whether one does, ms. */
const LEAD_MS = 1000
/** A thread that has not said for this long that it leads is dead, or as good as that. */
const LEASE_MS = 3 * LEAD_MS

/** What {@link Leadership} needs. */
export interface LeadershipDeps {
  readonly healthCheck: HealthCheck | null
  readonly control: HealthControl
  readonly state: GroupState
  readonly clock: Clock
  readonly isShared: boolean
  /** The health check threw. */
  onThrew(error: unknown): void
}

/** Of all threads that share a group one leads: in it the health check watches the backends, for all. */
export class Leadership {
  readonly #deps: LeadershipDeps
  #backends: readonly Backend[]
  /** Stop what the health check does by itself, while this thread leads. */
  readonly #watches = new Map<Backend, () => void>()
  #isLeader = false
  #cancelLook: () => void = nothing

  constructor(deps: LeadershipDeps, backends: readonly Backend[]) {
    this.#deps = deps
    this.#backends = backends
    if (deps.healthCheck?.watch !== undefined) this.#look()
  }

  /** From now on these are to be watched. */
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
        // Whatever was returned, it watches: it must not be asked to again and again.
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
