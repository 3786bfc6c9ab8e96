import { describeError } from '../runtime/describe-error.ts'
import { CrashGuard } from './crash-guard.ts'
import type { Thread } from './handle.ts'
import type { ThreadSettings } from './settings.ts'

/** Callbacks of {@link Replacements}. */
export interface ReplacementsOwner {
  /** Starts a thread, unless there are enough. */
  startMissing(reason: string): void
  /** Threads died one after another and are not replaced any more. */
  giveUp(error: Error): void
}

/** Replaces threads that have died, each after a wait, unless they are in a crash loop. */
export class Replacements {
  readonly #settings: ThreadSettings
  readonly #owner: ReplacementsOwner
  readonly #guard: CrashGuard
  /** Cancel the replacements that are scheduled. */
  readonly #cancels = new Set<() => void>()

  constructor(settings: ThreadSettings, owner: ReplacementsOwner) {
    this.#settings = settings
    this.#owner = owner
    this.#guard = new CrashGuard(settings.maxCrashes)
  }

  replace(dead: Thread): void {
    const { clock, maxCrashes } = this.#settings
    const now = clock.now()
    const waitMs = this.#guard.onDeath(now, now - dead.servingSince)
    if (waitMs < 0) {
      const message = `${maxCrashes} threads died one after another and are not replaced any more; the last: ${describeError(dead.fault)}`
      return this.#owner.giveUp(new Error(message))
    }
    const cancel = clock.schedule(waitMs, () => {
      this.#cancels.delete(cancel)
      this.#owner.startMissing(`replaces thread ${dead.id}, which died`)
    })
    this.#cancels.add(cancel)
  }

  /** Forgets earlier crashes, because the threads run other code now. */
  reset(): void {
    this.#guard.reset()
  }

  close(): void {
    for (const cancel of this.#cancels) cancel()
  }
}
