import { access, readFile } from 'node:fs/promises'
import { dirname, extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { CommandError } from './command-error.ts'
import { type ConfigDocument, readDocument, type Syntax } from './config-document.ts'

/** How a configuration file is written. */
export type Format = Syntax | 'module'

/** The formats, by extension. */
const FORMATS: Readonly<Record<string, Format>> = {
  '.json': 'json',
  '.jsonc': 'json',
  '.yaml': 'yaml',
  '.yml': 'yaml',
  '.js': 'module',
  '.mjs': 'module',
  '.cjs': 'module',
  '.ts': 'module',
  '.mts': 'module',
}

/** The names that are looked for. */
const NAMES = ['json', 'jsonc', 'yaml', 'yml', 'js', 'mjs', 'ts'].map((extension) => `heddle.config.${extension}`)

/** The content of a configuration file, unchecked. */
export interface ConfigFile {
  /** Path as the user typed it, or the name of the file that was found. */
  readonly name: string
  /** The folder that it is in: paths in it are relative to that. */
  readonly folder: string
  readonly format: Format
  readonly content: Readonly<Record<string, unknown>>
  /** Finds options in the file. `null` for a module. */
  readonly positionOf: ConfigDocument['positionOf'] | null
}

/**
 * Reads the named file, or else the `heddle.config.*` of `directory`.
 * @returns `null` if no file is named and none is found.
 * @throws CommandError if the file cannot be read, or holds no configuration.
 */
export async function readConfigFile(named: string | undefined, directory: string): Promise<ConfigFile | null> {
  const name = named ?? (await discover(directory))
  if (name === null) return null
  const path = resolve(directory, name)
  const format = formatOf(name)
  const text = await read(name, path)
  const { content, positionOf } =
    format === 'module' ? { content: await load(name, path), positionOf: null } : await parse(name, text, format)
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new CommandError(2, `${name} holds no configuration: ${EXPECTED[format]}`)
  }
  return { name, folder: dirname(path), format, content: { ...content }, positionOf }
}

/** Whether `name` has the extension of a configuration file. */
export function isConfigFileName(name: string): boolean {
  return Object.hasOwn(FORMATS, extname(name))
}

const EXPECTED: Readonly<Record<Format, string>> = {
  json: 'it must be an object, such as { "backends": ["http://127.0.0.1:3000"] }',
  yaml: 'it must have options by name, such as backends: ["http://127.0.0.1:3000"]',
  module: "its default export must be an object, such as export default { backends: ['http://127.0.0.1:3000'] }",
}

async function discover(directory: string): Promise<string | null> {
  const found: string[] = []
  for (const name of NAMES) {
    if (await exists(join(directory, name))) found.push(name)
  }
  if (found.length > 1) throw new CommandError(2, `found ${found.join(' and ')}; say which with --config`)
  return found[0] ?? null
}

function formatOf(name: string): Format {
  const format = isConfigFileName(name) ? FORMATS[extname(name)] : undefined
  if (format !== undefined) return format
  throw new CommandError(2, `${name}: a configuration file ends in .json, .jsonc, .yaml, .yml, .js, .mjs or .ts`)
}

async function read(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new CommandError(2, `cannot read ${name}: ${messageOf(cause)}`, { cause })
  }
}

async function parse(name: string, text: string, syntax: Syntax): Promise<ConfigDocument> {
  const document = await readDocument(text, syntax)
  if (document.faults.length === 0) return document
  const lines = document.faults.map(({ line, column, message }) => `${name}:${line}:${column}: ${message}`)
  throw new CommandError(2, lines.length === 1 ? (lines[0] ?? '') : ['the file has mistakes:', ...lines].join('\n  '))
}

async function load(name: string, path: string): Promise<unknown> {
  if (/\.m?ts$/.test(name) && !canStripTypes()) {
    const node = `this Node (${process.version}) cannot read TypeScript; use Node 22.18 or later, or .mjs`
    throw new CommandError(2, `${name}: ${node}`)
  }
  try {
    const module: { default?: unknown } = await import(pathToFileURL(path).href)
    return await module.default
  } catch (cause) {
    // Node prints the place of a syntax error, but no property of the error has it.
    const advice = cause instanceof SyntaxError ? `; node ${name} shows the line` : ''
    throw new CommandError(2, `${name} cannot be loaded: ${messageOf(cause)}${advice}`, { cause })
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    return false
  }
}

/** Whether this node can load TypeScript. The type declarations of Node 22 lack `features.typescript`. */
function canStripTypes(): boolean {
  const { features }: { features: { typescript?: unknown } } = process
  return features.typescript !== undefined && features.typescript !== false
}

/** The message on one line: import quotes the source, including its line ends. */
function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ')
}
