import { styleText } from 'node:util'
import type { Logger } from '../contracts/logger.ts'
import { Backend } from '../model/backend.ts'

/** Levels in order of severity; each includes those after it. */
const LEVELS = ['debug', 'info', 'warn', 'error'] as const
type Level = (typeof LEVELS)[number]

/** The part of a stream that a {@link consoleLogger} uses. */
export interface LogStream {
  write(text: string, done?: (error?: Error | null) => void): unknown
  readonly isTTY?: boolean | undefined
  hasColors?(): boolean
  listenerCount?(event: 'error'): number
  once?(event: 'error' | 'drain', listener: () => void): unknown
  /** Bytes in the stream's buffer. */
  readonly writableLength?: number | undefined
}

/** Bound of the stream's buffer. Lines beyond it are dropped and counted. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024

/** Options of a {@link consoleLogger}. */
export interface ConsoleLoggerOptions {
  /** The least severe level to write; `silent` writes nothing. Default `info`. */
  readonly level?: Level | 'silent' | undefined
  /** Default `process.stderr`, since the access log uses standard output. */
  readonly stream?: LogStream | undefined
  /** `pretty`: lines for people. `json`: one JSON object a line. Default: `pretty` on a terminal, else `json`. */
  readonly format?: 'pretty' | 'json' | undefined
}

/**
 * Writes diagnostics to standard error. Both formats escape line ends and control characters in the fields, so clients and
 * backends cannot forge lines or drive a terminal; only an error's stack, in `pretty`, has lines of its own.
 * It never throws; if the stream fails, the line is lost. If nobody reads the stream (a pipe whose reader hangs), 4 MiB
 * are buffered. Lines beyond that are dropped, and their number is logged when the stream drains.
 */
export function consoleLogger(options: ConsoleLoggerOptions = {}): Logger {
  const { level = 'info', stream = process.stderr } = options
  const { format = stream.isTTY === true ? 'pretty' : 'json' } = options
  const hasColors = stream.isTTY === true && stream.hasColors?.() === true
  const formatLine = format === 'json' ? jsonLine : (prettyLine.bind(null, hasColors) as typeof jsonLine)
  const least = level === 'silent' ? LEVELS.length : LEVELS.indexOf(level)
  if (least < 0) throw new TypeError(`level is ${JSON.stringify(level)}; use one of ${LEVELS.join(', ')}, silent`)

  function at(lineLevel: Level): Logger[Level] {
    if (LEVELS.indexOf(lineLevel) < least) return nothing
    return (fields, message) => writeLine(lineLevel, fields, message)
  }

  let dropped = 0

  function writeLine(lineLevel: Level, fields: object, message: unknown): void {
    try {
      if (dropped === 0 && !isFull()) {
        return writeQuietly(stream, formatLine(lineLevel, fields, String(message), new Date()))
      }
      if (dropped++ === 0) stream.once?.('drain', logDropped)
    } catch {
      // There is nowhere left to report it.
    }
  }

  function isFull(): boolean {
    return (stream.writableLength ?? 0) > MAX_WAITING_BYTES
  }

  function logDropped(): void {
    const count = dropped
    dropped = 0
    writeLine('warn', { dropped: count }, `${count} lines were dropped here: nobody read them`)
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** A broken pipe must not become an uncaught exception; node's own console does the same. */
function writeQuietly(stream: LogStream, text: string): void {
  try {
    stream.write(text, (error) => {
      if (error && stream.listenerCount?.('error') === 0) stream.once?.('error', nothing)
    })
  } catch {
    // There is nowhere left to report it.
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

/** Single words as they are, everything else as JSON. */
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

/** Copies the fields. If a getter throws, only that field is lost. */
function readable(fields: object): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  // A caller may pass a primitive in place of an object.
  if (typeof fields !== 'object' || fields === null) return { value: fields }
  if (fields instanceof Error) return { err: fields }
  for (const name of Object.keys(fields)) {
    try {
      copy[name] = (fields as Record<string, unknown>)[name]
    } catch (error) {
      copy[name] = `[threw: ${error instanceof Error ? error.message : String(error)}]`
    }
  }
  return copy
}

/** JSON of any value, or `null` if something in it throws. */
function toJson(value: unknown): string | null {
  // The objects around the current one: each as it was, and as it is written.
  const path: { original: unknown; written: unknown }[] = []
  function replace(this: unknown, _name: string, original: unknown): unknown {
    if (typeof original === 'bigint') return String(original)
    if (typeof original !== 'object' || original === null) return original
    // A backend holds private keys (`endpoint.tls`), so only its id is written.
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

/** The fields of an error, including its own ones (`code`, `phase`, `syscall` and the like). */
function errorFields(error: Error): Record<string, unknown> {
  const { name, message, stack, cause } = error
  const errors = error instanceof AggregateError ? { errors: error.errors as unknown } : {}
  return { type: name, ...error, ...errors, name: undefined, message, stack, cause }
}

/** Escapes characters that end a line or drive a terminal. */
function withoutControls(text: string): string {
  return text.replace(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const CONTROLS = /[\p{Cc}\u2028\u2029]/gu

function nothing(): void {}
