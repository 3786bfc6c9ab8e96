import { inspect } from 'node:util'
import { looksLikeKey, withoutPassword } from '../runtime/secrets.ts'

/** A mistake in the options. */
export interface OptionFault {
  /** Path of the option, as in code: `backends[1].weight`. Empty for the options as a whole. */
  readonly path: string
  /** Describes the mistake, in a few words that follow the path: `is -1`. */
  readonly message: string
  /** The wrong value. */
  readonly value: unknown
  /** Describes the allowed values. */
  readonly allowed: string
  /** A correct value. */
  readonly example: unknown
}

/** Invalid options. Reports all mistakes at once. */
export class OptionsError extends TypeError {
  override readonly name = 'OptionsError'
  readonly code = 'ERR_PROXY_OPTIONS'
  readonly #faults: readonly OptionFault[]

  constructor(faults: readonly OptionFault[]) {
    super(describe(faults))
    this.#faults = faults
  }

  /** All mistakes, in the order of the options. Not an own property: loggers print those, and values may be secret. */
  get faults(): readonly OptionFault[] {
    return this.#faults
  }
}

/** A short form of a value for messages. The content of objects, keys, and the user and password of URLs are hidden. */
export function show(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value === 'string' && looksLikeKey(value)) return 'a key or a certificate'
  return withoutPassword(inspect(value, { maxStringLength: 100, breakLength: Infinity }))
}

function describe(faults: readonly OptionFault[]): string {
  const title = faults.length === 1 ? 'One option is wrong:' : `${faults.length} options are wrong:`
  // What is allowed is said once for all mistakes of a kind.
  const groups = new Map<string, string[]>()
  for (const { path, message, allowed, example } of faults) {
    const shown = inspect(example, { depth: 5, breakLength: Infinity })
    const advice = `    allowed: ${allowed}\n    example: ${shown}`
    const text = `  ${path === '' ? 'the options object' : path} ${message}`
    groups.set(advice, [...(groups.get(advice) ?? []), text])
  }
  return [title, ...Array.from(groups, ([advice, texts]) => [...texts, advice].join('\n'))].join('\n')
}
