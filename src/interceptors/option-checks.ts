import { isReserved } from '../headers/view.ts'
import { isToken } from '../http1/fields.ts'
import type { Complete } from '../runtime/complete.ts'
import { describeError } from '../runtime/describe-error.ts'

/** Runs `make`. @throws TypeError with the message of what it threw, after `where`. */
export function within<Value>(where: string, make: () => Value): Value {
  try {
    return make()
  } catch (cause) {
    throw new TypeError(`${where}: ${describeError(cause)}`, { cause })
  }
}

/** @throws TypeError if `options` is not an object, or has a key that is not in `allowed`: a misspelt option protects nothing. */
export function checkKeys(name: string, options: unknown, allowed: readonly string[]): void {
  if (!isObject(options)) throw new TypeError(`${name}: the options are ${shown(options)}; give an object`)
  const unknown = Object.keys(options).filter((key) => !allowed.includes(key))
  if (unknown.length > 0) {
    throw new TypeError(`${name}: there is no option ${unknown.join(', ')}; allowed: ${allowed.join(', ')}`)
  }
}

/**
 * The options, with the defaults of those that are missing or `undefined`.
 * @param others the options without a default.
 * @throws TypeError as {@link checkKeys}.
 */
export function withDefaults<Options extends object, Defaults extends object>(
  name: string,
  options: Options,
  defaults: Defaults,
  others: readonly Exclude<keyof Options & string, keyof Defaults>[] = [],
): Omit<Options, keyof Defaults> & Complete<Pick<Options, keyof Options & keyof Defaults>> {
  const allowed = [...others, ...Object.keys(defaults)]
  checkKeys(name, options, allowed)
  const complete: Record<string, unknown> = Object.fromEntries(Object.entries(defaults))
  for (const key of allowed) {
    const value = options[key as keyof Options]
    if (value !== undefined) complete[key] = value
  }
  return complete as ReturnType<typeof withDefaults<Options, Defaults>>
}

/** The error for an option with a wrong value. @param name of the interceptor. @param allowed follows "give". */
export function optionError(name: string, option: string, value: unknown, allowed: string): TypeError {
  return new TypeError(`${name}: ${option} is ${shown(value)}; give ${allowed}`)
}

/** The error for a list with a wrong member. */
export function memberError(name: string, option: string, member: unknown, allowed: string): TypeError {
  return optionError(name, `a member of ${option}`, member, allowed)
}

/** Whether it is an object of options or a table: not `null`, and no array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A copy of a list of strings. @param example a correct value. @throws TypeError for anything else. */
export function stringList(name: string, option: string, value: unknown, example: string): readonly string[] {
  if (Array.isArray(value) && value.every((member) => typeof member === 'string')) return [...value]
  throw optionError(name, option, value, `a list of strings, such as ${example}`)
}

/** A copy of a list of names of headers that interceptors may write. @throws TypeError for anything else. */
export function headerNames(name: string, option: string, value: unknown, example: string): readonly string[] {
  const headers = stringList(name, option, value, example)
  for (const header of headers) {
    if (!isToken(header)) throw memberError(name, option, header, 'the name of a header')
    if (isReserved(header)) throw memberError(name, option, header, 'another header: the proxy itself writes this one')
  }
  return headers
}

/** @throws TypeError unless `value` is a whole number from `least` on, up to `most`. */
export function checkWhole(
  name: string,
  option: string,
  value: unknown,
  { least, most = Number.MAX_SAFE_INTEGER, example }: { least: number; most?: number; example: number },
): asserts value is number {
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`
  throw optionError(name, option, value, `a whole number ${range}, such as ${example}`)
}

/** A value for a message. */
export function shown(value: unknown): string {
  if (value === undefined) return 'missing'
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return typeof value
  }
}
