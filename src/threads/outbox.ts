import { inspect } from 'node:util'
import type { Logger } from '../contracts/logger.ts'
import type { PlainEvent } from './bridge.ts'
import type { Batch, LogEntry, ThreadedWork } from './protocol.ts'

/** How long messages are collected, ms. Under load a batch serves a few hundred requests. */
const BATCH_MS = 20

const SENT: Readonly<Record<ThreadedWork['logs'], readonly (keyof Logger)[]>> = {
  none: [],
  warnings: ['warn', 'error'],
  all: ['debug', 'info', 'warn', 'error'],
}

/** Sends a thread's log lines and events to the main thread in batches. */
export class Outbox {
  readonly #post: (batch: Batch) => void
  #logs: LogEntry[] = []
  #lines: string[] = []
  #events: PlainEvent[] = []
  #timer: NodeJS.Timeout | null = null

  constructor(post: (batch: Batch) => void) {
    this.#post = post
  }

  /** Sends diagnostics to the logger of the main thread. Lines that it would drop are not sent. */
  loggerOf(logs: ThreadedWork['logs']): Logger {
    const at = (level: keyof Logger): Logger['info'] =>
      SENT[logs].includes(level) ? (fields, message) => this.#log(level, fields, message) : nothing
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }

  /** Sends a line of the access log. */
  readonly writeLine = (line: string): void => {
    this.#lines.push(line)
    this.#sendSoon()
  }

  readonly addEvent = (event: PlainEvent): void => {
    this.#events.push(event)
    this.#sendSoon()
  }

  /** Sends the current batch at once. */
  readonly flush = (): void => {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    const [logs, lines, events] = [this.#logs, this.#lines, this.#events]
    if (logs.length + lines.length + events.length === 0) return
    this.#logs = []
    this.#lines = []
    this.#events = []
    this.#post({ type: 'batch', logs, lines, events })
  }

  #log(level: keyof Logger, fields: object, message: string): void {
    this.#logs.push({ level, fields: cloneable(fields), message })
    this.#sendSoon()
  }

  #sendSoon(): void {
    this.#timer ??= setTimeout(this.flush, BATCH_MS)
  }
}

/** Fields that cannot be cloned are sent as text, so that no log line is lost. */
function cloneable(fields: object): object {
  try {
    return structuredClone(fields)
  } catch {
    return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, inspect(value)]))
  }
}

function nothing(): void {}
