import type { Clock } from './clock.ts'

/** Time between two checks, ms. */
const CHECK_MS = 20

/** Resolves when `isTrue` returns `true`: for conditions that another thread can change without a notice. */
export async function until(clock: Clock, isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise<void>((resolve) => clock.schedule(CHECK_MS, resolve))
}
