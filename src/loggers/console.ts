import { styleText } from 'node:util'
import type { Logger } from '../contracts/logger.ts'
import { Backend } from '../model/backend.ts'

/** Levels in order; each includes those after it. */
const LEVELS = ['debug', 'info', 'warn', 'error'] as const
type Level = (typeof LEVELS)[number]

/** What a {@link consoleLogger} needs of its stream. */
export interface LogStream {
  write(text: string, done?: (error?: Error | null) => void): unknown
  readonly isTTY?: boolean
  hasColors?(): boolean
  listenerCount?(event: 'error'): number
  once?(event: 'error' | 'drain', listener: () => void): unknown
  /** Bytes that wait to be taken. */
  readonly writableLength?: number
}

/** So much may wait for a reader, bytes; what comes on top is dropped and counted. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024

/** How a {@link consoleLogger} writes. */
export interface ConsoleLoggerOptions {
  /** The least level that is written. Default `info`; `silent` writes none. */
  readonly level?: Level | 'silent'
  /** Default `process.stderr`: standard output is the access log's. */
  readonly stream?: LogStream
  /** Lines for people, or one JSON object a line. Default: `pretty` on a terminal, else `json`. */
  readonly format?: 'pretty' | 'json'
}

/**
 * Diagnostics on standard error. In both formats a line stays a line and a terminal is sent no control characters,
 * whatever clients and backends put into the fields; only an error's stack, in `pretty`, has lines of its own.
 * Whatever it is given, it throws nothing; a stream that fails loses the line. Where nobody reads the stream (a pipe whose
 * reader hangs), 4 MiB wait; what comes on top is dropped, and how much that was is told when the stream flows again.
 */
export function consoleLogger(options: ConsoleLoggerOptions = {}): Logger {
  const { level = 'info', stream = process.stderr } = options
  const { format = stream.isTTY === true ? 'pretty' : 'json' } = options
  const hasColors = stream.isTTY === true && stream.hasColors?.() === true
  const formatLine = format === 'json' ? jsonLine : (prettyLine.bind(null, hasColors) as typeof jsonLine)
  const least = level === 'silent' ? LEVELS.length : LEVELS.indexOf(level)
  if (least < 0) throw new TypeError(`level ${JSON.stringify(level)} is none of ${LEVELS.join(', ')}, silent`)

  function at(one: Level): Logger[Level] {
    if (LEVELS.indexOf(one) < least) return nothing
    return (fields, message) => writeLine(one, fields, message)
  }

  let dropped = 0

  function writeLine(one: Level, fields: object, message: unknown): void {
    try {
      if (dropped === 0 && !isFull()) return writeQuietly(stream, formatLine(one, fields, String(message), new Date()))
      if (dropped++ === 0) stream.once?.('drain', tellDropped)
    } catch {
      // There is nowhere left to tell it.
    }
  }

  function isFull(): boolean {
    return (stream.writableLength ?? 0) > MAX_WAITING_BYTES
  }

  function tellDropped(): void {
    const count = dropped
    dropped = 0
    writeLine('warn', { dropped: count }, `${count} lines were dropped here: nobody read them`)
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** As node's own console: a broken pipe must not become an uncaught exception. */
function writeQuietly(stream: LogStream, text: string): void {
  try {
    stream.write(text, (error) => {
      if (error && stream.listenerCount?.('error') === 0) stream.once?.('error', nothing)
    })
  } catch {
    // There is nowhere left to tell it.
  }
}

function jsonLine(level: Level, fields: object, message: string, time: Date): string {
  const first = { level, time: time.toISOString(), msg: message }
  const line = toJson({ ...first, ...readable(fields), ...first }) ?? toJson({ ...first, unreadable: true })
  return `${line}\n`
}

const COLORS = { debug: 'gray', info: 'green', warn: 'yellow', error: 'red' } as const

function prettyLine(hasColors: boolean, level: Level, fields: object, message: string, time: Date): string {
  const paint = (color: Parameters<typeof styleText>[0], text: string): string =>
    hasColors ? styleText(color, text, { validateStream: false }) : text
  const clock = time.toTimeString().slice(0, 8)
  let line = `${paint('gray', clock)} ${paint(COLORS[level], level.toUpperCase().padEnd(5))} ${withoutControls(message)}`
  let stacks = ''
  for (const [name, value] of Object.entries(readable(fields))) {
    if (value === undefined) continue
    if (value instanceof Error) stacks += stackOf(value)
    line += ` ${paint('gray', `${withoutControls(name)}=`)}${prettyValue(value)}`
  }
  return `${line}\n${paint('gray', stacks)}`
}

/** Words as they are; everything else as JSON. */
function prettyValue(value: unknown): string {
  if (typeof value === 'string' && /^[\w.:/@+-]+$/.test(value)) return value
  if (value instanceof Error) {
    const code = (value as NodeJS.ErrnoException).code
    return JSON.stringify(withoutControls(code === undefined ? value.message : `${value.message} (${code})`))
  }
  return withoutControls(toJson(value) ?? String(typeof value))
}

function stackOf(error: Error, depth = 0): string {
  const lines = (error.stack ?? String(error)).split('\n').map((line) => `    ${withoutControls(line)}\n`)
  const cause =
    error.cause instanceof Error && depth < MAX_CAUSES ? `  caused by:\n${stackOf(error.cause, depth + 1)}` : ''
  return lines.join('') + cause
}

/** Bounds a chain of causes that may be a circle. */
const MAX_CAUSES = 4

/** The fields by name; what a getter throws costs that field alone. */
function readable(fields: object): Record<string, unknown> {
  const plain: Record<string, unknown> = {}
  // Plain values were handed in place of an object: better told than lost.
  if (typeof fields !== 'object' || fields === null) return { value: fields }
  if (fields instanceof Error) return { err: fields }
  for (const name of Object.keys(fields)) {
    try {
      plain[name] = (fields as Record<string, unknown>)[name]
    } catch (error) {
      plain[name] = `[threw: ${error instanceof Error ? error.message : String(error)}]`
    }
  }
  return plain
}

/** JSON of anything, or `null` where something in it throws. */
function toJson(value: unknown): string | null {
  // What JSON.stringify is inside of: each object as it was, and as it is written.
  const path: { original: unknown; written: unknown }[] = []
  function replace(this: unknown, _name: string, original: unknown): unknown {
    if (typeof original === 'bigint') return String(original)
    if (typeof original !== 'object' || original === null) return original
    // A backend holds private keys (`endpoint.tls`) and says it all by its name.
    if (original instanceof Backend) return original.id
    while (path.length > 0 && path.at(-1)?.written !== this) path.pop()
    if (path.some((outer) => outer.original === original)) return '[circular]'
    const written = original instanceof Error ? errorFields(original) : original
    path.push({ original, written })
    return written
  }
  try {
    return withoutControls(JSON.stringify(value, replace) ?? 'null')
  } catch {
    return null
  }
}

/** What an error says; its own fields (`code`, `phase`, `syscall` and the like) included. */
function errorFields(error: Error): Record<string, unknown> {
  const { name, message, stack, cause } = error
  const errors = error instanceof AggregateError ? { errors: error.errors as unknown } : {}
  return { type: name, ...error, ...errors, name: undefined, message, stack, cause }
}

/** Escapes what would end a line or drive a terminal. */
function withoutControls(text: string): string {
  return text.replace(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const CONTROLS = /[\p{Cc}\u2028\u2029]/gu

function nothing(): void {}
