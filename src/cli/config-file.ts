import { access, readFile } from 'node:fs/promises'
import { extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { CommandError } from './command-error.ts'

const NAMES = ['heddle.config.json', 'heddle.config.js', 'heddle.config.mjs', 'heddle.config.ts']

/** The content of a configuration file, unchecked. */
export interface ConfigFile {
  /** Path as the user typed it, or the name of the file that was found. */
  readonly name: string
  readonly content: Readonly<Record<string, unknown>>
}

/**
 * Reads the named file, or else the `heddle.config.*` of `directory`.
 * @returns `null` if no file is named and none is found.
 * @throws CommandError if the file cannot be read, or holds no configuration.
 */
export async function readConfigFile(named: string | undefined, directory: string): Promise<ConfigFile | null> {
  const name = named ?? (await discover(directory))
  if (name === null) return null
  const content = await load(name, resolve(directory, name))
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new CommandError(2, `${name} holds no configuration: ${EXPECTED[kindOf(name)]}`)
  }
  return { name, content: { ...content } }
}

type Kind = 'data' | 'module'

const EXPECTED: Readonly<Record<Kind, string>> = {
  data: 'it must be an object, such as { "backends": ["http://127.0.0.1:3000"] }',
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

async function load(name: string, path: string): Promise<unknown> {
  const text = await read(name, path)
  if (kindOf(name) === 'data') return parseJson(name, text)
  if (extname(name) === '.ts' && !canStripTypes()) {
    throw new CommandError(
      2,
      `${name}: this Node (${process.version}) cannot read TypeScript; use Node 22.18 or later, or .mjs`,
    )
  }
  try {
    const module: { default?: unknown } = await import(pathToFileURL(path).href)
    return await module.default
  } catch (cause) {
    throw new CommandError(2, `${name} cannot be loaded: ${messageOf(cause)}`, { cause })
  }
}

function kindOf(name: string): Kind {
  const extension = extname(name)
  if (extension === '.json') return 'data'
  if (['.js', '.mjs', '.cjs', '.ts', '.mts'].includes(extension)) return 'module'
  throw new CommandError(2, `${name}: a configuration file ends in .json, .js, .mjs or .ts`)
}

async function read(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new CommandError(1, `cannot read ${name}: ${messageOf(cause)}`, { cause })
  }
}

function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CommandError(2, `${name} is not JSON: ${messageOf(cause)}`, { cause })
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

/** The message on one line: JSON.parse and import quote the source, including its line ends. */
function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ')
}
