import { inspect } from 'node:util'
import type { OptionFault } from '../index.ts'
import { didYouMean } from '../runtime/nearest.ts'
import { looksLikeKey, withoutPassword } from '../runtime/secrets.ts'
import { keysOf } from './config-document.ts'
import type { ConfigFile, Format } from './config-file.ts'

/** A fault of the command's own options. */
export function fault(path: string, message: string, value: unknown, allowed: string, example: unknown): OptionFault {
  return { path, message, value, allowed, example }
}

/** A short form of a wrong value: `is "x"`. Secrets are hidden. */
export function isShown(value: unknown): string {
  if (Array.isArray(value)) return isShort(value) ? `is ${withoutPassword(JSON.stringify(value))}` : 'is a list'
  if (typeof value === 'object' && value !== null) return 'is an object'
  if (typeof value === 'string' && looksLikeKey(value)) return 'is a key or a certificate'
  return `is ${withoutPassword(JSON.stringify(value))}`
}

/** Whether it is a list of a few words and numbers. */
function isShort(list: readonly unknown[]): boolean {
  if (list.length > 8) return false
  return list.every(
    (one) => typeof one === 'number' || (typeof one === 'string' && one.length < 50 && !looksLikeKey(one)),
  )
}

/** The message of an unknown name. */
export function unknown(name: string, known: readonly string[]): string {
  return `is unknown${didYouMean(name, known)}`
}

/**
 * All faults as text: where each one stands, and once for those that have the same, what is allowed and an example that can be
 * pasted into the file.
 */
export function describeFaults(faults: readonly OptionFault[], file: ConfigFile | null): string {
  const placed = faults
    .map((one) => place(worded(one, file), file))
    .sort((a, b) => a.line - b.line || a.column - b.column)
  const groups = new Map<string, string[]>()
  for (const { text, advice } of placed) groups.set(advice, [...(groups.get(advice) ?? []), text])
  const title = faults.length === 1 ? 'One option is wrong:' : `${faults.length} options are wrong:`
  return [title, ...Array.from(groups, ([advice, texts]) => [...texts, advice].join('\n'))].join('\n')
}

/** Options that no file of data can give. */
const CODE_ONLY = /^(?:.*\.)?(affinity|clock|executor|observers|transforms)(?:[.[].*)?$/

/** The fault in words for this file. */
function worded(one: OptionFault, file: ConfigFile | null): OptionFault {
  const name = file === null || file.format === 'module' ? undefined : CODE_ONLY.exec(one.path)?.[1]
  if (name === undefined || one.message.startsWith('is unknown')) return one
  const allowed = name === 'executor' ? 'threads, in its place' : 'an object with functions, in a heddle.config.mjs'
  return { ...one, message: 'can only be given by code', allowed, example: undefined }
}

interface Placed {
  readonly line: number
  readonly column: number
  readonly text: string
  /** What is allowed, and an example. */
  readonly advice: string
}

function place(one: OptionFault, file: ConfigFile | null): Placed {
  const { path, message, allowed } = one
  const isFlag = path.startsWith('--')
  const isUnknown = message.startsWith('is unknown')
  const isName = isUnknown || BAD_NAME.test(message)
  const position = isFlag ? undefined : file?.positionOf?.(path, isName)
  const { line, column } = position ?? { line: 0, column: 0 }
  const where = isFlag || file === null ? '' : `${file.name}:${position === undefined ? '' : `${line}:${column}:`} `
  const advice = [`    allowed: ${allowed}`]
  // The example beside an unknown option is of another one.
  if (!isUnknown && one.example !== undefined) {
    advice.push(`    example: ${isFlag ? flagExample(one) : fileExample(one, file?.format ?? 'module')}`)
  }
  return { line, column, text: `  ${where}${path || 'the configuration'} ${message}`, advice: advice.join('\n') }
}

function flagExample({ path, example }: OptionFault): string {
  return `${path.split(' ')[0]} ${String(example)}`
}

/** The example is not of the option, but of what to do in its place. */
const TO_THREADS = 'cannot be sent to a thread'

/** A name of the user's choice is wrong: the example is of what holds such names. */
const BAD_NAME = /^(?:is not a valid|cannot be a) name/

/** The option and a correct value, in the syntax of the file. */
function fileExample({ path, message, example }: OptionFault, format: Format): string {
  const name = keysOf(path).at(BAD_NAME.test(message) ? -2 : -1)
  if (message.endsWith(TO_THREADS)) return String(example)
  const value = format === 'module' ? inspect(example, { depth: 5, breakLength: Infinity }) : spaced(example)
  // An element of a list, or the whole.
  if (typeof name !== 'string') return value
  return `${format !== 'json' && /^[\w$]+$/.test(name) ? name : JSON.stringify(name)}: ${value}`
}

/** JSON with spaces, which is YAML as well. */
function spaced(value: unknown): string {
  return JSON.stringify(value, null, 1).replace(/\n\s*/g, ' ')
}
