import type { ThreadChange, ThreadStats } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { catchRejection, warnAbout } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Batch, ProxyObserver } from './protocol.ts'

/** Lines for standard output that wait to be read, bytes; what comes on top is dropped and counted. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

/** Where what threads report goes: the logger, the observer, standard output. What these throw is logged. */
export class ThreadReports {
  readonly #logger: Logger | undefined
  readonly #observer: ProxyObserver
  /** Lines for standard output that nobody read, since the last that somebody did. */
  #dropped = 0

  constructor(logger: Logger | undefined, observer: ProxyObserver | undefined) {
    this.#logger = logger
    this.#observer = observer ?? {}
  }

  /** What a thread has collected. */
  batch(thread: number, { logs, lines, events }: Batch): void {
    const observer = this.#observer
    for (const { level, fields, message } of logs) this.log(level, { ...fields, thread }, message)
    if (lines.length > 0) {
      if (observer.onLines !== undefined) this.#notify(() => observer.onLines?.(lines))
      else this.#print(lines)
    }
    for (const event of events) this.#notify(() => observer.onEvent?.(event))
  }

  /** A change in a thread's life. A death has a line of its own in the log. */
  changed(what: ThreadChange['what'], reason: string, serving: number, stats: ThreadStats): void {
    const { thread } = stats
    if (what !== 'died') this.log('info', { thread, serving }, `thread ${thread} ${what}: ${reason}`)
    this.#notify(() => this.#observer.onThread?.({ thread, what, reason, serving, stats }))
  }

  /** Dead threads are not replaced any more. @returns whether somebody was notified. */
  failed(error: Error): boolean {
    if (this.#observer.onFailed === undefined) return false
    this.#notify(() => this.#observer.onFailed?.(error))
    return true
  }

  /** A logger of the application's own may throw. */
  log(level: keyof Logger, fields: object, message: string): void {
    try {
      catchRejection(this.#logger?.[level](fields, message), warnAbout('the logger'))
    } catch (error) {
      warnAbout('the logger')(error)
    }
  }

  #notify(call: () => unknown): void {
    const threw = (error: unknown): void =>
      this.log('error', { err: error }, `an observer of the threads threw: ${describeError(error)}`)
    try {
      catchRejection(call(), threw)
    } catch (error) {
      threw(error)
    }
  }

  /** Standard output that nobody reads must not fill the memory. */
  #print(lines: readonly string[]): void {
    if (process.stdout.writableLength > MAX_WAITING_BYTES) {
      this.#dropped += lines.length
      return
    }
    const dropped = this.#dropped
    this.#dropped = 0
    process.stdout.write(`${lines.join('\n')}\n`)
    if (dropped > 0) this.log('warn', { dropped }, `${dropped} access log lines were lost: nobody read them`)
  }
}
