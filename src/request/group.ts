import type { Balancer, Candidates } from '../contracts/balancer.ts'
import type { HealthCheck, HealthControl } from '../contracts/health-check.ts'
import type { Pool } from '../contracts/pool.ts'
import type { RetryPolicy } from '../contracts/retry-policy.ts'
import type { Backend } from '../model/backend.ts'
import type { Clock } from '../model/clock.ts'

/** The parts of a {@link Group}. */
export interface GroupParts {
  readonly name: string
  readonly backends: readonly Backend[]
  readonly balancer: Balancer
  readonly pool: Pool
  readonly healthCheck: HealthCheck | null
  /** Share of the group that may be ejected at one time, percent. */
  readonly maxEjectedPercent: number
  readonly retry: RetryPolicy | null
  readonly clock: Clock
  /** A backend was ejected for `ms`, or has come back. */
  onEject(backend: Backend, ms: number, reason: string): void
  onUneject(backend: Backend): void
}

/** A set of backends at work: who may be picked, and who is ejected. */
export class Group implements HealthControl {
  readonly name: string
  readonly backends: readonly Backend[]
  readonly balancer: Balancer
  readonly pool: Pool
  readonly healthCheck: HealthCheck | null
  readonly retry: RetryPolicy | null
  readonly #parts: GroupParts
  readonly #returns = new Map<Backend, () => void>()
  /** The same array until something changes, so that balancers can build on its identity. */
  #available: readonly Backend[]

  constructor(parts: GroupParts) {
    this.name = parts.name
    this.backends = parts.backends
    this.balancer = parts.balancer
    this.pool = parts.pool
    this.healthCheck = parts.healthCheck
    this.retry = parts.retry
    this.#parts = parts
    this.#available = parts.backends.filter((backend) => backend.isAvailable)
    parts.balancer.onChange?.(parts.backends)
  }

  /** Available backends that are not in `tried`; all available ones where each has been tried; `null` for none. */
  candidates(tried: readonly Backend[]): Candidates | null {
    const available = this.#available
    if (tried.length > 0) {
      const untried = available.filter((backend) => !tried.includes(backend))
      if (isNotEmpty(untried)) return untried
    }
    return isNotEmpty(available) ? available : null
  }

  /** Some available backend is not in `tried`. */
  hasUntried(tried: readonly Backend[]): boolean {
    return this.#available.some((backend) => !tried.includes(backend))
  }

  eject(backend: Backend, ms: number, reason: string): boolean {
    if (backend.isEjected || !this.backends.includes(backend)) return false
    const ejected = this.backends.filter((other) => other.isEjected).length
    if (((ejected + 1) * 100) / this.backends.length > this.#parts.maxEjectedPercent) return false
    backend.cells.eject(this.#parts.clock.now() + ms)
    this.#refresh()
    this.#returns.set(
      backend,
      this.#parts.clock.schedule(ms, () => this.#uneject(backend)),
    )
    this.#parts.onEject(backend, ms, reason)
    return true
  }

  close(): void {
    for (const cancel of this.#returns.values()) cancel()
    this.#returns.clear()
  }

  #uneject(backend: Backend): void {
    this.#returns.delete(backend)
    backend.cells.uneject()
    this.#refresh()
    this.#parts.onUneject(backend)
  }

  #refresh(): void {
    this.#available = this.backends.filter((backend) => backend.isAvailable)
  }
}

function isNotEmpty(backends: readonly Backend[]): backends is Candidates {
  return backends.length > 0
}
