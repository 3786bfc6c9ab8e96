import type { Logger } from '../contracts/logger.ts'

/** Logs nothing, for unit tests. */
export function silentLogger(): Logger {
  return { debug: nothing, info: nothing, warn: nothing, error: nothing }
}

function nothing(): void {}
