import { hash } from 'node:crypto'
import { checkWhole } from './option-checks.ts'

/** A bounded memory for {@link verdictCache}. */
export interface VerdictCache<Verdict> {
  /** The verdict of `key`, unless it has expired by `nowMs`. */
  get(key: string, nowMs: number): Verdict | undefined
  /** Remembers a verdict until `expiresAt`, on the same scale. The one that was not asked for longest goes if there is no room. */
  set(key: string, verdict: Verdict, expiresAt: number): void
  /** Forgets all. */
  clear(): void
}

/**
 * Remembers what an interceptor has found out about credentials, for a while. Keys are hashed (SHA-256): no credentials are kept, and
 * their length costs no memory.
 * @param maxEntries how many verdicts to remember; at least 1.
 */
export function verdictCache<Verdict>(maxEntries: number): VerdictCache<Verdict> {
  checkWhole('verdictCache', 'maxEntries', maxEntries, { least: 1, example: 10_000 })
  /** In the order of their last use. */
  const entries = new Map<string, { readonly verdict: Verdict; readonly expiresAt: number }>()
  return {
    get(key, nowMs) {
      const id = hash('sha256', key, 'base64')
      const entry = entries.get(id)
      if (entry === undefined) return undefined
      entries.delete(id)
      if (nowMs >= entry.expiresAt) return undefined
      entries.set(id, entry)
      return entry.verdict
    },
    set(key, verdict, expiresAt) {
      const id = hash('sha256', key, 'base64')
      entries.delete(id)
      if (entries.size >= maxEntries) entries.delete(entries.keys().next().value as string)
      entries.set(id, { verdict, expiresAt })
    },
    clear: () => entries.clear(),
  }
}
