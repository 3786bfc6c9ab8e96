/**
 * Checks that `options` is an object with no other keys than `known`, so that a misspelt option is noticed.
 * @param name of the interceptor. @throws TypeError
 */
export function checkKeys(name: string, options: unknown, known: readonly string[]): void {
  if (!isObject(options)) throw new TypeError(`${name}: options are ${show(options)}; give an object`)
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw new TypeError(`${name}: unknown option ${key}; there are: ${known.join(', ')}`)
  }
}

/** The error for an option with a wrong value. @param allowed follows "give". */
export function optionError(name: string, option: string, value: unknown, allowed: string): TypeError {
  return new TypeError(`${name}: ${option} is ${show(value)}; give ${allowed}`)
}

/** Whether it is an object of options or a table: not `null`, and no array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function show(value: unknown): string {
  return typeof value === 'string' || isObject(value) || Array.isArray(value) ? JSON.stringify(value) : String(value)
}
