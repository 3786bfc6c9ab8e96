import type { ThreadChange, ThreadStats } from '../contracts/executor.ts'
import type { Logger } from '../contracts/logger.ts'
import { catchRejection, warnAbout } from '../runtime/callbacks.ts'
import { describeError } from '../runtime/describe-error.ts'
import type { Batch, ProxyObserver } from './protocol.ts'

/** Bound of the buffer of standard output. Lines beyond it are dropped and counted. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

/** Sends the reports of threads to the logger, the observer and standard output. An error that these throw is logged. */
export class ThreadReports {
  readonly #logger: Logger | undefined
  readonly #observer: ProxyObserver
  /** Lines dropped since the last one that was written to standard output. */
  #dropped = 0

  constructor(logger: Logger | undefined, observer: ProxyObserver | undefined) {
    this.#logger = logger
    this.#observer = observer ?? {}
  }

  /** Log lines and events of a thread. */
  batch(thread: number, { logs, lines, events }: Batch): void {
    const observer = this.#observer
    for (const { level, fields, message } of logs) this.log(level, { ...fields, thread }, message)
    if (lines.length > 0) {
      if (observer.onLines !== undefined) this.#notify(() => observer.onLines?.(lines))
      else this.#print(lines)
    }
    for (const event of events) this.#notify(() => observer.onEvent?.(event))
  }

  /** A thread has started, retires, has ended or died. The supervisor logs a death itself. */
  changed(what: ThreadChange['what'], reason: string, serving: number, stats: ThreadStats): void {
    const { thread } = stats
    if (what !== 'died') this.log('info', { thread, serving }, `thread ${thread} ${what} (${reason})`)
    this.#notify(() => this.#observer.onThread?.({ thread, what, reason, serving, stats }))
  }

  /** Dead threads are not replaced any more. @returns whether the observer was notified. */
  failed(error: Error): boolean {
    if (this.#observer.onFailed === undefined) return false
    this.#notify(() => this.#observer.onFailed?.(error))
    return true
  }

  /** Logs a line. The logger of the application may throw. */
  log(level: keyof Logger, fields: object, message: string): void {
    try {
      catchRejection(this.#logger?.[level](fields, message), warnAbout('the logger'))
    } catch (error) {
      warnAbout('the logger')(error)
    }
  }

  #notify(call: () => unknown): void {
    const onThrew = (error: unknown): void =>
      this.log('error', { err: error }, `an observer of the threads threw: ${describeError(error)}`)
    try {
      catchRejection(call(), onThrew)
    } catch (error) {
      onThrew(error)
    }
  }

  /** Writes to standard output. If nobody reads it, it must not fill the memory. */
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
