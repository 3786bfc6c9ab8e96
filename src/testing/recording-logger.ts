import type { Logger } from '../contracts/logger.ts'

/** One call of a {@link recordingLogger}. */
export interface LogEntry {
  /** The method that was called. */
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  /** The object that was passed, not a copy. */
  readonly fields: Readonly<Record<string, unknown>>
  /** The text that was passed. */
  readonly message: string
}

/** A logger that records its calls. */
export interface RecordingLogger extends Logger {
  /** All calls so far, in order. */
  readonly entries: readonly LogEntry[]
  /** The messages of one level, or of all. */
  messages(level?: LogEntry['level']): string[]
  /** Removes all entries. */
  clear(): void
}

/** Creates a {@link RecordingLogger}. Its methods need no `this`. */
export function recordingLogger(): RecordingLogger {
  const entries: LogEntry[] = []
  const keep = (level: LogEntry['level']) => (fields: object, message: string) => {
    entries.push({ level, fields: fields as Record<string, unknown>, message })
  }
  return {
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
    entries,
    messages: (level) =>
      entries.filter((entry) => level === undefined || entry.level === level).map((entry) => entry.message),
    clear() {
      entries.length = 0
    },
  }
}
