import * as v from 'valibot'
import { didYouMean, nearest } from '../runtime/nearest.ts'
import { type OptionFault, show } from './options-error.ts'

/**
 * The building blocks of the schema. Each has its own wording (allowed values, a correct example) for faults and documents.
 * If the getter of a `lazy` schema gets `undefined`, the JSON Schema or the documents are being generated: it then returns
 * the schema of the values that a configuration file can hold.
 */

/** The content of a schema's message. It passes through valibot as JSON, since valibot supports only strings. */
interface Wording {
  readonly allowed: string
  readonly example: unknown
  /** The mistake, to follow the path. Default: `is <value>`. */
  readonly problem?: string | undefined
}

/** Any synchronous schema of valibot. */
export type Schema<T = unknown> = v.GenericSchema<unknown, T>

/** The message of a schema or a check. */
export function wording(allowed: string, example: unknown, problem?: string): string {
  return JSON.stringify({ allowed, example, problem } satisfies Wording)
}

/** All faults that valibot found, without repetitions. */
export function faultsOf(issues: readonly v.BaseIssue<unknown>[]): OptionFault[] {
  const faults = new Map<string, OptionFault>()
  for (const issue of issues) {
    const path = pathOf(issue.path?.map((item) => item.key) ?? [])
    const { allowed, example, problem }: Wording = JSON.parse(issue.message)
    const value = issue.path?.at(-1)?.value ?? issue.input
    const message = problem ?? `is ${show(value)}`
    // Several checks of one rule may fail (-1.5 is neither whole nor positive) with the same message.
    faults.set(`${path} ${message}`, { path, message, value, allowed, example })
  }
  return [...faults.values()]
}

/** A path as in code: `backends[1].weight`, `groups["a b"].retry`. */
export function pathOf(keys: readonly unknown[]): string {
  return keys.reduce<string>((path, key) => {
    if (typeof key === 'number') return `${path}[${key}]`
    const name = String(key)
    if (!/^[A-Za-z_$][\w$]*$/.test(name)) return `${path}[${JSON.stringify(name)}]`
    return path === '' ? name : `${path}.${name}`
  }, '')
}

/** A whole number; `what` is its unit: ` of bytes`. */
export function whole(what: '' | ` of ${string}`, min: number, max: number, example: number) {
  const message = wording(`a whole number${what} from ${min} to ${max}`, example)
  return v.pipe(v.number(message), v.integer(message), v.minValue(min, message), v.maxValue(max, message))
}

/** A time in ms; `zero` explains the value 0. */
export function millis(zero: string, example: number) {
  return whole(` of milliseconds (${zero})`, 0, 2_147_483_647, example)
}

/** `true` or `false`. */
export function flag(example: boolean) {
  return v.boolean(wording('true or false', example))
}

/** One of a few words; `or` names further allowed values: ` or a logger`. */
export function word<const W extends readonly string[]>(words: W, or: '' | ` or ${string}` = '') {
  const allowed = words.map((each) => `'${each}'`).join(', ') + or
  return v.lazy((input) => {
    const suggestion = typeof input === 'string' ? nearest(input, words) : null
    return v.picklist(words, wording(allowed, suggestion ?? words[0]))
  })
}

/** A string that passes a check; `fault` returns its mistake, to follow the path, or `null`. */
export function text(allowed: string, example: string, fault: (value: string) => string | null) {
  return v.pipe(
    v.string(wording(allowed, example)),
    v.rawCheck(({ dataset, addIssue }) => {
      const problem = dataset.typed ? fault(dataset.value) : null
      if (problem !== null) addIssue({ message: wording(allowed, example, problem) })
    }),
  )
}

/** A list; one fault for each wrong element. */
export function list<S extends Schema>(of: S, allowed: string, example: readonly unknown[]) {
  return v.array(of, wording(allowed, example))
}

/** The wording of an object with fixed keys. */
interface ClosedWording {
  readonly example: Readonly<Record<string, unknown>>
  /** Further allowed values: `or false`. */
  readonly or?: string
  /** Messages for unknown keys that people may expect. */
  readonly hints?: ReadonlyMap<string, string>
}

/** {@link ClosedWording.hints} for renamed options, from old to new name. */
export function renamed(names: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  return new Map(Object.entries(names).map(([old, name]) => [old, `is unknown; did you mean ${name}?`]))
}

