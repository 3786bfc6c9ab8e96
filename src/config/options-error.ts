import { inspect } from 'node:util'

/** One thing that is wrong with the options. */
export interface OptionFault {
  /** Where, as one would write it in code: `backends[1].weight`. Empty for the options as a whole. */
  readonly path: string
  /** What is wrong, in a few words that follow the path: `is -1`. */
  readonly message: string
  /** What was given. */
  readonly value: unknown
  /** What may be given, in words. */
  readonly allowed: string
  /** A value that would be right. */
  readonly example: unknown
}

/** Options that cannot work. Says everything that is wrong with them at once. */
export class OptionsError extends TypeError {
  override readonly name = 'OptionsError'
  readonly code = 'ERR_PROXY_OPTIONS'
  readonly #faults: readonly OptionFault[]

  constructor(faults: readonly OptionFault[]) {
    super(describe(faults))
    this.#faults = faults
  }

  /** Each fault, in the order of the options. Not an own property: values may be secret, and loggers print those. */
  get faults(): readonly OptionFault[] {
    return this.#faults
  }
}

/** A value in a few characters, for messages: what lies inside objects, or before the `@` of a URL, is not shown. */
export function show(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  return withoutPassword(inspect(value, { maxStringLength: 100, breakLength: Infinity }))
}

/** `text` with the user and the password of any URL in it made unreadable. */
export function withoutPassword(text: string): string {
  return text.replace(/\/\/[^/\s@]*@/g, '//***@')
}

function describe(faults: readonly OptionFault[]): string {
  const title = faults.length === 1 ? 'One option is wrong:' : `${faults.length} options are wrong:`
  return [title, ...faults.map(describeFault)].join('\n')
}

function describeFault({ path, message, allowed, example }: OptionFault): string {
  const right = inspect(example, { depth: 5, breakLength: Infinity })
  return `  ${path === '' ? 'the options object' : path} ${message}\n    allowed: ${allowed}\n    example: ${right}`
}
