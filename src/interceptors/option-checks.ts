import { isReserved } from '../headers/view.ts'
import { isToken } from '../http1/fields.ts'
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
export function checkKeys(where: string, options: unknown, allowed: readonly string[]): void {
  if (!isObject(options)) {
    throw new TypeError(`${where}: the options are ${shown(options)}; give an object`)
  }
  const unknown = Object.keys(options).filter((key) => !allowed.includes(key))
  if (unknown.length > 0) {
    throw new TypeError(`${where}: there is no option ${unknown.join(', ')}; allowed: ${allowed.join(', ')}`)
  }
}

/** The error for an option with a wrong value. @param allowed follows "give". */
export function optionError(where: string, option: string, value: unknown, allowed: string): TypeError {
  return new TypeError(`${where}: ${option} is ${shown(value)}; give ${allowed}`)
}

/** Whether it is an object of options or a table: not `null`, and no array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A copy of a list of strings. @param example a correct value. @throws TypeError for anything else. */
export function stringList(where: string, value: unknown, example: string): readonly string[] {
  if (Array.isArray(value) && value.every((member) => typeof member === 'string')) return [...value]
  throw new TypeError(`${where} is ${shown(value)}; give a list of strings, such as ${example}`)
}

/** A copy of a list of names of headers that interceptors may write. @throws TypeError for anything else. */
export function headerNames(where: string, value: unknown, example: string): readonly string[] {
  const names = stringList(where, value, example)
  for (const name of names) {
    if (!isToken(name)) throw new TypeError(`${where} has ${shown(name)}, which is not a header name`)
    if (isReserved(name)) throw new TypeError(`${where} has ${name}, which is written by the proxy itself`)
  }
  return names
}

/** @throws TypeError unless `value` is a whole number from `least` on. */
export function checkWhole(where: string, value: unknown, least: number, example: number): asserts value is number {
  if (Number.isSafeInteger(value) && (value as number) >= least) return
  throw new TypeError(`${where} is ${shown(value)}; give a whole number from ${least} on, such as ${example}`)
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
