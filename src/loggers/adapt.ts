import type { Logger } from '../contracts/logger.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'

/** A logger that takes the message first and the fields after it: `console`, and with it winston, consola, log4js. */
export interface ConsoleLike {
  log(...args: unknown[]): void
  debug?(...args: unknown[]): void
  info(...args: unknown[]): void
  warn(...args: unknown[]): void
  error(...args: unknown[]): void
}

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/**
 * Makes a {@link Logger} of what an application has.
 *
 * The two families differ in the order of arguments, which cannot be asked for. They can be told apart by `log`:
 * all that take the message first have that method (console, winston, consola, log4js), and none that take the fields
 * first do (pino, bunyan, fastify's). A pino with a custom level called `log` is known by its `bindings()`.
 *
 * What a logger throws, or a promise of it rejects with, never reaches the caller; a process warning tells the first
 * such failure. `debug` may be missing.
 * @throws TypeError for what has no `info`, `warn` and `error`.
 */
export function toLogger(value: Logger | ConsoleLike): Logger {
  const given = value as unknown as Partial<Record<string, unknown>> | null | undefined
  for (const level of ['info', 'warn', 'error']) {
    if (typeof given?.[level] !== 'function') {
      throw new TypeError(`a logger needs ${level}(); use pino(), console, 'console' or 'silent'`)
    }
  }
  const tell = reportOnce()
  const takesMessageFirst = typeof given?.log === 'function' && typeof given.bindings !== 'function'
  const [debug, info, warn, error] = LEVELS.map((level): Logger['info'] => {
    if (typeof given?.[level] !== 'function') return nothing
    const target = value as Record<typeof level, (...args: unknown[]) => unknown>
    // Looked up at each call: tests and tracers replace `console.info`, pino its methods when the level changes.
    return (fields, message) => {
      try {
        const returned = takesMessageFirst ? target[level](message, fields) : target[level](fields, message)
        catchRejection(returned, tell)
      } catch (failure) {
        tell(failure)
      }
    }
  }) as [Logger['debug'], Logger['info'], Logger['warn'], Logger['error']]
  return { debug, info, warn, error }
}

function reportOnce(): (failure: unknown) => void {
  let isTold = false
  return (failure) => {
    if (isTold) return
    isTold = true
    process.emitWarning(`the logger failed and its line is lost: ${describeError(failure)}`, {
      code: 'HEDDLE_LOGGER_FAILED',
    })
  }
}

function nothing(): void {}
