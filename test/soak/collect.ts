import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Collects all garbage there is, and lets finalizers run. @returns bytes of heap and buffers in use. */
export async function collectGarbage(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  for (let i = 0; i < 4; i++) {
    // What a WeakRef was asked for, or made of, lives to the end of the turn.
    await setImmediate()
    gc()
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** Objects that should be garbage by the time that {@link alive} is asked. */
export interface Watched {
  add(object: object): void
  /** After {@link collectGarbage}: how many are still held by somebody. */
  alive(): number
}

export function watchGarbage(): Watched {
  const refs: WeakRef<object>[] = []
  return {
    add: (object) => void refs.push(new WeakRef(object)),
    alive: () => refs.filter((ref) => ref.deref() !== undefined).length,
  }
}
