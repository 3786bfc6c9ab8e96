import type { Logger } from '../contracts/logger.ts'

/** Says nothing: what a library should do until it is asked. */
export function silentLogger(): Logger {
  return { debug: nothing, info: nothing, warn: nothing, error: nothing }
}

function nothing(): void {}
