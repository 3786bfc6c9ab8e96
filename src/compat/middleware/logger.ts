import type { Logger } from './types.ts'

/** Logs nothing. */
export const silent: Logger = { info() {}, warn() {}, error() {} }
