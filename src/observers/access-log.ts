import type { Logger } from '../contracts/logger.ts'
import type { Observer } from '../contracts/observer.ts'
import type { ProxyError } from '../model/errors.ts'
import type { ExchangeView } from '../model/exchange-view.ts'
import type { ExchangeRecord } from '../model/record.ts'
import { catchRejection } from '../runtime/callbacks.ts'
import type { Clock } from '../runtime/clock.ts'
import { describeError } from '../runtime/describe-error.ts'
import { recordFormatter } from './record-formatter.ts'

/** Writes lines in batches; a `LineWriter` of loggers/ is one. */
export interface BatchWriter {
  write(line: string): void
  readonly dropped: number
  flush(): Promise<void>
}

/** Dependencies of {@link openAccessLog}. */
export interface AccessLogDeps {
  readonly format: 'common' | 'combined' | 'json'
  /** A function of the application that takes the lines; `null`: they go to standard output. */
  readonly write: ((line: string) => void) | null
  /** Creates the writer for standard output. @param onError called for each lost batch. */
  readonly openStandardOutput: (onError: (error: Error) => void) => BatchWriter
  readonly clock: Clock
  readonly logger: Logger
  /** How long {@link AccessLog.close} waits for standard output, ms. */
  readonly closeTimeoutMs: number
}

/** Writes one line for each exchange, and for each request that was refused before an exchange began. */
export interface AccessLog extends Observer {
  /** Writes a line that a thread has made. */
  writeLine(line: string): void
  close(): Promise<void>
}

/**
 * Interval of the log messages about lost lines, ms: closed standard output fails for each batch, ten times a second. All lost
 * lines are counted at the end.
 */
const QUIET_MS = 60_000

/** Opens an access log. Standard output that nobody reads must neither stop the proxy nor keep it from closing. */
export function openAccessLog(deps: AccessLogDeps): AccessLog {
  const format = recordFormatter(deps.format)
  const { writeLine, close } = deps.write === null ? standardOutput(deps) : given(deps.write, deps.logger)
  return {
    name: 'access-log',
    onFinish: (_exchange: ExchangeView, record: ExchangeRecord) => writeLine(format(record)),
    onRefusal: (_error: ProxyError, record: ExchangeRecord) => writeLine(format(record)),
    writeLine,
    close,
  }
}

function given(write: (line: string) => void, logger: Logger): Pick<AccessLog, 'writeLine' | 'close'> {
  const note = (error: unknown): void => logger.error({ err: error }, `the access log threw: ${describeError(error)}`)
  return {
    writeLine(line) {
      try {
        catchRejection(write(line), note)
      } catch (error) {
        note(error)
      }
    },
    close: () => Promise.resolve(),
  }
}

function standardOutput(deps: AccessLogDeps): Pick<AccessLog, 'writeLine' | 'close'> {
  const { clock, logger, openStandardOutput, closeTimeoutMs } = deps
  let loggedAt = Number.NEGATIVE_INFINITY
  const writer = openStandardOutput((error) => {
    const now = clock.now()
    if (now - loggedAt < QUIET_MS) return
    loggedAt = now
    logger.warn({ err: error }, `access log lines were lost: ${describeError(error)}`)
  })
  return {
    writeLine: (line) => writer.write(line),
    async close() {
      await Promise.race([writer.flush(), new Promise<void>((resolve) => clock.schedule(closeTimeoutMs, resolve))])
      if (writer.dropped > 0) logger.warn({ dropped: writer.dropped }, `${writer.dropped} access log lines were lost`)
    },
  }
}
