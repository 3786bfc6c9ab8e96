import type { Logger } from '../contracts/logger.ts'

/** Logs nothing: the default of a library. */
export function silentLogger(): Logger {
  return { debug: nothing, info: nothing, warn: nothing, error: nothing }
}

function nothing(): void {}
