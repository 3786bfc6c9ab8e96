import { describeError } from '../runtime/describe-error.ts'
import { CrashGuard } from './crash-guard.ts'
import type { Thread } from './handle.ts'
import type { ThreadSettings } from './settings.ts'

/** What becomes of a thread that has died. */
export interface ReplacementsOwner {
  /** Its time has come; not if it is not missing any more. */
  startMissing(reason: string): void
  /** Threads die one after another: none is replaced any more. */
  giveUp(error: Error): void
}

/** Replaces threads that have died, each after its wait, until they die one after another. */
export class Replacements {
  readonly #settings: ThreadSettings
  readonly #owner: ReplacementsOwner
  readonly #guard: CrashGuard
  /** Of those that wait. */
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

  /** Other code runs now: earlier deaths say nothing of it. */
  forget(): void {
    this.#guard.forget()
  }

  close(): void {
    for (const cancel of this.#cancels) cancel()
  }
}
