import type { Logger } from '../contracts/logger.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'

/** A logger that takes the message first and the fields after it: `console`, winston, consola, log4js. */
export interface ConsoleLike {
  log(...args: unknown[]): void
  debug?(...args: unknown[]): void
  info(...args: unknown[]): void
  warn(...args: unknown[]): void
  error(...args: unknown[]): void
}

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/**
 * Makes a {@link Logger} from an application's logger.
 *
 * The two families of loggers differ in the order of arguments. The `log` method distinguishes them: loggers that take
 * the message first have it (console, winston, consola, log4js), and those that take the fields first do not (pino,
 * bunyan, fastify's). A pino with a custom level called `log` is recognised by its `bindings()`.
 *
 * An error that the logger throws, or rejects with, never reaches the caller. The first one is reported as a process
 * warning. `debug` may be missing.
 * @throws TypeError if `info`, `warn` or `error` is missing.
 */
export function toLogger(value: Logger | ConsoleLike): Logger {
  const logger = value as unknown as Partial<Record<string, unknown>> | null | undefined
  for (const level of ['info', 'warn', 'error']) {
    if (typeof logger?.[level] !== 'function') {
      throw new TypeError(`a logger needs ${level}(); use pino(), console, 'warnings', 'console' or 'silent'`)
    }
  }
  const report = reportOnce()
  const takesMessageFirst = typeof logger?.log === 'function' && typeof logger.bindings !== 'function'
  const [debug, info, warn, error] = LEVELS.map((level): Logger['info'] => {
    if (typeof logger?.[level] !== 'function') return nothing
    const target = value as Record<typeof level, (...args: unknown[]) => unknown>
    // Looks the method up at each call: tests and tracers replace `console.info`, and pino replaces its methods when
    // the level changes.
    return (fields, message) => {
      try {
        const returned = takesMessageFirst ? target[level](message, fields) : target[level](fields, message)
        catchRejection(returned, report)
      } catch (failure) {
        report(failure)
      }
    }
  }) as [Logger['debug'], Logger['info'], Logger['warn'], Logger['error']]
  return { debug, info, warn, error }
}

function reportOnce(): (failure: unknown) => void {
  let isReported = false
  return (failure) => {
    if (isReported) return
    isReported = true
    process.emitWarning(`the logger failed, and a log line is lost: ${describeError(failure)}`, {
      code: 'HEDDLE_LOGGER_FAILED',
    })
  }
}

function nothing(): void {}
