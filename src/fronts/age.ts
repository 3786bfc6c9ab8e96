import type { Core } from '../exchange/services.ts'

/**
 * When a client's connection that begins now is old, on the clock's `now()` scale; `Infinity`: never. Give or take a tenth: connections
 * that have begun together (after a restart) do not end together.
 */
export function lastAt({ services, snapshot }: Core): number {
  const { maxConnectionAgeMs } = snapshot.limits
  if (maxConnectionAgeMs === 0) return Number.POSITIVE_INFINITY
  return services.clock.now() + maxConnectionAgeMs * (0.9 + 0.2 * services.clock.random())
}
