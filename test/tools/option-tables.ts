import * as v from 'valibot'
import { access, level, listen, threads } from '../../src/cli/file-options.ts'
import { balancer } from '../../src/config/balancer-schema.ts'
import { GROUP } from '../../src/config/group-schema.ts'
import { proxySchema } from '../../src/config/proxy-schema.ts'
import { route } from '../../src/config/route-schema.ts'
import type { Schema } from '../../src/config/rules.ts'
import { proxyTimeouts } from '../../src/config/timeouts-schema.ts'

/*
 * The option tables of docs/configuration.md, from the schema: names, defaults, what is allowed, descriptions. What is allowed is in
 * the words that an error message has.
 */

interface Row {
  readonly option: string
  readonly default: unknown
  readonly allowed: string
  readonly description: string
}

const own = Object.fromEntries(
  Object.entries(objectOf(proxySchema)).filter(([name]) => !Object.hasOwn(GROUP, name)),
) as v.ObjectEntries

const TABLES: Readonly<Record<string, () => readonly Row[]>> = {
  backend: () => rows(objectOf(elementOf(GROUP.backends))),
  group: () => rows(GROUP),
  timeouts: () => rows(objectOf(proxyTimeouts), 'timeouts.'),
  balancers: () =>
    objectsOf(balancer).flatMap(({ name, ...entries }) =>
      rows(entries).map((row) => ({
        ...row,
        option: `${row.option}\` of \`${(name as v.LiteralSchema<string, undefined>).literal}`,
      })),
    ),
  route: () => rows(objectOf(route)),
  proxy: () => rows(own),
  file: () =>
    Object.entries({ listen, threads, 'log.access': access, 'log.level': level }).map(
      ([option, { schema, allowed }]) => {
        const { default: value, description } = schema as { default: unknown; description: string }
        return { option, default: value, allowed, description }
      },
    ),
}

/** `markdown` with every table between `<!-- options: NAME -->` and `<!-- end of options -->` made anew. */
export function withOptionTables(markdown: string): string {
  return markdown.replace(
    /^(<!-- options: (\w+) -->\n).*?^(?=<!-- end of options -->)/gms,
    (_whole, begin: string, name: string) => `${begin}${table(TABLES[name]?.() ?? unknown(name))}`,
  )
}

function table(list: readonly Row[]): string {
  const lines = list.map(
    (row) =>
      `| \`${row.option}\` | ${shown(row.default)} | ${row.description.replaceAll('|', '\\|')} | ${row.allowed.replaceAll('|', '\\|')} |\n`,
  )
  return `| option | default | meaning | allowed |\n|---|---|---|---|\n${lines.join('')}`
}

/** Options that are objects, or can be, and have a table of their own, or none. */
const CLOSED = ['target', 'balancer', 'by', 'timeouts', 'groups', 'routes']

/** A row for each option; for one that is an object, a row for each of its own options as well. */
function rows(entries: v.ObjectEntries, prefix = ''): Row[] {
  return Object.entries(entries).flatMap(([name, entry]) => {
    const isOptional = entry.type === 'optional'
    const schema = isOptional ? (entry as v.OptionalSchema<Schema, unknown>).wrapped : (entry as Schema)
    const description = v.getDescription(schema as v.SchemaWithPipe<[Schema, v.DescriptionAction<unknown, string>]>)
    if (description === undefined) throw new TypeError(`${prefix}${name} has no description`)
    const [inner] = CLOSED.includes(name) ? [] : objectsOf(schema)
    const isOpen = inner !== undefined
    const row: Row = {
      option: `${prefix}${name}`,
      default: !isOptional ? REQUIRED : isOpen ? undefined : defaultOf(entry as v.OptionalSchema<Schema, unknown>),
      allowed: isCodeOnly(schema) ? `in code: ${allowedBy(schema)}` : allowedBy(schema),
      description,
    }
    return isOpen ? [row, ...rows(inner, `${prefix}${name}.`)] : [row]
  })
}

const REQUIRED = Symbol('required')

function shown(value: unknown): string {
  if (value === undefined || value === '') return ''
  if (value === REQUIRED) return 'required'
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.join(', ')
  return typeof value === 'string' ? `\`${value}\`` : String(value)
}

function defaultOf(entry: v.OptionalSchema<Schema, unknown>): unknown {
  const metadata = v.getMetadata(
    entry.wrapped as v.SchemaWithPipe<[Schema, v.MetadataAction<unknown, Record<string, unknown>>]>,
  )
  return metadata.default ?? entry.default
}

/** What the message says to somebody who gives something else. */
function allowedBy(schema: Schema): string {
  const [issue] = v.safeParse(schema, Symbol('wrong')).issues ?? []
  const { allowed } = JSON.parse(issue?.message ?? '{}') as { allowed?: string }
  if (allowed === undefined) throw new TypeError('a schema that allows everything')
  // The options of an object have rows of their own.
  return shortened(allowed.replace(/^an object with (?:\w+, )*\w+(?: (?=or )|$)/, 'an object ').trim())
}

/** A bound that only keeps numbers representable is left out: `0 (no limit) or more`. */
function shortened(allowed: string): string {
  const [, zero, min, max] = /^a whole number[^(]*?(?: \(0: (.*)\))? from (\d+) to (\d+)$/.exec(allowed) ?? []
  if (min === undefined) return allowed
  const least = zero === undefined ? min : `${min} (${zero})`
  return Number(max) >= 2 ** 30 ? `${least} or more` : `${least} to ${max}`
}

function isCodeOnly(schema: Schema): boolean {
  return ofFile(schema).some((each) => each.type === 'never')
}

/** The entries of the first object that a configuration file may have here. */
function objectOf(schema: Schema): v.ObjectEntries {
  const [first] = objectsOf(schema)
  if (first === undefined) throw new TypeError('no object')
  return first
}

function objectsOf(schema: Schema): v.ObjectEntries[] {
  return ofFile(schema).flatMap((each) =>
    each.type === 'strict_object' ? [(each as unknown as { entries: v.ObjectEntries }).entries] : [],
  )
}

function elementOf(schema: Schema): Schema {
  const [list] = ofFile((schema as v.OptionalSchema<Schema, unknown>).wrapped).filter(({ type }) => type === 'array')
  return (list as v.ArraySchema<Schema, undefined>).item
}

/** All alternatives that a configuration file has: a lazy schema that is asked about `undefined` says so (config/rules.ts). */
function ofFile(schema: Schema): Schema[] {
  if ('pipe' in schema) return ofFile(firstOf(schema.pipe as readonly Schema[]))
  if (schema.type === 'lazy') return ofFile((schema as unknown as v.LazySchema<Schema>).getter(undefined))
  if (schema.type === 'union') return (schema as unknown as { options: Schema[] }).options.flatMap(ofFile)
  return [schema]
}

/** `v.pipe()` makes a copy of its first schema that has the whole pipe. */
function firstOf([first]: readonly Schema[]): Schema {
  if (first === undefined) throw new TypeError('an empty pipe')
  return first
}

function unknown(name: string): never {
  throw new TypeError(`no table of options is called ${name}; there are ${Object.keys(TABLES).join(', ')}`)
}
