/** Receives diagnostics, in pino's order of arguments: a `pino()` instance works unchanged, and so do most structured loggers. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
