import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { toJsonSchema } from '@valibot/to-json-schema'
import { fileProperties } from '../../src/cli/file-options.ts'
import { proxySchema } from '../../src/config/proxy-schema.ts'

/*
 * Writes the JSON Schema of the configuration file: node dist/test/tools/write-schema.js <outfile>
 * A build step, outside src/, because it needs what the package does not have: a development dependency, and both the rooms config/
 * and cli/. The package does not contain test/.
 */

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const converted = toJsonSchema(proxySchema, { typeMode: 'input', ignoreActions: ['raw_check'] })
const { $defs = {}, ...root } = JSON.parse(JSON.stringify(converted))
const { $schema, properties, ...rest } = inline(root, $defs) as { [key: string]: Json }
const schema = {
  $schema,
  title: 'heddle.config.json',
  description: 'The configuration of heddle, a reverse proxy: the options of createProxy() and those of the command.',
  ...rest,
  properties: { ...fileProperties, ...(properties as object) },
}
const [, , outfile] = process.argv
if (outfile === undefined) throw new TypeError('usage: write-schema <outfile>')
mkdirSync(dirname(outfile), { recursive: true })
writeFileSync(outfile, `${JSON.stringify(schema, null, 2)}\n`)

/** Puts definitions where they are referred to, and leaves out what only code can give. */
function inline(node: Json, defs: Record<string, Json>): Json {
  if (Array.isArray(node)) return node.map((each) => inline(each, defs))
  if (typeof node !== 'object' || node === null) return node
  const { $ref, ...own } = node
  if (typeof $ref === 'string') return { ...(inline(defs[$ref.replace('#/$defs/', '')] ?? {}, defs) as object), ...own }
  const kept = Object.entries(own).map(([key, value]): [string, Json] => [key, inline(value, defs)])
  return Object.fromEntries(kept.filter(([, value]) => !isNothing(value)))
}

/** How the converter writes what cannot be: `{ "not": {} }`. */
function isNothing(value: Json): boolean {
  return typeof value === 'object' && value !== null && 'not' in value
}
