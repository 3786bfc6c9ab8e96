import { inspect } from 'node:util'
import type { Logger } from '../contracts/logger.ts'
import type { PlainEvent } from './bridge.ts'
import type { Batch, LogEntry } from './protocol.ts'

/** Messages are collected for so long, ms: one for a few hundred requests. */
const BATCH_MS = 20

/** Collects what a thread sends to the one that started it, and sends it in batches. */
export class Outbox {
  readonly #post: (batch: Batch) => void
  #logs: LogEntry[] = []
  #lines: string[] = []
  #events: PlainEvent[] = []
  #timer: NodeJS.Timeout | null = null

  constructor(post: (batch: Batch) => void) {
    this.#post = post
  }

  /** Diagnostics that go to the starter's logger. */
  readonly logger: Logger = {
    debug: (fields, message) => this.#log('debug', fields, message),
    info: (fields, message) => this.#log('info', fields, message),
    warn: (fields, message) => this.#log('warn', fields, message),
    error: (fields, message) => this.#log('error', fields, message),
  }

  /** A line of the access log. */
  readonly writeLine = (line: string): void => {
    this.#lines.push(line)
    this.#sendSoon()
  }

  readonly addEvent = (event: PlainEvent): void => {
    this.#events.push(event)
    this.#sendSoon()
  }

  /** Sends at once what there is. */
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

/** What cannot be cloned goes as text: a log line must not be lost for it. */
function cloneable(fields: object): object {
  try {
    return structuredClone(fields)
  } catch {
    return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, inspect(value)]))
  }
}
