import type { ResolvedOptions } from '../config/options.ts'
import { lineWriter, recordFormatter } from '../loggers/index.ts'
import { describeError } from '../model/errors.ts'
import type { ExchangeRecord } from '../model/record.ts'
import { catchRejection } from '../runtime/callbacks.ts'

/** Where the records of exchanges go. What a function of the user's throws, or rejects with, is logged. */
export interface AccessLog {
  write(record: ExchangeRecord): void
  /** A line that a thread has made. */
  writeLine(line: string): void
  close(): Promise<void>
}

/** Standard output that is closed fails for each batch, ten times a second: it is told once in so long, ms, and counted at the end. */
const QUIET_MS = 60_000

/**
 * The access log of a proxy, or `null` for none. Standard output that nobody reads must neither stop the proxy nor keep it
 * from closing.
 * @param writeLine takes lines that are for standard output; `null`: they are written here.
 */
export function openAccessLog(
  { accessLog, clock, drainTimeoutMs, logger }: ResolvedOptions,
  writeLine: ((line: string) => void) | null,
): AccessLog | null {
  if (accessLog.format === 'off') return null
  const format = recordFormatter(accessLog.format)
  const given = accessLog.write ?? writeLine
  if (given !== null) {
    const tell = (error: unknown): void => logger.error({ err: error }, `the access log threw: ${describeError(error)}`)
    const write = (line: string): void => {
      try {
        catchRejection(given(line), tell)
      } catch (error) {
        tell(error)
      }
    }
    return { write: (record) => write(format(record)), writeLine: write, close: () => Promise.resolve() }
  }
  let toldAt = Number.NEGATIVE_INFINITY
  const writer = lineWriter(1, {
    onError(error) {
      const now = clock.now()
      if (now - toldAt < QUIET_MS) return
      toldAt = now
      logger.warn({ err: error }, `access log lines were lost: ${describeError(error)}`)
    },
  })
  return {
    write: (record) => writer.write(format(record)),
    writeLine: (line) => writer.write(line),
    async close() {
      await Promise.race([writer.flush(), new Promise<void>((resolve) => clock.schedule(drainTimeoutMs, resolve))])
      if (writer.dropped > 0) logger.warn({ dropped: writer.dropped }, `${writer.dropped} access log lines were lost`)
    },
  }
}