/** An object with these keys and no other. */
export function closed<E extends v.ObjectEntries>(entries: E, { example, or, hints }: ClosedWording) {
  const known = Object.keys(entries)
  const allowed = ['an object with', known.join(', '), or].filter((part) => part !== undefined).join(' ')
  const message = (issue: v.ObjectIssue | v.StrictObjectIssue): string => {
    if (issue.expected === 'Object') return wording(allowed, example)
    return wording('a value; it is required', example[String(issue.path?.at(-1)?.key)], 'is missing')
  }

  return v.lazy((input) => {
    if (input === undefined) return v.strictObject(entries, message)
    if (!isPlainObject(input)) return v.never(wording(allowed, example))
    return v.pipe(
      v.object(entries, message),
      // Valibot's own check of unknown keys stops at the first one, and accepts names that every object inherits.
      v.rawCheck(({ addIssue }) => {
        for (const key of Object.keys(input)) {
          if (Object.hasOwn(entries, key)) continue
          const problem = hints?.get(key) ?? `is unknown${didYouMean(key, known)}`
          addIssue({ message: wording(known.join(', '), example, problem), path: [itemOf(input, key)] })
        }
      }),
    )
  })
}

/** An object with names of the user's choice; `fault` returns the mistake in a name, to follow the path, or `null`. */
export function named<S extends Schema>(
  values: S,
  allowed: string,
  example: Readonly<Record<string, unknown>>,
  fault: (name: string) => string | null,
) {
  return v.lazy((input) => {
    if (input === undefined) return v.record(v.string(), values)
    if (!isPlainObject(input)) return v.never(wording(allowed, example))
    // Valibot's record() drops the names `constructor` and `prototype`.
    const names = Object.keys(input).filter((name) => name !== '__proto__')
    return v.pipe(
      v.object<Record<string, S>>(Object.fromEntries(names.map((name) => [name, values]))),
      v.rawCheck(({ addIssue }) => {
        for (const name of Object.keys(input)) {
          const problem = name === '__proto__' ? 'cannot be a name' : fault(name)
          if (problem !== null) addIssue({ message: wording(allowed, example, problem), path: [itemOf(input, name)] })
        }
      }),
    )
  })
}

/** An object of the application that implements a contract; passed through by reference. */
export function contract<T>(what: string, methods: readonly (keyof T & string)[], example: unknown) {
  const allowed = `${what} with ${methods.map((method) => `${method}()`).join(', ')}`
  return v.custom<T>(
    (input) => missingMethods(input, methods).length === 0,
    (issue) => wording(allowed, example, `has no ${missingMethods(issue.input, methods).join(', no ')}`),
  )
}

/** Whether `input` is meant as an object of the application: it has at least one of the methods. */
export function hasMethodOf(input: unknown, methods: readonly string[]): boolean {
  return isObject(input) && missingMethods(input, methods).length < methods.length
}

/** `code` if `isCode` accepts the input, else `data`. A configuration file can only hold `data`. */
export function codeOr<C extends Schema, D extends Schema>(isCode: (input: unknown) => boolean, code: C, data: D) {
  return v.lazy((input): C | D => (input !== undefined && isCode(input) ? code : data))
}

/** An option for code only: a configuration file cannot hold it. */
export function codeOnly<S extends Schema>(code: S) {
  return v.lazy((input) => (input === undefined ? v.never() : code))
}

/** An optional option. */
export function optional<S extends Schema>(description: string, schema: S) {
  return v.optional(v.pipe(schema, v.description(description)))
}

/**
 * An optional option whose default the reader of the options fills in. `value` is for the JSON Schema and the
 * documents.
 */
export function defaultsTo<S extends Schema>(description: string, schema: S, value: unknown) {
  return v.optional(v.pipe(schema, v.description(description), v.metadata({ default: value })))
}

/** An optional option with a default. */
export function withDefault<S extends Schema, const D extends v.InferInput<S>>(
  description: string,
  schema: S,
  value: D,
) {
  return v.optional(v.pipe(schema, v.description(description)), value)
}

/** Anything but a primitive or a function. */
export function isObject(input: unknown): input is Record<string, unknown> {
  return typeof input === 'object' && input !== null
}

/** An object literal of any realm, or an object from `JSON.parse`. */
export function isPlainObject(input: unknown): input is Record<string, unknown> {
  if (!isObject(input) || Array.isArray(input)) return false
  const prototype: unknown = Object.getPrototypeOf(input)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function missingMethods(input: unknown, methods: readonly string[]): string[] {
  if (!isObject(input)) return [...methods]
  return methods.filter((method) => typeof input[method] !== 'function')
}

function itemOf(input: Record<string, unknown>, key: string): v.ObjectPathItem {
  return { type: 'object', origin: 'key', input, key, value: input[key] }
}
