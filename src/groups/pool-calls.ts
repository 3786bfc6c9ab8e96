import type { Pool, PoolStats } from '../contracts/pool.ts'
import type { Backend } from '../model/backend.ts'
import { assertSync, catchRejection } from '../runtime/callbacks.ts'

/*
 * Calls of a pool, which may be custom code. They never throw: errors go to `onThrew`.
 */

type OnThrew = (error: unknown) => void

/** The statistics of a pool; empty if it fails to return them. */
export function poolStats(pool: Pool, onThrew: OnThrew): PoolStats {
  try {
    const stats = pool.stats()
    assertSync(stats)
    if (!Array.isArray(stats?.backends)) throw new TypeError('stats() returned no list of backends')
    return stats
  } catch (error) {
    onThrew(error)
    return { backends: [] }
  }
}

/** See {@link Pool.repick}. */
export function repick(pool: Pool, onThrew: OnThrew, ...args: Parameters<NonNullable<Pool['repick']>>): void {
  if (pool.repick === undefined) return
  try {
    catchRejection(pool.repick(...args), onThrew)
  } catch (error) {
    onThrew(error)
  }
}

/** Drains backends in the background, since running exchanges may take long. */
export function drainPool(pool: Pool, backends: readonly Backend[], onThrew: OnThrew): void {
  for (const backend of backends) {
    try {
      catchRejection(pool.drain(backend), onThrew)
    } catch (error) {
      onThrew(error)
    }
  }
}

/** Ends all connections of a pool. Resolves when they are closed. */
export async function closePool(pool: Pool, onThrew: OnThrew): Promise<void> {
  try {
    catchRejection(pool.destroy(), onThrew)
  } catch (error) {
    onThrew(error)
  }
  try {
    await pool.close()
  } catch (error) {
    onThrew(error)
  }
}
